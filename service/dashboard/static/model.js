// One published model: its versions and aliases, the numbers that justify it, where it comes from, and a place to try it.

import { get, may, post } from "./api.js";
import { letAttach, showHeads } from "./heads.js";
import { showQuality } from "./quality.js";
import { inputsFor, tryIt } from "./try.js";
import { ago, cell, element, facts, find, jobLink, moment, numberCell, sha, shapeOf, show, tags } from "./words.js";

const { name } = find("model").dataset;
let versions = [];
let model = null;

function showFacts() {
  const { manifest } = model;
  const about = [
    ["Version", `${model.version} of ${versions.length}`], ["Aliases", model.aliases.length ? element("span", {}, ...tags(model.aliases)) : "none"],
    ...manifest.inputs.map((input) => [input.name === input.kind ? input.name : `${input.name} (${input.kind})`, shapeOf(input)]),
    ["May miss modalities", manifest.may_miss ? "yes" : "no"], ["Embedding", `${manifest.embedding_dim} numbers, in ${model.precisions.join(" or ")}`],
    ["Parity with torch", parity(model)], ["Digest", sha(model.digest)], ["Published", moment(model.created_at)],
  ];
  show(find("facts"), ...facts(about));
}

const parity = ({ manifest: { parity: { max_abs_diff, tolerance } } }) => `${max_abs_diff.toExponential(1)} of at most ${tolerance.toExponential(0)}`;

function showLineage() {
  const { source } = model.manifest;
  const steps = [
    ["Dataset", element("a", { href: `/datasets/${encodeURIComponent(source.dataset)}` }, source.dataset)],
    ["Training", element("span", {}, model.train_job_id ? jobLink(model.train_job_id) : source.job_id, ` ${source.method}, seed ${source.seed}`)],
    ["Checkpoint", element("span", {}, `step ${source.step}, `, sha(source.checkpoint_sha256))],
    ["Export", element("span", {}, model.job_id ? jobLink(model.job_id) : "elsewhere", `, parity ${parity(model)}`)],
    ["Model", element("span", {}, `${model.name}@${model.version}, `, sha(model.digest))],
  ];
  show(find("lineage"), ...steps.map(([title, what]) => element("li", { class: "card" }, element("small", {}, title), what)));
}

function showVersions() {
  show(find("versions").tBodies[0], ...versions.map((each) => element("tr", {},
    element("th", { scope: "row" }, element("a", { href: `?version=${each.version}`, "aria-current": each.version === model.version ? "true" : null }, `${each.name}@${each.version}`)),
    element("td", {}, ...tags(each.aliases)), cell(each.manifest.source.method), numberCell(String(each.manifest.source.step)), numberCell(parity(each)), numberCell(String(each.heads.length)), cell(sha(each.digest)), numberCell(ago(each.created_at)))));
}

async function move(event) {
  event.preventDefault();
  const { alias } = event.target.elements;
  try {
    const was = await get("/v1/aliases").then(({ data }) => data.find((each) => each.alias === alias.value));
    const moved = await post(`/v1/aliases/${encodeURIComponent(alias.value)}`, { model: `${name}@${model.version}` }, "PUT");
    find("moved").textContent = `${moved.alias} means ${moved.model} now${was && was.model !== moved.model ? `; before it meant ${was.model}` : ""}.`;
    await look();
  } catch (error) {
    find("moved").textContent = error.message;
  }
}

async function look() {
  const [{ data }, { data: aliases }] = await Promise.all([get(`/v1/models?name=${encodeURIComponent(name)}&limit=200`), get("/v1/aliases")]);
  versions = data;
  const asked = Number(new URLSearchParams(location.search).get("version"));
  model = versions.find((each) => each.version === asked) ?? versions[0];
  find("title").textContent = `${model.name}@${model.version}`;
  find("about").textContent = `${model.manifest.source.method} trained on ${model.manifest.source.dataset}.`;
  show(find("aliases"), ...aliases.map((each) => element("option", { value: each.alias })));
  showFacts();
  showQuality(model);
  showHeads(model);
  showLineage();
  showVersions();
}

async function start() {
  await look();
  find("inputs").replaceChildren(...inputsFor(model.manifest.inputs));
  tryIt(find("try"), find("answer"), find("tried"), () => model);
  find("try").closest("section").hidden = !may("infer");
  find("alias").hidden = !may("admin");
  find("alias").addEventListener("submit", move);
  letAttach(look);
  find("content").hidden = false;
}

start().catch((error) => { find("about").textContent = error.message; });
