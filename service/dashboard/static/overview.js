// The first page: results by method and family, published models, and the jobs as they change.

import { get, whileSeen } from "./api.js";
import { ago, cell, element, jobLink, number, numberCell, pace, percent, shapeOf, show, stateBadge } from "./words.js";

const FAMILIES = ["redundancy", "uniqueness", "synergy", "other"];
const METRICS = ["macro_accuracy", "accuracy"];
const results = document.querySelector("#results-tables");
const models = document.querySelector("#models-table");
const table = document.querySelector("#jobs-table");
const empty = document.querySelector("#jobs-empty");
const older = document.querySelector("#older");
const filters = document.querySelector("#filters");
let shown = 20;

function jobRow(job) {
  const state = cell(stateBadge(job.state));
  if (job.error) state.title = job.error;
  return element("tr", {},
    element("th", { scope: "row" }, jobLink(job.id, job.name)), cell(job.kind), state, cell(job.method), cell(job.dataset),
    numberCell(job.seed), cell(progressOf(job)), numberCell(ago(job.created_at)));
}

function progressOf(job) {
  const at = job.progress ?? {};
  if (!at.total) return "";
  if (job.finished_at) return `${at.step} of ${at.total}`;
  const text = pace(at);
  return element("span", { title: text }, element("progress", { max: at.total, value: at.step, "aria-label": text }), ` ${Math.floor((100 * at.step) / at.total)} %`);
}

async function showJobs() {
  const query = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value));
  query.set("limit", String(shown));
  const page = await get(`/v1/jobs?${query}`);
  show(table.tBodies[0], ...page.data.map(jobRow));
  table.hidden = page.data.length === 0;
  empty.hidden = page.data.length > 0;
  const filtered = query.size > 1;
  show(empty, ...(filtered ? ["No such jobs."] : [
    "No jobs yet. Start one: ",
    element("code", {}, `echo '{"dataset": "digits", "epochs": 5}' | fusebox jobs submit - --watch`),
  ]));
  older.hidden = !page.has_more || shown >= 200;
}

/** One table per dataset and way of measuring; numbers measured differently never share one. */
function grouped(rows) {
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify([row.dataset, row.metric, row.split, row.protocol]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  const rank = ([{ metric }]) => (METRICS.includes(metric) ? METRICS.indexOf(metric) : METRICS.length);
  return [...groups.values()].sort((a, b) => a[0].dataset.localeCompare(b[0].dataset) || rank(a) - rank(b));
}

function resultsTable(rows) {
  const { dataset, metric, split, protocol } = rows[0];
  const tasks = [...new Map(rows.map((row) => [row.task, row])).values()]
    .sort((a, b) => FAMILIES.indexOf(a.family) - FAMILIES.indexOf(b.family) || a.task.localeCompare(b.task));
  const families = FAMILIES.map((family) => [family, tasks.filter((task) => task.family === family).length])
    .filter(([, count]) => count > 0);
  const methods = [...new Set(rows.map((row) => row.method))];
  const head = element("thead", {},
    element("tr", {}, element("th", { scope: "col", rowspan: 2 }, "Method"),
      ...families.map(([family, count]) => element("th", { scope: "colgroup", colspan: count, class: "number" }, family))),
    element("tr", {}, ...tasks.map((task) => element("th", { scope: "col", class: "number" }, task.task))));
  const body = element("tbody", {}, ...methods.map((method) => element("tr", {},
    element("th", { scope: "row" }, method),
    ...tasks.map((task) => scores(rows.filter((row) => row.method === method && row.task === task.task))))));
  if (tasks.some((task) => task.chance !== null)) {
    body.append(element("tr", {}, element("th", { scope: "row" }, element("small", {}, "chance")),
      ...tasks.map((task) => numberCell(element("small", {}, task.chance === null ? "–" : shownScore(task, task.chance))))));
  }
  const caption = element("caption", {}, dataset, " ", element("small", {}, `${metric.replaceAll("_", " ")} on ${split}, protocol ${protocol}`));
  return element("div", { class: "scroll" }, element("table", {}, caption, head, body));
}

const shownScore = (row, value) => (row.metric.includes("accuracy") ? percent(value) : number(value));

/** Runs of one method that differ by more than the seed are groups of their own, each on a line. */
function scores(rows) {
  const lines = rows.map((row) => {
    const spread = row.std === null ? "" : ` ± ${shownScore(row, row.std)}`;
    const label = `${shownScore(row, row.mean)}${spread}`;
    const link = row.job_ids?.length ? element("a", { href: `/jobs/${row.job_ids[0]}` }, label) : label;
    return element("div", {}, link, " ", element("small", {}, `n = ${row.n}`));
  });
  return element("td", { class: "number" }, ...(lines.length ? lines : ["–"]));
}

async function showResults() {
  const { data } = await get("/v1/results?group_by=method&compare=false");
  show(results, ...(data.length ? grouped(data).map(resultsTable) : [
    element("p", { class: "empty" }, "No scores yet. Train a model, then submit a probe job: ",
      element("code", {}, `echo '{"run": "JOB"}' | fusebox jobs submit - --kind probe`)),
  ]));
}

/** Each with its name and shape. */
const inputsOf = ({ inputs }) => element("span", {}, ...inputs.flatMap((input, place) =>
  [place ? ", " : "", input.name, " ", element("small", {}, shapeOf(input))]));

async function showModels() {
  const { data } = await get("/v1/models");
  models.closest("section").hidden = data.length === 0;
  show(models.tBodies[0], ...data.map(({ name, version, aliases, manifest, train_job_id, digest, created_at }) => element("tr", {},
    element("th", { scope: "row" }, `${name}@${version}`), cell(aliases.join(", ")),
    cell(inputsOf(manifest)), numberCell(manifest.embedding_dim),
    cell(manifest.source.method), cell(train_job_id ? jobLink(train_job_id) : "–"),
    cell(element("code", { title: digest }, digest.slice(0, 12))), numberCell(ago(created_at)))));
}

filters.addEventListener("change", showJobs);
filters.addEventListener("submit", (event) => event.preventDefault());
older.addEventListener("click", () => {
  shown = Math.min(200, shown * 2);
  showJobs();
});
whileSeen(2000, showJobs);
whileSeen(10000, showResults);
whileSeen(10000, showModels);
