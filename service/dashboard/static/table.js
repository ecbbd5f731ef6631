// A paper's table, or one of ours: what was measured here, beside what was published and by whom.

import { get, getText, whileSeen } from "./api.js";
import { drawn } from "./tables.js";
import { element, show } from "./words.js";

const page = document.querySelector("#table-page");
const query = new URLSearchParams({ table: page.dataset.table });
const protocol = document.querySelector("#protocol");
const answer = document.querySelector("#answer");
const asked = new URLSearchParams(location.search).get("protocol");
if (asked) query.set("protocol", asked);

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
