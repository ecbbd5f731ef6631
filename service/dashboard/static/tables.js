// A table of methods and tasks: means measured here beside what was published.

import { element, trainings, VERDICTS } from "./words.js";

const UNITS = { percent: "%", mse_e4: "MSE × 10⁻⁴" };

function head(view) {
  return element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Method"), ...view.columns.map((column) =>
    element("th", { scope: "col", class: "number" }, column.title, " ",
      element("small", {}, `${UNITS[column.unit]}${column.better === "lower" ? ", less is better" : ""}`)))));
}

/** The mean leads to the trainings it is of. */
function measured(cell) {
  if (cell.state === "not_run") return element("div", { title: cell.reason }, element("small", {}, "not run"));
  const interval = cell.shown.interval?.map((end) => end.toFixed(2)).join(" to ");
  const about = interval ? `95 % interval ${interval}` : "of one seed nothing is known of the spread";
  const text = cell.mark === "best" ? element("strong", {}, cell.shown.text) : cell.shown.text;
  const link = element("a", { href: trainings(cell.job_ids), title: about }, text);
  return element("div", {}, link, ...(cell.mark ? [" ", element("abbr", { title: MARKS[cell.mark] }, cell.mark === "best" ? "★" : "≈")] : []),
    " ", element("small", {}, `n = ${cell.n}`));
}

const MARKS = {
  best: "significantly better than every other method of the column",
  tied: "the best mean, or not significantly worse than it",
};

const published = ({ printed, ran_by, source }) =>
  element("div", { class: "published", title: `${ran_by}; ${source}` }, element("small", {}, `${printed} by ${ran_by}`));

function tableCell(cell) {
  const verdict = VERDICTS[cell.verdict];
  return element("td", { class: "number" }, measured(cell), ...cell.published.map(published),
    verdict && cell.state === "ran" ? element("div", {}, element("small", { class: `verdict ${cell.verdict}` }, verdict)) : "");
}

function chanceRow(view) {
  const shown = ({ chance, unit }) => (chance === null ? "–" : (unit === "percent" ? 100 * chance : chance).toFixed(1));
  return element("tr", {}, element("th", { scope: "row" }, element("small", {}, "chance")),
    ...view.columns.map((column) => element("td", { class: "number" }, element("small", {}, shown(column)))));
}

export function drawn(view) {
  const rows = view.rows.map((row) => element("tr", {},
    element("th", { scope: "row" }, row.label), ...row.cells.map(tableCell)));
  const caption = element("caption", {}, "Measured here ", element("small", {}, `by linear probes, protocol ${view.protocol}: mean ± sample standard deviation over n seeds`));
  return element("table", {}, caption, head(view), element("tbody", {}, ...rows, chanceRow(view)));
}
