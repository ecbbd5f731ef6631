// How numbers, times and sizes are written, and how elements are made. Text always goes in as text, never as markup.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.map((child) => child ?? ""));
  return made;
}

/** Fills `place`, unless it shows just this already. What has the focus keeps it, and what is selected stays so. */
export function show(place, ...children) {
  const fresh = place.cloneNode(false);
  fresh.append(...children);
  if (place.isEqualNode(fresh)) return;
  const focus = place.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  place.replaceChildren(...fresh.childNodes);
  if (focus !== null) place.querySelector(`a[href="${CSS.escape(focus)}"]`)?.focus();
}

export const find = (id) => document.getElementById(id);

export const jobLink = (job_id, text) => element("a", { href: `/jobs/${job_id}`, class: text ? null : "id", title: job_id }, text || shortId(job_id));

/** Of one training its page, of several how they compare. */
export const trainings = (job_ids) => (job_ids.length > 1 ? `/compare?jobs=${job_ids.slice(0, 50).join(",")}` : `/jobs/${job_ids[0]}`);

/** The end of an id tells it from its neighbours. */
const shortId = (id) => id.replace(/^([a-z]+_).*(.{8})$/, "$1…$2");

/** Says in `place` what has become of what was asked for: `done(answer)`, or why not. */
export async function tell(place, ask, done) {
  try {
    place.textContent = done(await ask());
  } catch (error) {
    place.textContent = error.message;
  }
}

export const cell = (content, kind = "") => element("td", { class: kind || null }, content);
export const numberCell = (content) => cell(content, "number");

/** The beginning of a sha256, and all of it on hover. */
export const sha = (text) => element("code", { title: text }, text.slice(0, 12));

export const tags = (names) => names.flatMap((name) => [element("span", { class: "tag" }, name), " "]);

/** Names and values for a `dl`. */
export const facts = (pairs) => pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));

/** Whether a job has ended without what it was for; it may be tried again. */
export const broke = (job) => job.state === "failed" || job.state === "cancelled";

/** States of a replication's cells that will not be filled unless somebody tries again. */
export const BROKEN = ["failed", "cancelled", "lost"];

export function stateBadge(state) {
  return element("span", { class: `state ${state}` }, state);
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

/** Of a model's input, as its manifest describes it. */
export function shapeOf(input) {
  switch (input.kind) {
    case "image": return `${input.channels} × ${input.height} × ${input.width}`;
    case "text": return `up to ${input.max_tokens} tokens`;
    case "sequence": return `up to ${input.max_steps} × ${input.features}`;
    default: return String(input.features);
  }
}

/** The keys that scores and parameters are sorted and compared by: `a.b.c` → value, lists whole. */
export function flat(value, path = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[path, JSON.stringify(value)]];
  const inside = Object.entries(value).flatMap(([key, each]) => flat(each, path ? `${path}.${key}` : key));
  return inside.length || !path ? inside : [[path, "{}"]];
}

export const percent = (value) => (100 * value).toFixed(1);

export function score(metric, value) {
  if (value === null) return "–";
  return metric?.includes("accuracy") ? `${percent(value)} %` : number(value);
}

export function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

export function bytes(count) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (count >= size) return `${(count / size).toFixed(1)} ${unit}`;
  }
  return `${count} B`;
}

/** With the day unless that is today. */
export function moment(iso) {
  if (!iso) return "–";
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  return element("time", { datetime: iso, title: at.toLocaleString() }, today ? at.toLocaleTimeString() : at.toLocaleString());
}

export function ago(iso) {
  const text = `${span((Date.now() - Date.parse(iso)) / 1000)} ago`;
  return element("time", { datetime: iso, title: new Date(iso).toLocaleString() }, text);
}

export function pace(progress) {
  const rate = progress.rate ? `, ${number(progress.rate)} per second` : "";
  const left = progress.eta_s ? `, ${span(progress.eta_s)} left` : "";
  return `${progress.phase ?? ""} ${progress.step ?? 0} of ${progress.total}${rate}${left}`.trim();
}

/** Of a mean against a published one. */
export const VERDICTS = { within_1_std: "within 1 std", within_2_std: "within 2 std", outside: "outside 2 std", other_spec: "other spec" };
