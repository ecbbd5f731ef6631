// All datasets, a line for each.

import { get, whileSeen } from "./api.js";
import { ago, cell, element, numberCell, show } from "./words.js";

const MOST_NAMES = 4;
const table = document.querySelector("#datasets-table");
const empty = document.querySelector("#datasets-empty");

/** The usual form of a registered dataset stands for it. */
function row({ name, forms, registered }) {
  const [usual] = forms;
  const sizes = registered?.samples.strict ?? {};
  return element("tr", {},
    element("th", { scope: "row" }, element("a", { href: `/datasets/${encodeURIComponent(name)}` }, name)),
    cell(element("span", {}, ...(registered ? named(usual.modalities) : ["images, text ", element("small", {}, `as ${forms.map((form) => form.form).join(", ")}`)]))),
    cell(listed(usual.tasks.map((task) => task.name))),
    ...["train", "val", "test"].map((split) => numberCell(registered ? (sizes[split] ?? 0).toLocaleString("en") : "–")),
    numberCell(registered ? ago(registered.created_at) : "always there"));
}

const named = (modalities) => modalities.flatMap(({ name, kind }, place) =>
  [place ? ", " : "", name, ...(name === kind ? [] : [" ", element("small", {}, kind)])]);

function listed(names) {
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  return names.length ? names.slice(0, MOST_NAMES).join(", ") + more : "none";
}

whileSeen(10000, async () => {
  const { data } = await get("/v1/datasets");
  show(table.tBodies[0], ...data.map(row));
  table.hidden = false;
  const added = data.some((each) => each.registered);
  show(empty, added ? "Add another: " : "None is registered yet. Add a folder of images with metadata.csv: ",
    element("code", {}, "fusebox datasets upload NAME FOLDER --format image_folder"));
});
