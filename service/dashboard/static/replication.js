// One replication: its cells filling in, by method, dataset and seed, what is left, and the table as far as it goes.

import { get, may, post, whileSeen } from "./api.js";
import { drawn } from "./tables.js";
import { BROKEN, broke, element, find, flat, jobLink, moment, pace, show, span, stateBadge } from "./words.js";

const SIGNS = { succeeded: "✓", failed: "✗", cancelled: "–", lost: "?", running: "▸", queued: "·" };
const path = `/v1/replications/${encodeURIComponent(find("replication").dataset.id)}`;

/** The job that says most about a cell: the one that has broken or works, else the probe. */
function telling({ training, probe }) {
  const jobs = [training, probe].filter(Boolean);
  return jobs.find(broke) ?? jobs.find((job) => !["succeeded", "queued"].includes(job.state)) ?? probe ?? training;
}

function gridCell(each) {
  if (!each) return element("td", { class: "cell-state none" }, "");
  const job = telling(each);
  const about = [each.state, job?.error, job?.progress?.total ? pace(job.progress) : "", each.training?.reused ? "was there before" : ""].filter(Boolean).join("; ");
  const sign = `${SIGNS[each.state]}${each.state === "running" && job?.progress?.total ? ` ${Math.floor((100 * job.progress.step) / job.progress.total)} %` : ""}`;
  const label = `${each.row}, ${each.preset_row}, seed ${each.seed}: ${about}`;
  return element("td", { class: `cell-state ${each.state}` }, job ? element("a", { href: `/jobs/${job.id}`, title: about, "aria-label": label }, sign) : element("span", { title: about, role: "img", "aria-label": label }, sign));
}

function grid({ cells, request }) {
  const presets = [...new Set(cells.map((each) => each.preset_row))];
  const seeds = request.seeds;
  const at = new Map(cells.map((each) => [JSON.stringify([each.row, each.preset_row, each.seed]), each]));
  const head = element("thead", {},
    element("tr", {}, element("th", { scope: "col", rowspan: 2 }, "Method"), ...presets.map((preset) => element("th", { scope: "colgroup", colspan: seeds.length }, preset))),
    element("tr", {}, ...presets.flatMap(() => seeds.map((seed) => element("th", { scope: "col" }, String(seed))))));
  const rows = request.methods.map((row) => element("tr", {}, element("th", { scope: "row" }, row),
    ...presets.flatMap((preset) => seeds.map((seed) => gridCell(at.get(JSON.stringify([row, preset, seed])))))));
  return element("table", { class: "grid" }, head, element("tbody", {}, ...rows));
}

function showTroubles(cells) {
  const broken = cells.filter((each) => BROKEN.includes(each.state));
  const details = find("troubles");
  details.hidden = broken.length === 0;
  details.querySelector("summary").textContent = `${broken.length} ${broken.length === 1 ? "cell is" : "cells are"} missing`;
  show(details.querySelector("ul"), ...broken.map((each) => {
    const job = telling(each);
    return element("li", {}, `${each.row}, ${each.preset_row}, seed ${each.seed}: ${each.state}. `, job?.error ?? job?.reason ?? "", " ", job ? jobLink(job.id, "its job") : "");
  }));
  return broken.length;
}

/** What all that is not there yet would take, as a new request of the same kind would be told. */
async function showLeft(replication) {
  const goes = ["queued", "running"].includes(replication.state) || BROKEN.some((state) => replication.counts[state]);
  find("left").hidden = !goes || !may("submit");
  if (find("left").hidden) return;
  const { estimate } = await post("/v1/replications?dry_run=true", replication.request);
  const missing = BROKEN.reduce((sum, state) => sum + (replication.counts[state] ?? 0), 0);
  find("left").hidden = missing === 0;
  find("left").textContent = estimate.seconds === null ? `How long the missing cells would take is not known: ${estimate.basis}.` : `The missing cells would take about ${span(estimate.seconds)} (${estimate.basis}).`;
}

async function look() {
  const replication = await get(path);
  const { cells, counts, request, results } = replication;
  find("title").textContent = results ? results.title : replication.table;
  const badge = stateBadge(replication.state);
  badge.id = "state";
  find("state").replaceWith(badge);
  show(find("summary"), `${counts.succeeded ?? 0} of ${cells.length} cells are there: ${request.methods.length} methods, ${request.seeds.length} seeds. Asked for by ${replication.created_by}, `, moment(replication.created_at),
    Object.keys(request.changes).length ? `, with ${flat(request.changes).map(([key, value]) => `${key} ${value}`).join(", ")}.` : ".");
  find("published").href = `/tables/${encodeURIComponent(replication.table)}`;
  show(find("key"), ...Object.entries(SIGNS).filter(([state]) => counts[state]).flatMap(([state, sign]) => [element("span", { class: `cell-state ${state}` }, sign), element("small", {}, `${counts[state]} ${state}`)]));
  show(find("grid"), grid(replication));
  const broken = showTroubles(cells);
  find("retry").hidden = !may("submit") || broken === 0;
  find("cancel").hidden = !may("submit") || !["queued", "running"].includes(replication.state);
  if (results) show(find("table"), drawn({ ...results, rows: results.rows.filter((row) => request.methods.includes(row.id)) }));
  show(find("made-on"), replication.made_on.length ? `Trainings: ${replication.made_on.map((each) => `${each.trainings} on ${each.device}, version ${each.code_version}`).join("; ")}.` : "");
  await showLeft(replication);
}

function action(verb) {
  find(verb).addEventListener("click", async () => {
    find(verb).disabled = true;
    find("answer").textContent = "";
    try {
      await post(`${path}/${verb}`);
      await look();
    } catch (error) {
      find("answer").textContent = error.message;
    } finally {
      find(verb).disabled = false;
    }
  });
}

action("retry");
action("cancel");
whileSeen(2500, look);
