// A paper's table, or one of ours: what was measured here, beside what was published and by whom.

import { get, getText, whileSeen } from "./api.js";
import { element, jobLink, show } from "./words.js";

const UNITS = { percent: "%", mse_e4: "MSE × 10⁻⁴" };
const VERDICTS = { within_1_std: "within 1 std", within_2_std: "within 2 std", outside: "outside 2 std", other_spec: "other spec" };
const page = document.querySelector("#table-page");
const query = new URLSearchParams({ table: page.dataset.table });
const protocol = document.querySelector("#protocol");
const answer = document.querySelector("#answer");
const asked = new URLSearchParams(location.search).get("protocol");
if (asked) query.set("protocol", asked);

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
  const link = element("a", { href: `/jobs/${cell.job_ids[0]}`, title: about }, text);
  return element("div", {}, link, cell.mark ? element("abbr", { title: MARKS[cell.mark] }, cell.mark === "best" ? " ★" : " ≈") : "",
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

function drawn(view) {
  const rows = view.rows.map((row) => element("tr", {},
    element("th", { scope: "row" }, row.label), ...row.cells.map(tableCell)));
  const caption = element("caption", {}, "Measured here ", element("small", {}, `by linear probes, protocol ${view.protocol}: mean ± sample standard deviation over n seeds`));
  return element("table", {}, caption, head(view), element("tbody", {}, ...rows, chanceRow(view)));
}

/** What a glance should tell, in words. */
function summary(view) {
  const ran = view.rows.filter((row) => row.cells.some((cell) => cell.state === "ran"));
  if (!ran.length) {
    return ["Nothing of this table has run here yet. Run it: ", element("code", {}, `fusebox replicate ${view.id} --dry-run`)];
  }
  const best = view.columns.flatMap((column, at) => view.rows.filter((row) => row.cells[at].mark === "best")
    .map((row) => `${row.label} in ${column.title}`));
  const most = Math.max(...ran.flatMap((row) => row.cells.map((cell) => cell.n)));
  return [`${ran.length} of ${view.rows.length} methods have run, with up to ${most} seed${most > 1 ? "s" : ""}. `,
    best.length ? `Significantly best: ${best.join("; ")}.` : "No method is significantly better than all others in any column."];
}

async function look() {
  const view = await get(`/v1/results?${query}`);
  protocol.value = view.protocol;
  show(document.querySelector("#summary"), ...summary(view));
  show(document.querySelector("#table"), drawn(view));
}

async function copied(format) {
  const address = `/v1/results?${query}&format=${format}`;
  if (!navigator.clipboard) {
    location.assign(address); // only pages of this machine, or over HTTPS, may write there
    return;
  }
  await navigator.clipboard.writeText(await getText(address));
  answer.textContent = "Copied.";
}

for (const button of document.querySelectorAll("[data-format]")) {
  button.addEventListener("click", () => copied(button.dataset.format).catch((error) => { answer.textContent = error.message; }));
}
protocol.addEventListener("change", () => location.assign(`?protocol=${protocol.value}`));
whileSeen(10000, look);
