// A sample for a model, made by hand: what its embedding is like, and what its heads say of it.

import { post } from "./api.js";
import { problem } from "./forms.js";
import { element, facts, number, percent, score, show } from "./words.js";

const TOP = 10;
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

export function tryIt(form, answer, status, model) {
  for (const field of form.querySelectorAll('input[type="file"]')) {
    field.addEventListener("change", async () => {
      const picture = field.nextElementSibling;
      picture.hidden = !field.files.length;
      if (field.files.length) picture.src = await asUri(field.files[0]);
    });
  }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    status.textContent = "Embedding …";
    try {
      show(answer, ...(await embedded(form, model())));
      status.textContent = "";
    } catch (error) {
      show(answer, problem(error));
      status.textContent = "";
    }
  });
}

async function embedded(form, model) {
  const sample = await sampleOf(form);
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

async function sampleOf(form) {
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
