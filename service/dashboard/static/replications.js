// All replications, and the form that starts one after saying what it would take.

import { get, may, post, whileSeen } from "./api.js";
import { parsed, problem } from "./forms.js";
import { BROKEN, ago, cell, element, find, numberCell, show, span, stateBadge } from "./words.js";

const table = find("replications-table");
const form = find("new");
let tables = [];

function row(each) {
  const total = Object.values(each.counts).reduce((sum, count) => sum + count, 0);
  const done = each.counts.succeeded ?? 0;
  const broken = BROKEN.filter((state) => each.counts[state]).map((state) => `${each.counts[state]} ${state}`).join(", ");
  const bar = element("progress", { max: total, value: done, "aria-label": `${done} of ${total} cells` });
  return element("tr", {},
    element("th", { scope: "row" }, element("a", { href: `/replications/${each.id}`, title: each.id }, each.table)), cell(stateBadge(each.state)),
    element("td", {}, bar, ` ${done} of ${total} `, element("small", {}, broken)), numberCell(String(each.request.methods.length)), numberCell(String(each.request.seeds.length)),
    cell(each.created_by), numberCell(ago(each.created_at)));
}

async function look() {
  const { data } = await get("/v1/replications?limit=100");
  table.hidden = data.length === 0;
  find("replications-empty").hidden = data.length > 0;
  find("replications-empty").textContent = "None yet. Choose a table below and see what it would take.";
  show(table.tBodies[0], ...data.map(row));
}

function showMethods() {
  const { rows } = tables.find((each) => each.id === form.elements.table.value);
  const boxes = rows.map((name) => element("label", {}, element("input", { type: "checkbox", name: "methods", value: name, checked: true }), " ", name, " "));
  find("methods").replaceChildren(element("legend", {}, "Methods"), ...boxes);
}

function asked() {
  const methods = [...form.querySelectorAll("[name=methods]")];
  const chosen = methods.filter((box) => box.checked).map((box) => box.value);
  return { table: form.elements.table.value, seeds: Number(form.elements.seeds.value), changes: parsed(form.elements.changes.value),
    ...(chosen.length === methods.length ? {} : { methods: chosen }) };
}

async function estimate() {
  const plan = await post("/v1/replications?dry_run=true", asked());
  const { trainings, probes, estimate: { seconds, basis, workers } } = plan;
  show(find("answer"), element("p", {}, `${trainings.new} trainings and ${probes.new} probes would run; ${trainings.reused} and ${probes.reused} are there already. `,
    `${plan.optimizer_steps.toLocaleString("en")} optimizer steps, `, element("strong", {}, seconds === null ? "for how long nobody knows yet" : `about ${span(seconds)}`), ` with ${workers} ${workers === 1 ? "worker" : "workers"}.`),
  element("p", { class: "empty" }, basis));
  find("run").disabled = false;
}

async function run() {
  find("run").disabled = true;
  const made = await post("/v1/replications", asked());
  location.assign(`/replications/${made.id}`);
}

const told = (work) => work().catch((error) => { show(find("answer"), problem(error)); });

async function start() {
  if (!may("submit")) return;
  ({ data: tables } = await get("/v1/results/tables"));
  const first = new URLSearchParams(location.search).get("table");
  if (tables.some((each) => each.id === first)) form.elements.table.value = first;
  showMethods();
  form.closest("section").hidden = false;
  form.addEventListener("input", (event) => {
    find("run").disabled = true; // what was estimated is not what would run any more
    if (event.target.name === "table") showMethods();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    told(estimate);
  });
  find("run").addEventListener("click", () => told(run));
}

start();
whileSeen(3000, look);
