// Scores of groups as dots with whiskers, and the pieces of lines that legends have.

import { markOf } from "./marks.js";
import { drawing } from "./svg.js";
import { element, number } from "./words.js";

/** A piece of the line `place` of a chart, for its legend. */
export function swatch(place) {
  const { name, dash } = markOf(place);
  return drawing("svg", { viewBox: "0 0 36 12", width: 36, height: 12, class: "swatch", "aria-hidden": "true" },
    drawing("line", { x1: 1, x2: 35, y1: 6, y2: 6, class: name.slice(2), "stroke-dasharray": dash.join(" "), "stroke-width": 2.5 }));
}

const ROW = 26, LEFT = 8, WIDTH = 320, TOP = 8, BOTTOM = 24;

/** Of each group its seeds as small dots, their mean as a large one, and a whisker of one standard deviation each way.
 *
 * groups: [{label, place, values}]; chance: a line, or null; said: how a value is written. */
export function whiskers(title, groups, { chance = null, said = number } = {}) {
  const told = groups.filter((group) => group.values.length).map((group) => ({ ...group, ...spread(group.values) }));
  const ends = [...told.flatMap(({ mean, std, values }) => [mean - (std ?? 0), mean + (std ?? 0), ...values]), ...(chance === null ? [] : [chance])];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const pad = (high - low || Math.abs(high) || 1) * 0.06;
  const x = (value) => LEFT + ((value - low + pad) / (high - low + 2 * pad)) * (WIDTH - 2 * LEFT);
  const height = TOP + told.length * ROW + BOTTOM;
  const picture = drawing("svg", { viewBox: `0 0 ${WIDTH} ${height}`, class: "whiskers", role: "img", "aria-label": `${title}: ${told.map((each) => `${each.label} ${text(each, said)}`).join("; ")}` });
  for (const value of [low, (low + high) / 2, high]) {
    picture.append(drawing("line", { x1: x(value), x2: x(value), y1: TOP, y2: height - BOTTOM, class: "grid" }),
      drawing("text", { x: x(value), y: height - 7, "text-anchor": value === low ? "start" : value === high ? "end" : "middle" }, said(value)));
  }
  if (chance !== null) picture.append(drawing("line", { x1: x(chance), x2: x(chance), y1: TOP, y2: height - BOTTOM, class: "chance" }));
  told.forEach(({ place, values, mean, std }, row) => {
    const y = TOP + row * ROW + ROW / 2;
    const mark = markOf(place).name.slice(2);
    if (std !== null) picture.append(drawing("line", { x1: x(mean - std), x2: x(mean + std), y1: y, y2: y, class: mark, "stroke-width": 2, "stroke-dasharray": markOf(place).dash.join(" ") }));
    for (const value of values) picture.append(drawing("circle", { cx: x(value), cy: y, r: 2.5, class: `${mark} seed` }));
    picture.append(drawing("circle", { cx: x(mean), cy: y, r: 5, class: `${mark} dot` }));
  });
  const rows = told.map((each) => element("tr", {}, element("th", { scope: "row" }, swatch(each.place), " ", each.label), element("td", { class: "number" }, text(each, said)), element("td", { class: "number" }, String(each.values.length))));
  const head = element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Group"), element("th", { scope: "col", class: "number" }, "Mean ± std"), element("th", { scope: "col", class: "number" }, "n")));
  return element("figure", {}, element("figcaption", {}, title, element("small", {}, chance === null ? "" : `dotted line: chance, ${said(chance)}`)), picture,
    element("div", { class: "scroll" }, element("table", {}, head, element("tbody", {}, ...rows))));
}

/** Sample standard deviation, which a single value does not have. */
export function spread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const std = values.length < 2 ? null : Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
  return { mean, std };
}

const text = ({ mean, std }, said) => (std === null ? said(mean) : `${said(mean)} ± ${said(std)}`);
