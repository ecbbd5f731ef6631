// The first page: what runs now, results by method and family beside published ones, and what is served.

import { get, whileSeen } from "./api.js";
import { ago, element, find, jobLink, number, numberCell, pace, percent, show, stateBadge, tags, trainings, VERDICTS } from "./words.js";

const FAMILIES = ["redundancy", "uniqueness", "synergy", "other"];
const METRICS = ["macro_accuracy", "accuracy"];
const LESS_IS_BETTER = new Set(["mse"]);
const MOST_NOW = 6, MOST_SERVED = 8;

/** One table per dataset and way of measuring; numbers measured differently never share one. */
function grouped(rows) {
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify([row.dataset, row.metric, row.split, row.protocol]);
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  const rank = ([{ metric }]) => (METRICS.includes(metric) ? METRICS.indexOf(metric) : METRICS.length);
  return [...groups.values()].sort((a, b) => rank(a) - rank(b) || a[0].dataset.localeCompare(b[0].dataset));
}

/** The first metric of its dataset, split and protocol. */
function isChief(rows, tables) {
  const same = ([one]) => one.dataset === rows[0].dataset && one.split === rows[0].split && one.protocol === rows[0].protocol;
  return tables.find(same) === rows;
}

function resultsTable(rows) {
  const { dataset, metric, split, protocol } = rows[0];
  const tasks = [...new Map(rows.map((row) => [row.task, row])).values()]
    .sort((a, b) => FAMILIES.indexOf(a.family) - FAMILIES.indexOf(b.family) || a.task.localeCompare(b.task));
  const families = FAMILIES.map((family) => [family, tasks.filter((task) => task.family === family).length])
    .filter(([, count]) => count > 0);
  const methods = [...new Set(rows.map((row) => row.method))];
  const groups = [...Map.groupBy(rows, (row) => row.group_sha256).values()].sort(([a], [b]) => methods.indexOf(a.method) - methods.indexOf(b.method));
  const ways = (method) => groups.filter(([row]) => row.method === method);
  const head = element("thead", {},
    element("tr", {}, element("th", { scope: "col", rowspan: 2 }, "Method"),
      ...families.map(([family, count]) => element("th", { scope: "colgroup", colspan: count, class: "number" }, family))),
    element("tr", {}, ...tasks.map((task) => element("th", { scope: "col", class: "number" }, task.task))));
  const body = element("tbody", {}, ...groups.map((group) => element("tr", {},
    element("th", { scope: "row" }, ...named(group, ways(group[0].method))),
    ...tasks.map((task) => score(group.find((row) => row.task === task.task))))));
  if (tasks.some((task) => task.chance !== null)) {
    body.append(element("tr", {}, element("th", { scope: "row" }, element("small", {}, "chance")),
      ...tasks.map((task) => numberCell(element("small", {}, task.chance === null ? "–" : shownScore(task, task.chance))))));
  }
  const caption = element("caption", {}, dataset, " ", element("small", {}, `${metric.replaceAll("_", " ")} on ${split}, protocol ${protocol}`));
  return element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `${dataset}, ${metric}` }, element("table", {}, caption, head, body));
}

const shownScore = (row, value) => (row.metric.includes("accuracy") ? percent(value) : number(value));

/** A method that was trained in several ways has a row for each, which leads to how they compare. */
function named(group, ways) {
  const [{ method }] = group;
  if (ways.length === 1) return [method];
  const first = ways.map(([row]) => row.job_ids[0]);
  return [method, " ", element("small", {}, element("a", { href: `/compare?jobs=${first.slice(0, 50).join(",")}`, title: "what differs between them" }, `way ${ways.indexOf(group) + 1} of ${ways.length}`))];
}

function score(row) {
  if (!row) return numberCell("–");
  const spread = row.std === null ? "" : ` ± ${shownScore(row, row.std)}`;
  const label = `${shownScore(row, row.mean)}${spread}`;
  const shown = best(row) ? element("strong", {}, label) : label;
  const link = row.job_ids.length ? element("a", { href: trainings(row.job_ids), title: interval(row) }, shown) : shown;
  return element("td", { class: "number" }, link, " ", element("small", {}, `n = ${row.n}`), ...judged(row));
}

/** Significantly better than every other method of its column, by paired tests over equal seeds. */
const best = ({ metric, comparisons }) => !LESS_IS_BETTER.has(metric) && comparisons.length > 0
  && comparisons.every((other) => other.difference > 0 && other.p_holm !== null && other.p_holm < 0.05);

function interval(row) {
  if (!row.interval) return "of one seed nothing is known of the spread";
  return `95 % interval ${row.interval.map((end) => shownScore(row, end)).join(" to ")}`;
}

function judged(row) {
  const published = row.published.find((each) => each.primary) ?? row.published[0];
  if (!published) return [];
  const by = element("div", { class: "published", title: `${published.ran_by}; ${published.source}` }, element("small", {}, `published ${published.printed}`));
  return [by, ...(row.verdict ? [element("div", {}, element("small", { class: `verdict ${row.verdict}` }, VERDICTS[row.verdict]))] : [])];
}

async function showResults() {
  const { data } = await get("/v1/results?group_by=method");
  const tables = grouped(data);
  const [chief, others] = [tables.filter((rows) => isChief(rows, tables)), tables.filter((rows) => !isChief(rows, tables))];
  find("others").hidden = others.length === 0;
  find("others").querySelector("summary").textContent = `By other metrics: ${others.length} ${others.length === 1 ? "table" : "tables"}`;
  show(find("others-tables"), ...others.map(resultsTable));
  show(find("results-tables"), ...(data.length ? chief.map(resultsTable) : [
    element("p", { class: "empty" }, "No scores yet. Train a model, then submit a probe job: ",
      element("code", {}, `echo '{"run": "JOB"}' | fusebox jobs submit - --kind probe`)),
  ]));
}

function card(job) {
  const at = job.progress ?? {};
  const bar = at.total ? [element("progress", { max: at.total, value: at.step, "aria-label": pace(at) }), element("small", {}, pace(at))] : [];
  return element("article", { class: "card" }, element("div", {}, jobLink(job.id, job.name), " ", stateBadge(job.state)),
    element("small", {}, [job.kind, job.method, job.dataset, job.seed === null ? "" : `seed ${job.seed}`].filter(Boolean).join(" · ")), ...bar);
}

async function showNow() {
  const [{ data: queues }, ...pages] = await Promise.all([get("/v1/queues"),
    ...["running", "starting", "cancelling"].map((state) => get(`/v1/jobs?state=${state}&limit=${MOST_NOW}`))]);
  const running = pages.flatMap((page) => page.data).slice(0, MOST_NOW);
  const waiting = queues.reduce((sum, queue) => sum + queue.waiting + queue.held, 0);
  const line = element("p", { class: "empty" }, waiting ? element("a", { href: "/workers" }, `${waiting.toLocaleString("en")} ${waiting === 1 ? "job waits" : "jobs wait"}`) : "Nothing waits",
    running.length ? "." : " and nothing runs. ", ...(running.length || waiting ? [] : [element("a", { href: "/jobs/new" }, "Start a training"), "."]));
  show(find("now"), ...running.map(card), line);
}

/** With the scores that justify it. */
function served(model) {
  const scores = model.heads.filter((head) => head.value !== null).map((head) => `${head.task} ${head.type === "regression" ? number(head.value) : `${percent(head.value)} %`}`);
  return element("article", { class: "card" },
    element("div", {}, element("a", { href: `/models/${encodeURIComponent(model.name)}` }, `${model.name}@${model.version}`), " ", ...tags(model.aliases)),
    element("small", {}, `${model.manifest.source.method} on ${model.manifest.source.dataset} · published `, ago(model.created_at)),
    element("small", {}, scores.length ? `Its heads on test samples: ${scores.join(", ")}` : "No head is attached to it."));
}

async function showServed() {
  const { data } = await get("/v1/models");
  const chosen = data.filter((model) => model.aliases.length);
  const newest = [...new Map([...data].reverse().map((model) => [model.name, model])).values()];
  show(find("served-models"), ...(data.length ? [element("div", { class: "now" }, ...(chosen.length ? chosen : newest).slice(0, MOST_SERVED).map(served))] : [
    element("p", { class: "empty" }, "No model is published yet. An export job publishes one: ",
      element("code", {}, `echo '{"run": "JOB", "name": "first"}' | fusebox jobs submit - --kind export`)),
  ]));
}

whileSeen(2000, showNow);
whileSeen(10000, showResults);
whileSeen(10000, showServed);
