// What the points of a map are told apart by: a task's classes, ranges of its numbers, splits, or what was embedded.

import { number } from "./words.js";

/** With colours and shapes of their own; all others are one kind. */
const MOST_KINDS = 12;
const RANGES = 5;
const OTHERS = "others";

/** {names, counts, code}: the most frequent kinds first, and of each point the place of its own. `keys` are words. */
export function kindsOf(keys) {
  const counts = new Map();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  const all = [...counts].sort(([, a], [, b]) => b - a);
  const own = all.slice(0, all.length > MOST_KINDS + 1 ? MOST_KINDS : all.length);
  return ordered(keys, own.map(([key]) => key), all.length - own.length);
}

/** The same with names in a given order; what is not among them is of the last kind, which stands for so many. */
function ordered(keys, names, left = 0) {
  const places = new Map(names.sort(naturally).map((name, place) => [name, place]));
  const code = Uint8Array.from(keys, (key) => places.get(key) ?? names.length);
  const all = left ? [...names, `${left} ${OTHERS}`] : names;
  return counted(all, code, left ? names.length : -1);
}

function counted(names, code, rest = -1) {
  const counts = names.map(() => 0);
  for (const place of code) counts[place] += 1;
  return { names, counts, code, rest };
}

const naturally = new Intl.Collator("en", { numeric: true }).compare;

/** What a task says of each point. */
export function kindsOfTask({ type, names, values }) {
  if (type === "class") return kindsOf(values.map((value) => names[value] ?? "none"));
  if (type === "multilabel") return kindsOf(values.map((labels) => labels.map((label) => names[label]).join(", ") || "none"));
  return ranges(values.map(([first]) => first));
}

/** Numbers in ranges of about as many points. */
function ranges(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const ends = [...new Set(Array.from({ length: RANGES }, (_, k) => sorted[Math.min(sorted.length - 1, Math.ceil(((k + 1) * sorted.length) / RANGES) - 1)]))];
  const names = ends.map((end, k) => (k ? `over ${number(ends[k - 1])} to ${number(end)}` : `${number(sorted[0])} to ${number(end)}`));
  const code = Uint8Array.from(values, (value) => ends.findIndex((end) => value <= end));
  return counted(names, code);
}

/** A task's label of one point, in words. */
export function labelOf({ type, names, values }, point) {
  if (type === "class") return names[values[point]] ?? "none";
  if (type === "multilabel") return values[point].map((label) => names[label]).join(", ") || "none";
  return values[point].map(number).join(", ");
}
