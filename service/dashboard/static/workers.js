// Who works on what, and what waits in which order.

import { get, whileSeen } from "./api.js";
import { ago, cell, element, find, jobLink, numberCell, pace, show, span, stateBadge } from "./words.js";

const STATES = { at_work: ["running", "at work"], late: ["failed", "not heard of"], idle: ["queued", "idle"] };

function workerCard(worker) {
  const [look, said] = STATES[worker.state];
  const jobs = worker.jobs.flatMap((job) => {
    const at = job.progress ?? {};
    return [element("p", {}, jobLink(job.id, job.name), " ", stateBadge(job.state)), element("small", {}, `${job.kind}, attempt ${job.attempt}, for ${span((Date.now() - Date.parse(job.since)) / 1000)}`),
      ...(at.total ? [element("progress", { max: at.total, value: at.step, "aria-label": pace(at) }), element("small", {}, pace(at))] : [])];
  });
  const lost = worker.lost ? `, ${worker.lost} lost` : "";
  return element("article", { class: "card" }, element("h2", {}, worker.name, " ", element("span", { class: `state ${look}` }, said)),
    element("small", {}, `on ${worker.host} · heard of `, ago(worker.heard_at), ` · ${worker.ended} attempts ended${lost}`), ...jobs);
}

const WAITS = { worker: "a worker", pause: "the pause after a crash" };

function queueTable(queue) {
  const usual = queue.usual_wait_s === null ? "" : `; usually a job waits ${span(queue.usual_wait_s)}`;
  const caption = element("caption", {}, queue.name, " ", element("small", {}, `${queue.at_work} at work, ${queue.waiting} may start, ${queue.held} held back${usual}`));
  if (!queue.jobs.length) return element("div", { class: "queue" }, element("table", {}, caption), element("p", { class: "empty" }, "Nothing waits here."));
  const head = element("thead", {}, element("tr", {}, element("th", { scope: "col", class: "number" }, "Place"), element("th", { scope: "col" }, "Job"), element("th", { scope: "col" }, "Kind"),
    element("th", { scope: "col" }, "Method"), element("th", { scope: "col", class: "number" }, "Priority"), element("th", { scope: "col" }, "Waits for"), element("th", { scope: "col", class: "number" }, "Since")));
  const rows = queue.jobs.map((job, place) => element("tr", {}, numberCell(String(place + 1)), element("th", { scope: "row", class: "name" }, jobLink(job.id, job.name)), cell(job.kind),
    cell(job.method ?? ""), numberCell(String(job.priority)), job.waits_for === "job" ? element("td", {}, jobLink(job.after_id)) : cell(WAITS[job.waits_for]), numberCell(ago(job.since))));
  const more = queue.waiting + queue.held - queue.jobs.length;
  return element("div", { class: "queue" }, element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `Queue ${queue.name}` }, element("table", {}, caption, head, element("tbody", {}, ...rows))),
    ...(more > 0 ? [element("p", { class: "empty" }, `and ${more.toLocaleString("en")} more: `, element("a", { href: "/jobs?state=queued" }, "all that are queued"))] : []));
}

whileSeen(2000, async () => {
  const { data } = await get("/v1/workers");
  find("workers-empty").hidden = data.length > 0;
  show(find("workers-empty"), "None has worked yet. Start one: ", element("code", {}, "fusebox worker"), ", or everything on this machine: ", element("code", {}, "fusebox up"), ".");
  show(find("workers-list"), ...data.map(workerCard));
});
whileSeen(2000, async () => {
  const { data } = await get("/v1/queues");
  show(find("queues"), ...data.map(queueTable));
});
