// The heads of a model: what each answers and how well, and for who may, probes whose heads can be attached, and detaching.

import { get, may, post, remove } from "./api.js";
import { cell, element, find, jobLink, numberCell, score, show, tell } from "./words.js";

const MOST = 200;
const table = find("heads");
const form = find("attach");
let of = null;

/** `model`: as GET /v1/models lists it. */
export function showHeads(model) {
  of = model;
  table.closest(".scroll").hidden = model.heads.length === 0;
  find("heads-empty").hidden = model.heads.length > 0;
  show(find("heads-empty"), "None is attached: it makes embeddings and predicts nothing. A probe of its training has heads for it; from a shell: ", element("code", {}, `fusebox models attach ${reference()} PROBE_JOB`));
  show(table.tBodies[0], ...model.heads.map(row));
}

/** `look` reads the model anew, after which `showHeads` is called. */
export function letAttach(look) {
  form.hidden = !may("admin");
  if (form.hidden) return;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const probe_job_id = form.elements.probe.value;
    say(look, () => post(`/v1/models/${encodeURIComponent(reference())}/heads`, { probe_job_id }), ({ data }) => `Attached: ${data.map((head) => head.task).join(", ")}.`);
  });
  table.addEventListener("click", ({ target }) => {
    const head = of.heads.find((each) => each.task === target.dataset.task);
    if (head) say(look, () => remove(`/v1/models/${encodeURIComponent(reference())}/heads/${encodeURIComponent(head.task)}`), () => `${head.task} is detached; its probe ${head.probe_job_id} has it still.`);
  });
  suggest().catch((error) => { find("attached").textContent = error.message; });
}

const reference = () => `${of.name}@${of.version}`;

function row(head) {
  const said = (value) => score(head.metric, value);
  const detach = may("admin") ? [element("td", {}, element("button", { type: "button", "data-task": head.task, "aria-label": `Detach ${head.task}` }, "Detach"))] : [element("td", {})];
  return element("tr", {},
    element("th", { scope: "row" }, head.task), cell(head.family), cell((head.metric ?? "–").replaceAll("_", " ")), numberCell(said(head.value)),
    numberCell(head.ci95 ? head.ci95.map(said).join(" to ") : "–"), numberCell(said(head.chance)), numberCell(head.n_test.toLocaleString("en")),
    cell(head.protocol), cell(jobLink(head.probe_job_id)), ...detach);
}

/** Probes of the training that the model comes from. Which of them looked at its very checkpoint, the server knows. */
async function suggest() {
  const { data } = of.train_job_id ? await get(`/v1/jobs?kind=probe&state=succeeded&source_job_id=${encodeURIComponent(of.train_job_id)}&limit=${MOST}`) : { data: [] };
  show(form.elements.probe, ...data.map((job) => element("option", { value: job.id }, [job.name, job.spec.protocol, job.id].filter(Boolean).join(", "))));
  form.querySelector("button").disabled = data.length === 0;
  if (!data.length) show(find("attached"), "No probe of its training has succeeded yet. ", ...(of.train_job_id && may("submit") ? [element("a", { href: `/jobs/new?kind=probe&run=${encodeURIComponent(of.train_job_id)}` }, "Start one"), "."] : []));
}

const say = (look, ask, done) => tell(find("attached"), async () => {
  const answer = await ask();
  await look();
  return answer;
}, done);
