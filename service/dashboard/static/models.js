// All published models, the newest version of each name first.

import { get, whileSeen } from "./api.js";
import { ago, cell, element, find, numberCell, sha, shapeOf, show, tags } from "./words.js";

/** Each with its name and shape. */
const inputsOf = ({ inputs }) => element("span", {}, ...inputs.flatMap((input, place) =>
  [place ? ", " : "", input.name, " ", element("small", {}, shapeOf(input))]));

whileSeen(10000, async () => {
  const { data } = await get("/v1/models?limit=200");
  find("models-table").hidden = data.length === 0;
  find("models-empty").hidden = data.length > 0;
  show(find("models-empty"), "None yet. An export publishes one; each training's page has a button for it.");
  show(find("models-table").tBodies[0], ...data.map(({ name, version, aliases, manifest, heads, digest, created_at }) => element("tr", {},
    element("th", { scope: "row" }, element("a", { href: `/models/${encodeURIComponent(name)}?version=${version}` }, `${name}@${version}`)),
    element("td", {}, ...tags(aliases)),
    cell(inputsOf(manifest)), numberCell(String(manifest.embedding_dim)), cell(manifest.source.method), cell(manifest.source.dataset),
    numberCell(String(heads.length)), cell(sha(digest)), numberCell(ago(created_at)))));
});
