// A form for a job, made from its spec's schema: a preset or another job to start from, what differs, what the server thinks of
// it, and then the job.

import { get, may, post } from "./api.js";
import { parsed, problem } from "./forms.js";
import { fieldsOf, said } from "./schema_form.js";
import { element, facts, find, jobLink, show, span } from "./words.js";

const MOST_PRESETS = 40;
const form = find("new");
const asked = new URLSearchParams(location.search);
const schemas = new Map();
let presets = [];
let datasets = [];
let preset = null;
let original = null;

/** `over` wins and objects are merged; of another method or dataset nothing is kept. As the server merges. */
function merged(base, over) {
  const object = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!object(over) || !object(base) || (over.name ?? base.name) !== base.name) return over;
  return { ...base, ...Object.fromEntries(Object.entries(over).map(([name, value]) => [name, merged(base[name], value)])) };
}

const kind = () => form.elements.kind.value;
const started = () => preset?.spec ?? original?.spec ?? {};

async function draw() {
  if (!schemas.has(kind())) schemas.set(kind(), await get(`/v1/specs/${kind()}`));
  find("presets").hidden = kind() !== "train" || original !== null;
  find("fields").replaceChildren(...fieldsOf(schemas.get(kind()), started()));
  const dataset = document.getElementById("spec-dataset.name");
  const there = new Set([...(dataset?.options ?? [])].map((option) => option.value));
  dataset?.append(...datasets.filter((name) => !there.has(name)).map((name) => element("option", {}, name)));
  const run = document.getElementById("spec-run");
  if (run && asked.get("run")) run.value = asked.get("run");
  changed();
}

function showPresets() {
  const wanted = find("preset-search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = presets.filter((each) => wanted.every((word) => `${each.name} ${each.about} ${each.method}`.toLowerCase().includes(word)));
  find("preset-count").textContent = `${found.length} of ${presets.length}`;
  const option = (value, title, about) => element("label", { class: "option" }, element("input", { type: "radio", name: "preset", value, checked: (preset?.name ?? "") === value }), " ", title, element("small", {}, about));
  find("preset-list").replaceChildren(option("", "None", "start from the defaults"),
    ...found.slice(0, MOST_PRESETS).map((each) => option(each.name, each.name, `${each.about} Options from: ${each.options_from}.${each.ready ? "" : " Its dataset is not registered yet."}`)));
}

function changed() {
  find("submit").disabled = true;
  find("status").textContent = "";
}

/** What differs from what the job starts from. */
const differing = () => merged(said(find("fields")), parsed(form.elements.overrides.value));

function request() {
  const tags = form.elements.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean);
  return { kind: kind(), spec: differing(), name: form.elements.name.value, tags, priority: Number(form.elements.priority.value || 0),
    ...(preset ? { preset: preset.name } : {}), ...(form.elements.after.value.trim() ? { after: form.elements.after.value.trim() } : {}) };
}

async function check() {
  const wanted = request();
  // Beside a job to clone nothing says what it would become: that is merged here, and the server checks the whole.
  if (original) wanted.spec = merged(original.spec, wanted.spec);
  const checked = await post("/v1/jobs?dry_run=true", wanted);
  const about = [["Queue", checked.queue], ...(checked.total_steps === null ? [] : [["Optimizer steps", checked.total_steps.toLocaleString("en")]]), ["Spec", checked.spec_sha256.slice(0, 12)]];
  const seen = await likewise(checked);
  show(find("answer"), element("p", { class: "notice good" }, element("strong", {}, "It would be accepted.")),
    element("dl", { class: "facts" }, ...facts([...about, ...seen])),
    ...(checked.warnings.length ? [element("div", { class: "notice caution" }, element("ul", {}, ...checked.warnings.map((each) => element("li", {}, each))))] : []),
    ...(checked.duplicates.length ? [element("p", {}, "The same is there already: ", ...checked.duplicates.flatMap((id, at) => [at ? ", " : "", jobLink(id)]))] : []),
    element("details", {}, element("summary", {}, "The whole spec"), element("pre", { tabindex: 0, role: "group", "aria-label": "The whole spec" }, JSON.stringify(checked.spec, null, 2))));
  find("submit").disabled = !may("submit");
}

/** How long trainings of the same method on the same dataset took. */
async function likewise(checked) {
  if (checked.kind !== "train") return [];
  const { data } = await get(`/v1/jobs?kind=train&state=succeeded&method=${encodeURIComponent(checked.spec.method.name)}&dataset=${encodeURIComponent(checked.spec.dataset.name)}&limit=1`);
  if (!data.length || !data[0].progress?.rate || !checked.total_steps) return [];
  return [["At the last one's pace", span(checked.total_steps / data[0].progress.rate)]];
}

async function submit() {
  find("submit").disabled = true;
  const { kind: _, preset: __, after: ___, ...changes } = request();
  const made = original ? await post(`/v1/jobs/${original.id}/clone`, { ...changes, name: changes.name || undefined, tags: changes.tags.length ? changes.tags : undefined, priority: form.elements.priority.value ? changes.priority : undefined })
    : await post("/v1/jobs", request());
  location.assign(`/jobs/${made.id}`);
}

/** Each fault stands at its field; those of no field stand below. */
function refused(error) {
  const others = [];
  for (const fault of error.faults ?? []) {
    const path = fault.pointer.split("/").slice(2).join(".");
    const field = document.getElementById(`spec-${path}`);
    if (!field) others.push(fault);
    else {
      field.setAttribute("aria-invalid", "true");
      field.closest("details")?.setAttribute("open", "");
      document.getElementById(`${field.id}-fault`).textContent = fault.detail;
    }
  }
  const shown = (error.faults ?? []).length && !others.length ? Object.assign(new Error("It was refused; the fields say why."), { faults: [] }) : Object.assign(new Error(error.message), { faults: others });
  show(find("answer"), problem(shown));
  form.querySelector("[aria-invalid=true]")?.focus();
}

function clean() {
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  for (const fault of form.querySelectorAll(".fault")) fault.textContent = "";
}

async function told(work, meanwhile) {
  clean();
  find("status").textContent = meanwhile;
  try {
    await work();
  } catch (error) {
    refused(error);
  }
  find("status").textContent = "";
}

async function start() {
  if (asked.get("kind")) form.elements.kind.value = asked.get("kind");
  const [{ data: named }, { data: found }] = await Promise.all([get("/v1/presets"), get("/v1/datasets")]);
  presets = named;
  datasets = found.map((each) => each.name);
  if (asked.get("from")) {
    original = await get(`/v1/jobs/${encodeURIComponent(asked.get("from"))}`);
    form.elements.kind.value = original.kind;
    form.elements.kind.disabled = form.elements.after.disabled = true;
    show(find("about"), "A clone of ", jobLink(original.id, original.name), ". What is left empty stays as it is there, which the field shows.");
    form.elements.name.placeholder = original.name;
  }
  showPresets();
  await draw();
  if (!may("submit")) find("status").textContent = "Your key may check, and not submit.";
}

form.elements.kind.addEventListener("change", () => { preset = null; draw(); });
find("preset-search").addEventListener("input", showPresets);
find("preset-list").addEventListener("change", ({ target }) => {
  preset = presets.find((each) => each.name === target.value) ?? null;
  draw();
});
form.addEventListener("input", changed);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  told(check, "Checking …");
});
find("submit").addEventListener("click", () => told(submit, "Submitting …"));
start().catch((error) => { find("about").textContent = error.message; });
