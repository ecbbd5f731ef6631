// Where a job comes from and what has come from it: training → probes and exports → models; and what it changed of its original.

import { get } from "./api.js";
import { element, flat, jobLink, show, stateBadge, tags } from "./words.js";

const MOST = 50;

const entry = (job) => element("li", {}, jobLink(job.id, job.name), " ", element("small", {}, job.kind), " ", stateBadge(job.state));
const modelEntry = (model) => element("li", {}, element("a", { href: `/models/${encodeURIComponent(model.name)}` }, `${model.name}@${model.version}`), " ", ...tags(model.aliases));
const step = (title, entries) => (entries.length ? [element("section", { class: "card" }, element("h3", {}, title), element("ul", {}, ...entries))] : []);

/** Also {original}: the job that this one was cloned from. */
export async function showLineage(place, job) {
  const training = job.kind === "train" ? job.id : job.source_job_id;
  const [original, source, built, models] = await Promise.all([
    job.cloned_from_id ? get(`/v1/jobs/${job.cloned_from_id}`) : null,
    job.source_job_id ? get(`/v1/jobs/${job.source_job_id}`) : null,
    training ? get(`/v1/jobs?source_job_id=${training}&limit=${MOST}`) : { data: [] },
    get("/v1/models?limit=200"),
  ]);
  const mine = models.data.filter((model) => (job.kind === "train" ? model.train_job_id === job.id : model.job_id === job.id));
  const others = built.data.filter((each) => each.id !== job.id);
  show(place,
    ...step("Cloned from", original ? [entry(original)] : []),
    ...step("Training", source ? [entry(source)] : []),
    ...step(job.kind === "train" ? "Probes, exports and embeddings" : "Of the same training", others.map(entry)),
    ...step("Models", mine.map(modelEntry)));
  if (!place.childElementCount) show(place, element("p", { class: "empty" }, "Nothing has come from it yet."));
  return { original };
}

/** What the job's spec has otherwise than its original's. */
export function showDiff(table, job, original) {
  const [was, is] = [new Map(flat(original.spec)), new Map(flat(job.spec))];
  const keys = [...new Set([...was.keys(), ...is.keys()])].filter((key) => was.get(key) !== is.get(key)).sort();
  const code = (text) => element("td", { class: "text" }, element("code", {}, text ?? "–"));
  table.closest(".scroll").hidden = false;
  show(table.tBodies[0], ...(keys.length ? keys.map((key) => element("tr", {}, element("th", { scope: "row" }, element("code", {}, key)), code(was.get(key)), code(is.get(key))))
    : [element("tr", {}, element("td", { colspan: 3 }, "It is the same."))]));
}
