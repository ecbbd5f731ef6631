// One dataset: what it is, how often each label comes, what training sees of it, and its samples as they are kept.

import { get } from "./api.js";
import { card } from "./samples.js";
import { element, facts, find, moment, number, show } from "./words.js";

const PAGE = 12;
const MOST_TASKS = 6, MOST_LABELS = 12;
const LOOKS = ["as kept", "a view", "another view"];
const NOT_YET = "No worker has made views of these samples yet. One does so soon after a dataset is registered, and when it has had nothing to do for a minute for those that are always there.";
const { name } = find("dataset").dataset;
const path = `/v1/datasets/${encodeURIComponent(name)}`;
let offset = 0;

function about(dataset, form, preview) {
  const { registered, report } = dataset;
  const sizes = preview?.splits ?? registered?.samples.strict ?? {};
  return [
    ["Embeddings", element("a", { href: `/embeddings?dataset=${encodeURIComponent(name)}` }, "maps and search")],
    ["Kind", registered ? `registered from ${registered.format}` : "always there"],
    ...(registered ? [["Registered", moment(registered.created_at)], ["sha256", element("code", { title: registered.sha256 }, registered.sha256.slice(0, 12))]] : []),
    ...form.modalities.map((each) => [each.name, describe(each)]),
    ...Object.entries(sizes).map(([split, count]) => [`Samples, ${split}`, count.toLocaleString("en")]),
    ...(registered ? [["Dropped", report.dropped.length ? `${registered.dropped.toLocaleString("en")}: ${report.dropped.map((each) => each.reason).join("; ")}` : "none"]] : []),
  ];
}

function describe(modality) {
  switch (modality.kind) {
    case "image": return `image, ${modality.channels} × ${modality.size} × ${modality.size}`;
    case "text": return `text, up to ${modality.max_tokens} tokens`;
    case "sequence": return `sequence, up to ${modality.length} × ${modality.features}`;
    default: return `table, ${modality.features} columns`;
  }
}

/** Counts of a task's labels as bars over those of the first split, and the other splits' beside them. */
function labelsOf(task, counts) {
  const splits = Object.keys(counts);
  const [first] = splits;
  const rows = Object.keys(counts[first] ?? {}).map((label) => [label, splits.map((split) => counts[split][label] ?? 0)]);
  const most = Math.max(1, ...rows.map(([, [count]]) => count));
  const bar = ([label, each]) => element("tr", {}, element("th", { scope: "row" }, label),
    ...(task.type === "regression" ? [] : [element("td", {}, element("progress", { max: most, value: each[0], "aria-label": `${label}: ${each[0]} of ${most}` }))]),
    ...each.map((count) => element("td", { class: "number" }, task.type === "regression" ? number(count) : count.toLocaleString("en"))));
  const head = element("thead", {}, element("tr", {}, element("th", { scope: "col", colspan: task.type === "regression" ? 1 : 2 }, task.type === "regression" ? "" : "label"),
    ...splits.map((split) => element("th", { scope: "col", class: "number" }, split))));
  const table = (some) => element("div", { class: "scroll" }, element("table", {}, head.cloneNode(true), element("tbody", {}, ...some.map(bar))));
  const more = rows.slice(MOST_LABELS);
  return element("figure", {}, element("figcaption", {}, task.name, element("small", {}, `${task.family}, ${{ class: "one of several classes", multilabel: "several labels", regression: "numbers" }[task.type]}`)),
    table(rows.slice(0, MOST_LABELS)),
    ...(more.length ? [element("details", {}, element("summary", {}, `${more.length} more`), table(more))] : []));
}

function showLabels(form, counts) {
  const figures = form.tasks.filter((task) => counts?.[task.name]).map((task) => labelsOf(task, counts[task.name]));
  fill("labels", figures, MOST_TASKS, "tasks");
  find("labels-empty").hidden = figures.length > 0;
  find("labels-empty").textContent = form.tasks.length
    ? `To be predicted: ${form.tasks.map((task) => task.name).join(", ")}. They are counted with the first preview.`
    : "None: it can be trained on and served, and there is nothing for a probe to predict.";
}

/** The first of many at once, the others when they are asked for. */
function fill(id, figures, most, what) {
  const rest = figures.slice(most);
  const details = find(`more-${id}`);
  show(find(id), ...figures.slice(0, most));
  details.hidden = rest.length === 0;
  details.querySelector("summary").textContent = `${rest.length} more ${what}`;
  show(details.querySelector("div"), ...rest);
}

function showViews(preview) {
  find("views-lead").textContent = preview === null ? NOT_YET
    : `${preview.samples.length} of the training samples, as they are kept and as two views that a method is trained on.`;
  const cards = (preview?.samples ?? []).map((sample) => card(`Training sample ${sample.row.toLocaleString("en")}`, sample, preview.modalities,
    (modality) => [sample.modalities[modality].kept, ...sample.modalities[modality].views].map((shown, k) => [LOOKS[k], shown])));
  fill("views", cards, PAGE, "samples");
}

async function showForm(dataset, chosen) {
  const forms = dataset.forms;
  // Of a registered dataset the last form has all of it, and that is what its preview shows.
  const form = forms.find((each) => each.form === chosen) ?? (dataset.registered ? forms[forms.length - 1] : forms[0]);
  const asked = dataset.registered ? "" : `?form=${form.form}`;
  const preview = dataset.previews.includes(form.form) ? await get(`${path}/preview${asked}`) : null;
  show(find("facts"), ...facts(about(dataset, form, preview)));
  showLabels(form, preview?.labels ?? dataset.report?.labels);
  showViews(preview);
}

async function showPage(modalities) {
  const split = find("paging").elements.split.value;
  const page = await get(`${path}/samples?split=${split}&offset=${offset}&limit=${PAGE}`);
  show(find("samples"), ...page.data.map((sample) => card(`Sample ${sample.row.toLocaleString("en")}`, sample, modalities, (modality) => [["as kept", sample.modalities[modality]]])));
  const last = Math.min(offset + PAGE, page.total);
  find("place").textContent = page.total ? `${(offset + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${page.total.toLocaleString("en")}` : "none";
  find("earlier").disabled = offset === 0;
  find("later").disabled = last >= page.total;
}

async function start() {
  const dataset = await get(path);
  find("about").textContent = dataset.about;
  const warnings = dataset.registered?.warnings ?? [];
  find("warnings").hidden = warnings.length === 0;
  show(find("warnings"), element("strong", {}, "What may mislead"), element("ul", {}, ...warnings.map((each) => element("li", {}, each))));

  const forms = find("forms");
  forms.hidden = dataset.registered !== null;
  forms.elements.form.append(...dataset.forms.map(({ form }) => element("option", {}, form)));
  forms.addEventListener("change", () => showForm(dataset, forms.elements.form.value));
  forms.addEventListener("submit", (event) => event.preventDefault());
  const ready = [showForm(dataset, dataset.registered ? null : forms.elements.form.value)];

  if (dataset.registered) {
    const paging = find("paging");
    const { modalities } = dataset.forms[dataset.forms.length - 1];
    const turn = (by) => { offset = Math.max(0, by); return showPage(modalities); };
    paging.elements.split.append(...Object.keys(dataset.registered.samples.strict).map((split) => element("option", {}, split)));
    paging.addEventListener("change", () => turn(0));
    paging.addEventListener("submit", (event) => event.preventDefault());
    find("earlier").addEventListener("click", () => turn(offset - PAGE));
    find("later").addEventListener("click", () => turn(offset + PAGE));
    find("kept").hidden = false;
    ready.push(turn(0));
  }
  await Promise.all(ready);
  find("content").hidden = false;
}

start().catch((error) => {
  find("about").textContent = error.message;
});
