// A sample for a model, made by hand: what its embedding is like, what its heads say of it, and what is near it.

import { may, post } from "./api.js";
import { problem } from "./forms.js";
import { agreement, cards, comparison, indexesOf, named, neighboursOf } from "./neighbours.js";
import { element, facts, jobLink, number, percent, score, show } from "./words.js";

const TOP = 10;
const NEAREST = 6;
const MOST_BYTES = 20 * 2 ** 20;
let last = null;

/** A field for each modality, by its kind. */
export function inputsFor(inputs) {
  return inputs.map((input) => element("div", { class: "field" }, element("label", { for: `try-${input.name}` }, `${input.name} `, element("small", {}, HINTS[input.kind])), ...FIELDS[input.kind](input)));
}

const HINTS = { image: "a PNG, JPEG or WebP file", text: "words", sequence: "steps as JSON: [[…], […]]", table: "numbers as JSON: […]" };
const given = (input, more) => ({ id: `try-${input.name}`, "data-name": input.name, "data-kind": input.kind, ...more });
const FIELDS = {
  image: (input) => [element("input", given(input, { type: "file", accept: "image/png,image/jpeg,image/webp" })), element("img", { alt: `${input.name} as chosen`, class: "chosen", hidden: true })],
  text: (input) => [element("textarea", given(input, { rows: 2 }))],
  sequence: (input) => [element("textarea", given(input, { rows: 3, spellcheck: "false" }))],
  table: (input) => [element("textarea", given(input, { rows: 3, spellcheck: "false" }))],
};

/** Shows each image that is chosen beside its field. */
export function letSee(form) {
  for (const field of form.querySelectorAll('input[type="file"]')) {
    field.addEventListener("change", async () => {
      const picture = field.nextElementSibling;
      picture.hidden = !field.files.length;
      if (field.files.length) picture.src = await asUri(field.files[0]);
    });
  }
}

export function tryIt(form, answer, status, model) {
  letSee(form);
  let tries = 0;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    status.textContent = "Embedding …";
    tries += 1;
    const mine = tries;
    try {
      const sample = await sampleOf(form);
      show(answer, ...(await embedded(sample, model())));
      status.textContent = "";
      const neighbours = await near(sample, model());
      if (mine === tries) answer.append(neighbours);
    } catch (error) {
      show(answer, problem(error));
      status.textContent = "";
    }
  });
}

async function embedded(sample, model) {
  if (!Object.keys(sample).length) throw new Error("Give one modality at least.");
  const heads = model.heads.map((head) => head.task).slice(0, 20);
  const began = performance.now();
  const told = await post("/v1/embeddings", { model: `${model.name}@${model.version}`, inputs: [sample], normalize: false, ...(heads.length ? { heads, top: TOP } : {}) });
  const [one] = told.data;
  const norm = Math.hypot(...one.embedding);
  const before = last;
  last = { digest: told.model_digest, vector: one.embedding, norm, modalities: one.modalities };
  const about = [["Norm", number(norm)], ["Width", String(told.dim)], ["Given", one.modalities.join(", ")], ["Missing", one.missing.join(", ") || "nothing"],
    ...(one.truncated.length ? [["Cut", one.truncated.join(", ")]] : []), ["Took", `${Math.round(performance.now() - began)} ms`],
    ...(before?.digest === last.digest ? [["Cosine with the try before", `${number(cosine(before, last))} (${before.modalities.join(", ")})`]] : [])];
  return [element("dl", { class: "facts" }, ...facts(about)),
    ...(one.note ? [element("p", { class: "notice caution" }, one.note)] : []),
    ...Object.entries(one.predictions ?? {}).map(([task, predicted]) => prediction(task, predicted, told.heads[task]))];
}

const cosine = (a, b) => a.vector.reduce((sum, value, at) => sum + value * b.vector[at], 0) / (a.norm * b.norm);

function prediction(task, predicted, head) {
  const worth = head.value === null ? "" : `${head.metric.replaceAll("_", " ")} ${score(head.metric, head.value)} on ${head.n_test} test samples`;
  const caption = element("figcaption", {}, `${task}: ${said(predicted)}`, element("small", {}, worth));
  if (predicted.type === "regression") return element("figure", {}, caption);
  const bars = Object.entries(predicted.probabilities).map(([label, share]) => element("tr", {}, element("th", { scope: "row" }, label),
    element("td", {}, element("progress", { max: 1, value: share, "aria-label": `${label}: ${percent(share)} %` })), element("td", { class: "number" }, `${percent(share)} %`)));
  const more = predicted.left_out ? [element("small", {}, `and ${predicted.left_out} less probable`)] : [];
  return element("figure", { class: "prediction" }, caption, element("table", {}, element("tbody", {}, ...bars)), ...more);
}

function said(predicted) {
  switch (predicted.type) {
    case "class": return predicted.label;
    case "multilabel": return predicted.labels.join(", ") || "none";
    default: return predicted.values.map(number).join(", ");
  }
}

/** The nearest samples of a dataset that this model's checkpoint has embedded, or how there would be some. */
async function near(sample, model) {
  const place = element("section", { class: "near", "aria-label": "Nearest neighbours" });
  try {
    const { indexes, waiting } = await indexesOf(model);
    if (!indexes.length) place.append(waiting ? element("p", { class: "empty" }, "Its dataset is being embedded: ", jobLink(waiting.id, waiting.name), ". Try again once that has succeeded.") : howToEmbed(model));
    else place.append(...(await nearest(sample, model, indexes[0])));
  } catch (error) {
    place.append(problem(error));
  }
  return place;
}

async function nearest(sample, model, index) {
  const { modalities, center } = comparison(index.subsets, Object.keys(sample));
  const searched = index.splits.reduce((sum, split) => sum + split.count, 0);
  const found = await neighboursOf({ index: index.job_id, model: model.digest, inputs: [sample], modalities, center, k: Math.min(NEAREST, searched) });
  const among = `of ${found.answer.searched.toLocaleString("en")} samples of ${index.source.dataset}, by vectors of ${named(modalities)}. ${agreement(found)}`;
  return [element("h3", {}, "Nearest neighbours"), element("p", { class: "lead" }, among, " ", element("a", { href: `/embeddings/${index.job_id}` }, "Map and search")),
    element("div", { class: "samples" }, ...cards(found))];
}

/** What there must be before neighbours can be shown, with a button for those who may make it. */
function howToEmbed(model) {
  const run = model.train_job_id;
  const line = element("p", { class: "empty" }, "To see its nearest neighbours too, embed a dataset with this checkpoint. ");
  if (!run || !may("submit")) {
    line.append(run ? "It takes a key with the scope submit." : "Its training is not on this server.");
    return line;
  }
  const button = element("button", { type: "button" }, `Make an index of ${model.manifest.source.dataset}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const job = await post("/v1/jobs", { kind: "embed", spec: { run, checkpoint: model.manifest.source.step, modalities: subsetsOf(model.manifest) } });
      line.replaceChildren("It is being embedded: ", jobLink(job.id, job.name), ". Try again once that has succeeded.");
    } catch (error) {
      line.append(problem(error));
    }
  });
  line.append(button);
  return line;
}

/** All modalities together, and each alone where the model can do without the others. */
function subsetsOf({ inputs, may_miss }) {
  const all = inputs.map((input) => input.name);
  return may_miss && all.length > 1 ? [all, ...all.map((name) => [name])] : [all];
}

export async function sampleOf(form) {
  const sample = {};
  for (const field of form.querySelectorAll("[data-kind]")) {
    const { name, kind } = field.dataset;
    if (kind === "image") {
      if (field.files.length) sample[name] = await asUri(field.files[0]);
    } else if (field.value.trim()) {
      sample[name] = kind === "text" ? field.value : numbers(name, field.value);
    }
  }
  return sample;
}

function numbers(name, text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${name} is not JSON: ${error.message}`);
  }
}

function asUri(file) {
  if (file.size > MOST_BYTES) return Promise.reject(new Error("This image has more than 20 MiB."));
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(file);
  });
}
