// Several jobs side by side: groups of them as lines with bands, their scores as dots with whiskers, and what differs in
// their specs.

import { curvesOf, everything, get, whileSeen } from "./api.js";
import { lines } from "./chart.js";
import { aligned, oneOfEachSeed } from "./groups.js";
import { oneByOne, whileInSight } from "./seen.js";
import { element, find, flat, jobLink, number, score, show, stateBadge } from "./words.js";
import { swatch, whiskers } from "./whiskers.js";

const MOST = 50;
const MOST_POINTS = 4000; // of all lines of a chart together
const CURVES_AT_ONCE = 120; // of more the server would read less closely; and so the first chart is drawn while others come
const AGAIN_MS = 5000;
const SPLIT = "test";
const asked = [...new Set((new URLSearchParams(location.search).get("jobs") ?? "").split(",").filter(Boolean))];
const how = find("how");
let jobs = [];
let scores = new Map();
const charts = new Map();
const inSight = whileInSight((names) => drawCharts(names));

function groupsOf() {
  const by = how.elements.group.value;
  const keys = { seed: (job) => job.group_sha256, method: (job) => `${job.kind} ${job.method}`, none: (job) => job.id };
  const found = new Map();
  for (const job of jobs) found.set(keys[by](job), [...(found.get(keys[by](job)) ?? []), job]);
  const groups = [...found.values()].map((members, place) => ({ place, members: members.sort((a, b) => a.seed - b.seed), label: labelOf(members, by) }));
  for (const group of groups) {
    if (groups.some((other) => other !== group && other.label === group.label)) group.label += ` (${group.place + 1})`;
  }
  return groups;
}

function labelOf([job], by) {
  if (by === "none") return job.name || `${job.method} ${job.seed}`;
  const several = new Set(jobs.map((each) => each.dataset)).size > 1;
  return [job.method, several ? job.dataset : "", job.kind === "train" ? "" : job.kind].filter(Boolean).join(", ");
}

function showLegend(groups) {
  const counted = groups.map((group) => oneOfEachSeed(group.members));
  const link = (job, group) => [jobLink(job.id, String(job.seed ?? job.id)), counted[group].includes(job) ? "" : " (repeat)"];
  show(find("legend").tBodies[0], ...groups.map(({ place, label, members }, group) => element("tr", {},
    element("td", {}, swatch(place)), element("th", { scope: "row", class: "name" }, label), element("td", { class: "number" }, String(counted[group].length)),
    element("td", { class: "text" }, ...members.flatMap((job, at) => [at ? ", " : "", ...link(job, group)])),
    element("td", {}, ...[...new Set(members.map((job) => job.state))].flatMap((state) => [stateBadge(state), " "])))));
  find("repeats").hidden = counted.flat().length === jobs.length;
}

function showDiff(groups) {
  const seed = how.elements.group.value === "none" ? [] : ["seed"];
  const columns = groups.map((group) => group.members.map((job) => new Map(flat(job.spec))));
  const keys = [...new Set(columns.flat().flatMap((spec) => [...spec.keys()]))].filter((key) => !seed.includes(key)).sort();
  const told = (column, key) => [...new Set(column.map((spec) => spec.get(key) ?? "–"))].join(" | ");
  const rows = keys.map((key) => [key, columns.map((column) => told(column, key))]);
  const different = rows.filter(([, values]) => new Set(values).size > 1 || values[0].includes(" | "));
  const shown = find("every").checked ? rows : different;
  find("diff-empty").hidden = shown.length > 0;
  find("diff").hidden = shown.length === 0;
  show(find("diff").tHead, element("tr", {}, element("th", { scope: "col" }, "Parameter"), ...groups.map((group) => element("th", { scope: "col" }, swatch(group.place), " ", group.label))));
  show(find("diff").tBodies[0], ...shown.map(([key, values]) => element("tr", {}, element("th", { scope: "row" }, element("code", {}, key)),
    ...values.map((value) => element("td", { class: "text" }, element("code", {}, value))))));
}

/** Of each task and protocol one metric, on test samples; of each job its newest score, and each seed once. */
function showScores(groups) {
  const measured = Map.groupBy([...scores.values()].flat(), ({ task, protocol }) => `${protocol} ${task}`);
  const figures = [...measured.values()].map((rows) => {
    const { task, protocol, metric, chance } = rows.find((row) => row.metric === "macro_accuracy") ?? rows[0];
    const newest = (job) => scores.get(job.id)?.findLast((row) => row.task === task && row.protocol === protocol && row.metric === metric);
    const told = groups.map(({ place, label, members }) => ({ place, label, values: oneOfEachSeed(members, newest).map((job) => newest(job).value) }));
    return whiskers(`${task}, ${metric.replaceAll("_", " ")}, ${protocol}`, told, { chance, said: (value) => score(metric, value) });
  });
  show(find("scores"), ...figures);
  find("scores-empty").hidden = figures.length > 0;
  find("scores-empty").textContent = "None of these jobs has been probed yet. A probe job scores a trained model; each training's page has a button for it.";
}

const these = (name) => asked.map((job_id) => `&${name}=${encodeURIComponent(job_id)}`).join("");

async function readJobs() {
  const { data } = await get(`/v1/jobs?limit=${MOST}${these("id")}`);
  const missing = asked.find((job_id) => !data.some((job) => job.id === job_id));
  if (missing) throw Object.assign(new Error(`there is no job ${missing}; choose some in the list of jobs`), { faults: [] });
  jobs = asked.map((job_id) => data.find((job) => job.id === job_id));
}

async function readScores() {
  const newest = await everything(`/v1/results?group_by=none&split=${SPLIT}&limit=1000${these("job_id")}`);
  const rows = newest.reverse(); // in the order in which they were measured, which is that of the tasks
  scores = new Map(asked.map((job_id) => [job_id, rows.filter((row) => row.job_id === job_id || row.model_job_id === job_id)]));
}

async function nameCharts() {
  const { data } = await get(`/v1/metrics/names?${these("job_id").slice(1)}`);
  const names = data.sort((a, b) => Number(b === "loss") - Number(a === "loss") || a.localeCompare(b));
  find("curves-empty").hidden = names.length > 0;
  for (const name of names) {
    if (charts.has(name)) continue;
    const made = { ...lines(name), drawn: "" };
    charts.set(name, made);
    inSight.place(find("curves"), name, made.figure);
  }
}

async function drawCharts(names) {
  const most = Math.max(50, Math.min(400, Math.floor(MOST_POINTS / asked.length)));
  const several = Math.ceil(CURVES_AT_ONCE / asked.length);
  for (let at = 0; at < names.length; at += several) {
    const some = names.slice(at, at + several);
    const found = Map.groupBy(await curvesOf({ job_ids: asked, names: some, max_points: most, extremes: false }), (curve) => curve.name);
    await oneByOne(some, (name) => drawChart(name, found.get(name) ?? []));
  }
}

function drawChart(name, data) {
  const made = charts.get(name);
  const alone = how.elements.seeds.checked;
  const state = JSON.stringify([how.elements.group.value, alone, jobs.map((job) => job.state), data.map((each) => [each.job_id, each.step.at(-1), each.points_total])]);
  if (state === made.drawn) return;
  made.drawn = state;
  const { step, groups } = aligned(data, groupsOf());
  const last = groups.map((group) => `${group.label} ${number(group.mean.findLast((value) => value !== null))}`).join("; ");
  const sampled = data.some((each) => each.sampled) ? "; of longer curves each row is the mean of neighbouring points" : "";
  made.draw(step, groups.map((group) => ({ ...group, seeds: alone && group.seeds.length > 1 ? group.seeds : [] })), `to step ${step.at(-1)}; last: ${last}${sampled}`);
}

function redraw() {
  const groups = groupsOf();
  showLegend(groups);
  showScores(groups);
  showDiff(groups);
  return drawCharts(inSight.seen());
}

async function look() {
  await Promise.all([readJobs(), readScores(), nameCharts()]);
  find("content").hidden = false;
  find("about").textContent = `${jobs.length} jobs, ${new Set(jobs.map((job) => job.group_sha256)).size} different specs but for their seeds.`;
  await redraw();
  return jobs.some((job) => !job.finished_at);
}

/** What there is to compare, where nobody has said: trainings of one dataset that have succeeded. */
async function suggest() {
  find("about").textContent = "Choose two to fifty jobs in the list of jobs, or take one of these:";
  const { data } = await get("/v1/jobs?kind=train&state=succeeded&limit=200");
  const datasets = Map.groupBy(data, (job) => JSON.stringify([job.dataset, job.spec.dataset.form ?? ""]));
  const cards = [...datasets].filter(([, found]) => found.length > 1).map(([key, found]) => {
    const [dataset, form] = JSON.parse(key);
    const newest = found.slice(0, MOST);
    const link = element("a", { href: `/compare?jobs=${newest.map((job) => job.id).join(",")}` }, [dataset, form].filter(Boolean).join(", "));
    return element("article", { class: "card" }, link, element("small", {}, `${newest.length} trainings of ${new Set(newest.map((job) => job.method)).size} methods`));
  });
  show(find("suggestions"), cards.length ? element("div", { class: "cards" }, ...cards)
    : element("p", { class: "empty" }, "There are not two finished trainings of the same dataset yet. ", element("a", { href: "/jobs/new" }, "Start some"), "."));
  find("suggestions").hidden = false;
}

how.addEventListener("change", redraw);
how.addEventListener("submit", (event) => event.preventDefault());
find("every").addEventListener("change", () => showDiff(groupsOf()));

/** A refusal stays; a server that does not answer is asked again. */
function begin() {
  const work = asked.length === 0 ? suggest : look;
  work().then((live) => live === true && whileSeen(AGAIN_MS, look, { wait: true })).catch((error) => {
    find("about").textContent = error.message;
    if (!error.faults) setTimeout(begin, AGAIN_MS);
  });
}

if (asked.length === 1 || asked.length > MOST) find("about").textContent = `These are ${asked.length}; compare two to fifty jobs.`;
else begin();
