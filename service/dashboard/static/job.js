// One job: its state as it changes, its curves, scores, checkpoints, events and log, and what can be done with it.

import { curvesOf, get, may, post, whileSeen } from "./api.js";
import { curve } from "./chart.js";
import { showDiff, showLineage } from "./lineage.js";
import { showLog } from "./log.js";
import { letName, showName } from "./naming.js";
import { oneByOne, whileInSight } from "./seen.js";
import { tagLink } from "./tagging.js";
import { showAttempts, timeline } from "./timeline.js";
import { broke, bytes, cell, element, facts, find, jobLink, moment, number, numberCell, pace, score, sha, show, span, stateBadge } from "./words.js";

const job_id = document.querySelector("#job").dataset.job;
const path = `/v1/jobs/${encodeURIComponent(job_id)}`;
const terminal = new Set(["succeeded", "failed", "cancelled"]);
const NAMES_AT_ONCE = 100;
const curves = new Map();
const charts = whileInSight(drawCurves);
const happened = [];

function showJob(job) {
  find("title").textContent = job.name || job.id;
  showName(job);
  const badge = stateBadge(job.state);
  badge.id = "state";
  find("state").replaceWith(badge);
  find("reason").hidden = !(job.error || job.reason);
  find("reason").textContent = job.error || (job.reason ?? "");
  const at = job.progress ?? {};
  find("progress").hidden = terminal.has(job.state) || !at.total;
  if (at.total) {
    const bar = find("progress").querySelector("progress");
    [bar.max, bar.value] = [at.total, at.step];
    find("pace").textContent = pace(at);
  }
  find("cancel").hidden = !may("submit") || terminal.has(job.state) || job.state === "cancelling";
  find("retry").hidden = !may("submit") || !broke(job);
  find("clone").hidden = !may("submit");
  find("map").hidden = job.kind !== "embed" || job.state !== "succeeded";
  for (const each of document.querySelectorAll("[data-builds]")) each.hidden = !may("submit") || job.kind !== "train" || broke(job);
  show(find("facts"), ...facts(about(job)));
  find("spec").textContent = JSON.stringify(job.spec, null, 2);
}

function about(job) {
  const began = Date.parse(job.started_at);
  const ended = job.finished_at ? Date.parse(job.finished_at) : Date.now();
  return [
    ["Id", element("span", { class: "id" }, job.id)],
    ["Kind", job.kind],
    ...(job.source_job_id ? [["Training", jobLink(job.source_job_id)]] : []),
    ["Method", job.method ?? "–"],
    ["Dataset", job.dataset ?? "–"],
    ["Seed", job.seed ?? "–"],
    ["Attempts", job.crashes ? `${job.attempt}, of which ${job.crashes} were lost` : job.attempt],
    ["By", job.created_by],
    ["Created", moment(job.created_at)],
    ["Started", moment(job.started_at)],
    ["Took", began ? span((ended - began) / 1000) : "–"],
    ["Tags", job.tags.length ? element("span", {}, ...job.tags.flatMap((tag) => [tagLink(tag), " "])) : "–"],
  ].map(([name, value]) => [name, typeof value === "number" ? String(value) : value]);
}

async function showCurves() {
  const { data } = await get(`${path}/metrics`);
  const names = data.filter((series) => series.n > 0).map((series) => series.name);
  find("curves-empty").hidden = names.length > 0;
  for (const name of names) {
    if (curves.has(name)) continue;
    const made = curve(name);
    curves.set(name, made);
    charts.place(find("curves"), name, made.figure);
  }
  await drawCurves(charts.seen());
}

async function drawCurves(names) {
  for (let at = 0; at < names.length; at += NAMES_AT_ONCE) {
    const found = await curvesOf({ job_ids: [job_id], names: names.slice(at, at + NAMES_AT_ONCE) });
    await oneByOne(found, (series) => curves.get(series.name).draw(series));
  }
}

async function showScores() {
  const { data } = await get(`${path}/results`);
  fill("scores", data, (row) => {
    return [
      element("th", { scope: "row" }, row.task), cell(row.family), cell(row.metric), cell(row.split), cell(row.protocol),
      numberCell(row.checkpoint_step), numberCell(score(row.metric, row.value)), numberCell(score(row.metric, row.chance)), numberCell(row.n),
    ];
  });
}

async function showCheckpoints() {
  const { data } = await get(`${path}/checkpoints`);
  fill("checkpoints", data, (row) => [
    numberCell(row.step), numberCell(row.epoch), numberCell(number(row.score)), numberCell(bytes(row.size_bytes)),
    cell(sha(row.sha256)),
    cell((row.exists ? "yes" : "removed") + (row.is_best ? ", best" : "")),
  ]);
}

function fill(id, rows, cells) {
  find(id).hidden = rows.length === 0;
  find(`${id}-empty`).hidden = rows.length > 0;
  show(find(id).tBodies[0], ...rows.map((row) => element("tr", {}, ...cells(row))));
}

/** New events go on top. Progress has its bar and is not repeated here. */
async function showEvents(job) {
  const { data } = await get(`${path}/events?after=${happened.at(-1)?.seq ?? 0}&limit=1000`);
  for (const event of data) {
    if (event.seq <= (happened.at(-1)?.seq ?? 0)) continue;
    happened.push(event);
    if (event.type === "progress") continue;
    find("events").tBodies[0].prepend(element("tr", {},
      cell(moment(event.at)), cell(event.text, "text"), cell(event.type), cell(event.actor)));
  }
  show(find("timeline"), timeline(happened, terminal.has(job.state)));
}

async function showTries() {
  const { data } = await get(`${path}/attempts`);
  showAttempts(find("attempts"), data);
}

/** Leads to all trainings that differ from this one by their seed only. */
async function showSiblings(job) {
  if (job.kind !== "train") return;
  const { data } = await get(`/v1/jobs?kind=train&method=${encodeURIComponent(job.method)}&dataset=${encodeURIComponent(job.dataset)}&limit=200`);
  const same = data.filter((each) => each.group_sha256 === job.group_sha256).slice(0, 50);
  find("compare").hidden = same.length < 2;
  find("compare").href = `/compare?jobs=${same.map((each) => each.id).reverse().join(",")}`;
  const seeds = new Set(same.map((each) => each.seed)).size;
  find("compare").textContent = seeds > 1 ? `Compare its ${seeds} seeds` : `Compare its ${same.length} runs`;
}

async function showPast(job) {
  const { original } = await showLineage(find("lineage"), job);
  if (original) showDiff(find("diff"), job, original);
}

let known = null;
async function look() {
  const job = await get(path);
  showJob(job);
  // Where it comes from and what is like it are long lists, and change with its state if at all.
  const relations = job.state === known ? [] : [showPast(job), showSiblings(job)];
  await Promise.all([showEvents(job), showTries(), showLog(path), showCurves(), showScores(), showCheckpoints(), ...relations]);
  known = job.state;
  return !terminal.has(job.state);
}

function action(id, verb) {
  find(id).addEventListener("click", async () => {
    find(id).disabled = true;
    find("answer").textContent = "";
    try {
      showJob(await post(`${path}/${verb}`));
      watch();
    } catch (error) {
      find("answer").textContent = error.message;
    } finally {
      find(id).disabled = false;
    }
  });
}

let watching = false;
async function watch() {
  if (watching) return;
  watching = true;
  await whileSeen(2000, look);
  watching = false;
}

action("cancel", "cancel");
action("retry", "retry");
letName(path, showJob);
watch();
