// How numbers, times and sizes are written, and how elements are made. Text always goes in as text, never as markup.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.map((child) => child ?? ""));
  return made;
}

export const cell = (content, kind = "") => element("td", { class: kind || null }, content);
export const numberCell = (content) => cell(content, "number");

export function stateBadge(state) {
  return element("span", { class: `state ${state}` }, state);
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

export const percent = (value) => (100 * value).toFixed(1);

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

export function moment(iso) {
  return iso ? element("time", { datetime: iso }, new Date(iso).toLocaleString()) : "–";
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
