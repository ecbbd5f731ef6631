// All jobs as they change. What is shown stays where it is while somebody points at it, has it selected or focused: newer
// jobs wait behind a button.

import { get, may, post, whileSeen } from "./api.js";
import { onTags, tagged, tagLink } from "./tagging.js";
import { ago, broke, cell, element, find, jobLink, numberCell, pace, show, stateBadge } from "./words.js";

const MOST_COMPARED = 50;
const MOST_TAGS = 4;
const table = find("jobs-table");
const filters = find("filters");
const chosen = new Set();
let rows = new Map();
let shown = 25;
let pointed = false;

/** What the row says, cell by cell; the first holds the box that selects it. */
function cells(job) {
  const state = cell(stateBadge(job.state));
  if (job.error) state.title = job.error;
  return [element("th", { scope: "row", class: "name" }, jobLink(job.id, job.name), ...tagsOf(job)), cell(job.kind), state,
    cell(job.method), cell(job.dataset), numberCell(job.seed), cell(progressOf(job)), numberCell(ago(job.created_at))];
}

function tagsOf({ tags }) {
  const more = tags.slice(MOST_TAGS);
  return [...tags.slice(0, MOST_TAGS).flatMap((tag) => [" ", tagLink(tag)]), ...(more.length ? [" ", element("small", { title: more.join(", ") }, `and ${more.length} more`)] : [])];
}

function progressOf(job) {
  const at = job.progress ?? {};
  if (!at.total) return job.after_id && job.state === "queued" ? element("small", {}, "after ", jobLink(job.after_id)) : "";
  if (job.finished_at) return `${at.step} of ${at.total}`;
  const text = pace(at);
  return element("span", { title: text }, element("progress", { max: at.total, value: at.step, "aria-label": text }), ` ${Math.floor((100 * at.step) / at.total)} %`);
}

function rowOf(job) {
  const box = element("input", { type: "checkbox", value: job.id, "aria-label": `Select ${job.name || job.id}` });
  box.checked = chosen.has(job.id);
  const made = element("tr", {}, element("td", {}, box), ...cells(job));
  made.job = job;
  return made;
}

/** A row's cells as they are now; those that say the same stay the very same elements. */
function renew(row, job) {
  row.job = job;
  cells(job).forEach((fresh, at) => {
    const old = row.children[at + 1];
    if (!old.isEqualNode(fresh) && !old.contains(document.activeElement)) old.replaceWith(fresh);
  });
}

const query = () => new URLSearchParams([...new FormData(filters)].filter(([, value]) => value));

async function look({ all = false } = {}) {
  const asked = query();
  asked.set("limit", String(shown));
  const page = await get(`/v1/jobs?${asked}`);
  const known = page.data.filter((job) => rows.has(job.id));
  for (const job of known) renew(rows.get(job.id), job);
  const fresh = page.data.length - known.length;
  const held = !all && rows.size > 0 && (pointed || chosen.size > 0 || table.contains(document.activeElement));
  const gone = !held && known.length < rows.size;
  if (fresh && held) {
    find("fresh").hidden = false;
    find("fresh").textContent = `Show ${fresh} new`;
  } else if (fresh || gone || all) {
    redraw(page);
  }
  const none = rows.size === 0;
  table.hidden = none;
  find("jobs-empty").hidden = !none;
  show(find("jobs-empty"), ...(query().size ? ["No such jobs."] : ["No jobs yet. ", element("a", { href: "/jobs/new" }, "Start one"), ", or from a shell: ",
    element("code", {}, `echo '{"dataset": "digits", "epochs": 5}' | fusebox jobs submit - --watch`)]));
}

function redraw(page) {
  rows = new Map(page.data.map((job) => [job.id, rows.get(job.id) ?? rowOf(job)]));
  table.tBodies[0].replaceChildren(...rows.values());
  for (const id of [...chosen]) if (!rows.has(id)) chosen.delete(id);
  find("older").hidden = !page.has_more || shown >= 200;
  find("fresh").hidden = true;
  count();
}

function count() {
  const jobs = [...chosen].map((id) => rows.get(id).job);
  find("chosen").textContent = jobs.length ? `${jobs.length} selected` : "None selected";
  find("cancel").disabled = !may("submit") || !jobs.some((job) => !job.finished_at);
  find("retry").disabled = !may("submit") || !jobs.some(broke);
  for (const button of find("tagging").querySelectorAll("button")) button.disabled = !jobs.length;
  const fit = jobs.length >= 2 && jobs.length <= MOST_COMPARED;
  const link = find("compare");
  link.toggleAttribute("href", fit);
  link.setAttribute("aria-disabled", String(!fit));
  if (fit) link.href = `/compare?jobs=${jobs.map((job) => job.id).reverse().join(",")}`;
  find("all").checked = jobs.length > 0 && jobs.length === rows.size;
}

/** Each by itself: one that is refused keeps none of the others back, and what was said of it is told. */
async function each(ask, fits, done) {
  const ids = [...chosen].filter((id) => fits(rows.get(id).job));
  const refused = [];
  for (const id of ids) {
    try {
      renew(rows.get(id), await ask(id));
    } catch (error) {
      refused.push(error.message);
    }
  }
  find("answer").textContent = `${ids.length - refused.length} ${done}${refused.length ? `, ${refused.length} refused: ${refused[0]}` : ""}.`;
  count();
}

function suggestTags() {
  const known = [...new Set([...rows.values()].flatMap((row) => row.job.tags))].sort();
  show(find("tags-shown"), ...known.map((tag) => element("option", { value: tag })));
}

table.tBodies[0].addEventListener("change", ({ target }) => {
  if (target.checked) chosen.add(target.value);
  else chosen.delete(target.value);
  count();
});
find("all").addEventListener("change", () => {
  for (const [id, row] of rows) {
    row.querySelector("input").checked = find("all").checked;
    if (find("all").checked) chosen.add(id);
    else chosen.delete(id);
  }
  count();
});
table.addEventListener("pointerenter", () => { pointed = true; });
table.addEventListener("pointerleave", () => { pointed = false; });
find("cancel").addEventListener("click", () => each((id) => post(`/v1/jobs/${id}/cancel`), (job) => !job.finished_at, "told to stop"));
find("retry").addEventListener("click", () => each((id) => post(`/v1/jobs/${id}/retry`), broke, "queued again"));
onTags(find("tagging"), (tag, has) => each((id) => tagged(`/v1/jobs/${id}`, tag, has), () => true, `${has ? "have" : "do not have"} the tag “${tag}” now`));
find("tagging").addEventListener("focusin", suggestTags);
find("tagging").hidden = !may("submit");
find("fresh").addEventListener("click", () => look({ all: true }));
find("older").addEventListener("click", () => {
  shown = Math.min(200, shown * 2);
  look({ all: true });
});

function filtered() {
  const asked = query();
  history.replaceState(null, "", asked.size ? `?${asked}` : location.pathname);
  return look({ all: true });
}

for (const [name, value] of new URLSearchParams(location.search)) {
  if (filters.elements[name]) filters.elements[name].value = value;
}
let typing = 0;
filters.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => filtered().catch((error) => { find("answer").textContent = error.message; }), 250);
});
filters.addEventListener("submit", (event) => event.preventDefault());
count();
whileSeen(2000, look);
