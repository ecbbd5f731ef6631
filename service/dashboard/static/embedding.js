// One dataset as a model sees it: a map of its samples, the neighbours of each, and a place to search.

import { get, may } from "./api.js";
import { problem } from "./forms.js";
import { kindsOf, kindsOfTask, labelOf } from "./kinds.js";
import { agreement, cards, comparison, indexPath, lookedAt, modelOf, named, neighboursOf, pictured } from "./neighbours.js";
import { apart, placed, TOGETHER } from "./planes.js";
import { scatter } from "./scatter.js";
import { signed, signOf } from "./shapes.js";
import { inputsFor, letSee, sampleOf } from "./try.js";
import { bytes, cell, element, facts, find, jobLink, number, numberCell, percent, sha, show } from "./words.js";

const { job } = find("embedding").dataset;
const WAYS = { pca: "PCA", umap: "UMAP", tsne: "t-SNE" };
const drawing = find("drawing").elements;
const near = find("near").elements;
let files = null;
let labels = null;
let projection = null;
let model = null;
let map = null;
/** Of each point its place among the projected rows and what it is of: the row repeats where kinds are drawn together. */
let drawn = { row: [], of: [] };
/** What the neighbours are of: {sample, row, point} or {inputs}, and the rows that were found. */
let query = null;
let nearest = [];

const count = (value) => value.toLocaleString("en");
/** Of what kind a point is: all rows are drawn for the first kind, then for the second, … */
const placeOfKind = (point) => Math.floor(point / labels.row.length);
const kindOf = (point) => drawn.of[placeOfKind(point)];
const splitOf = (row) => files.splits.find((each) => row >= each.start && row < each.start + each.count)?.split ?? "";

function showFacts() {
  const { source } = files;
  show(find("facts"), ...facts([
    ["Dataset", element("a", { href: `/datasets/${encodeURIComponent(source.dataset)}` }, source.dataset)],
    ["Samples", files.splits.map((each) => `${count(each.count)} ${each.split}`).join(", ")],
    ["Embedded", files.subsets.map(named).join("; ")], ["Width", `${files.dim} numbers`],
    ["Training", element("span", {}, jobLink(source.job_id), ` ${source.method}, step ${source.step}`)],
    ["Checkpoint", sha(source.checkpoint_sha256)], ["Job", jobLink(job)],
    ["Files", element("a", { href: indexPath(job) }, `${files.data.length}, ${bytes(files.data.reduce((sum, each) => sum + each.size_bytes, 0))}`)],
    ["Model", model ? element("a", { href: `/models/${encodeURIComponent(model.name)}?version=${model.version}` }, `${model.name}@${model.version}`) : "not exported"],
  ]));
}

// ------------------------------------------------------------------------------------------------------------ the map

const option = (value, text) => element("option", { value }, text);

function offer() {
  const { together, subsets } = projection;
  const single = Object.keys(subsets);
  drawing.of.append(...(together ? [option(TOGETHER, "all kinds, in one plane")] : []), ...single.map((name) => option(name, named(name.split("+")))));
  const one = together ?? subsets[single[0]];
  drawing.by.append(...Object.keys(WAYS).filter((way) => one[way]).reverse().map((way) => option(way, WAYS[way])));
  drawing.colour.append(...labels.tasks.map(({ task }, place) => option(`task ${place}`, `label: ${task}`)), option("split", "split"), option("of", "what was embedded"));
  drawing.colour.value = together ? "of" : drawing.colour.options[0].value;
}

function coloured() {
  const by = drawing.colour.value;
  if (by === "of") return kindsOf(drawn.row.map((_, point) => kindOf(point)));
  if (by === "split") return kindsOf(drawn.row.map((row) => splitOf(labels.row[row])));
  const { values, ...task } = labels.tasks[Number(by.split(" ")[1])];
  return kindsOfTask({ ...task, values: drawn.row.map((row) => values[row]) });
}

function colour() {
  const kinds = coloured();
  map.draw({ xs: drawn.xs, ys: drawn.ys, code: kinds.code, kinds: kinds.names.length, rest: kinds.rest });
  show(find("legend").tBodies[0], ...kinds.names.map((name, k) => element("tr", {}, element("th", { scope: "row" }, signed(signOf(k, k === kinds.rest)), " ", name), numberCell(count(kinds.counts[k])))));
  const [of, way] = [drawing.of.selectedOptions[0].text, drawing.by.value];
  const { explained } = drawing.of.value === TOGETHER ? projection.together : projection.subsets[drawing.of.value];
  const share = way === "pca" ? `the two directions in which they differ most hold ${percent(explained[0] + explained[1])} % of the variance` : "distances beyond near neighbours mean little";
  find("caption").textContent = `${files.source.dataset}: ${of}, by ${WAYS[way]}`;
  const some = labels.row.length < files.count ? ` (${count(labels.row.length)} of ${count(files.count)} samples, drawn at random)` : "";
  const text = `${count(drawn.row.length)} points${some}, ${kinds.names.length} kinds by ${drawing.colour.selectedOptions[0].text}; ${share}.${way === "pca" ? apart(drawn) : ""}`;
  find("summary").textContent = text;
  find("points").setAttribute("aria-label", `${find("caption").textContent}. ${text}`);
}

function redraw() {
  drawn = placed(projection, drawing.of.value, drawing.by.value);
  colour();
  find("pointed").textContent = "";
  delete query?.point; // points are others now
  mark();
}

function says(point) {
  if (point < 0) return "";
  const at = drawn.row[point];
  const told = labels.tasks.slice(0, 5).map((task) => `${task.task} ${labelOf(task, at)}`).join(", ");
  return `Sample ${count(labels.sample[at])}, ${splitOf(labels.row[at])}${drawn.of.length > 1 ? `, ${kindOf(point)}` : ""}${told ? `: ${told}` : ""}`;
}

/** Rings around the sample that is looked at, and its neighbours where they are drawn as what was searched in. */
function mark() {
  if (map === null) return;
  const among = named(near.among.value.split("+"));
  const pointsOf = (row) => drawn.row.flatMap((at, point) => (labels.row[at] === row && (drawn.of.length === 1 || kindOf(point) === among) ? [point] : []));
  const [own] = query?.row === undefined ? [] : query.point === undefined ? pointsOf(query.row) : [query.point];
  map.mark(own ?? -1, nearest.flatMap(pointsOf));
}

// ------------------------------------------------------------------------------------------------------- neighbours

async function choose(row, sample, point) {
  query = { row, sample, point };
  if (point !== undefined && drawn.of.length > 1) near.among.value = files.subsets[placeOfKind(point)].join("+");
  await search();
}

function asked() {
  const modalities = near.among.value.split("+");
  const there = near.split.value ? files.splits.find(({ split }) => split === near.split.value).count : files.count;
  const k = Math.min(Number(near.k.value), there - (query.inputs ? 0 : 1));
  const common = { index: job, k, modalities, ...(near.split.value ? { split: near.split.value } : {}) };
  if (query.inputs) return { ...common, model: model.digest, inputs: query.inputs, center: near.center.checked };
  return { ...common, sample: query.sample, center: near.center.checked };
}

async function search() {
  if (query === null) return;
  const mine = query;
  try {
    const [own, found] = await Promise.all([query.row === undefined ? [] : lookedAt(job, [query.row]), may("infer") ? neighboursOf(asked()) : null]);
    if (mine !== query) return; // something else has been asked for meanwhile
    show(find("looked-at"), ...(query.inputs ? query.inputs.map(given) : own.map((sample) => pictured(`Sample ${count(sample.sample)}, ${sample.split}`, sample))));
    tell(found, own[0]?.labels ?? null);
  } catch (error) {
    show(find("answer"), problem(error));
  }
}

/** What was searched for, as a card. */
function given(input) {
  const kinds = new Map(model.manifest.inputs.map(({ name, kind }) => [name, kind]));
  const shown = (name, value) => ({ image: { kind: "image", url: value }, text: { kind: "text", texts: [value] } })[kinds.get(name)] ?? { kind: "table", values: [value].flat(2) };
  return pictured("What you gave", { labels: {}, modalities: Object.fromEntries(Object.entries(input).map(([name, value]) => [name, shown(name, value)])) });
}

function tell(found, own) {
  find("as-table").hidden = found === null;
  if (found === null) {
    find("near-lead").textContent = "To look for neighbours a key needs the scope infer.";
    return;
  }
  const { answer } = found;
  const what = query.inputs ? `what you gave (${named(answer.query.modalities)})` : `sample ${count(query.sample)}`;
  find("near-lead").textContent = `Nearest to ${what} by cosine among ${count(answer.searched)} vectors of ${named(answer.modalities)}${answer.centered ? ", each kind's mean subtracted" : ""}. ${agreement(found, own)}`;
  show(find("answer"), ...(answer.query.truncated.length ? [element("p", { class: "notice caution" }, `Cut: ${answer.query.truncated.join(", ")}`)] : []));
  find("found").replaceChildren(...cards(found, (neighbour) => {
    find("near-title").focus(); // the button is about to go
    choose(neighbour.row, neighbour.sample);
  }));
  const tasks = Object.keys(answer.data[0]?.labels ?? {});
  show(find("found-table").tHead, element("tr", {}, ...["Sample", "Split", "Cosine", ...tasks].map((title) => element("th", { scope: "col" }, title))));
  show(find("found-table").tBodies[0], ...answer.data.map((each) => element("tr", {}, element("th", { scope: "row" }, count(each.sample)), cell(each.split), cell(number(each.score)),
    ...tasks.map((task) => cell([each.labels[task]].flat().map((label) => (typeof label === "number" ? number(label) : label)).join(", "))))));
  nearest = answer.data.map((each) => each.row);
  mark();
}

async function ask(event) {
  event.preventDefault();
  find("searched").textContent = "Searching …";
  try {
    const sample = await sampleOf(find("search"));
    if (!Object.keys(sample).length) throw new Error("Give one modality at least.");
    query = { inputs: [sample] };
    near.center.checked = comparison(files.subsets, Object.keys(sample), near.among.value.split("+")).center;
    await search();
    find("near-title").scrollIntoView({ block: "start" });
  } catch (error) {
    show(find("answer"), problem(error));
  }
  find("searched").textContent = "";
}

// ------------------------------------------------------------------------------------------------------------- start

async function drawMap() {
  const kept = files.data.find((each) => each.name === "projection.json");
  find("map").hidden = !kept;
  find("map-empty").hidden = Boolean(kept);
  show(find("map-empty"), "Nothing was projected to a plane. ", element("a", { href: `/jobs/new?from=${job}` }, "Clone the job"), " with the projection pca or umap; neighbours can be searched for all the same.");
  if (!kept) return;
  [projection, labels] = await Promise.all([get(kept.url), get(`${indexPath(job)}/points`)]);
  offer();
  map = scatter(find("points"), {
    pointed: (point) => { find("pointed").textContent = says(point); },
    chosen: (point) => choose(labels.row[drawn.row[point]], labels.sample[drawn.row[point]], point),
  });
  find("drawing").addEventListener("change", ({ target }) => (target === drawing.colour ? colour() : redraw()));
  find("closer").addEventListener("click", () => map.zoom(1.4));
  find("farther").addEventListener("click", () => map.zoom(1 / 1.4));
  find("whole").addEventListener("click", () => map.reset());
}

function offerSearch() {
  near.among.append(...files.subsets.map((names) => option(names.join("+"), named(names))));
  near.split.append(...files.splits.map(({ split }) => option(split, split)));
  find("centering").hidden = files.subsets.length < 2;
  find("near-lead").textContent = "Choose a point of the map, or search below.";
  find("search").hidden = model === null || !may("infer");
  if (!may("infer")) find("asking-lead").textContent = "To search, a key needs the scope infer.";
  else if (model) find("asking-lead").textContent = `By a text, an image or whatever ${model.name}@${model.version} takes, which is of the same checkpoint. What is left empty counts as missing.`;
  else show(find("asking-lead"), "To search by a text or an image a model of this checkpoint is needed, and none is published. ", element("a", { href: `/jobs/new?kind=export&run=${files.source.job_id}` }, "Export it"), ".");
  if (model) find("inputs").replaceChildren(...inputsFor(model.manifest.inputs));
  letSee(find("search"));
  find("near").addEventListener("change", search);
  for (const form of [find("near"), find("drawing")]) form.addEventListener("submit", (event) => event.preventDefault());
  find("search").addEventListener("submit", ask);
}

async function start() {
  const [about, told] = await Promise.all([get(`/v1/jobs/${encodeURIComponent(job)}`), get(indexPath(job))]);
  files = told;
  model = await modelOf(files);
  find("title").textContent = about.name || `${files.source.dataset} by ${files.source.method}`;
  find("about").textContent = `${count(files.count)} samples of ${files.source.dataset}, embedded by ${files.source.method} after step ${count(files.source.step)}.`;
  showFacts();
  offerSearch();
  find("content").hidden = false;
  await drawMap();
  if (map) redraw();
}

start().catch((error) => { find("about").textContent = error.message; });
