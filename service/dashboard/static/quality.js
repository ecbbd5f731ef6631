// What is to be expected of a model's embeddings: of some of the modalities, and in other precisions than fp32.

import { element, find, numberCell, score, show } from "./words.js";

/** `model`: as GET /v1/models lists it. Of models that were exported before it was measured there is nothing to show. */
export function showQuality({ manifest, quality }) {
  const parts = [...(quality ? bySubset(quality) : []), ...byPrecision(manifest)];
  find("quality").hidden = parts.length === 0;
  show(find("expected"), ...parts);
}

function bySubset({ samples, subsets }) {
  const tasks = Object.keys(subsets[0].scores);
  const rows = subsets.map((each) => [each.modalities.join(" + "), each.mean_cosine.toFixed(4), each.min_cosine.toFixed(4), ...tasks.map((task) => score(each.scores[task].metric, each.scores[task].value))]);
  const told = `Of ${samples.toLocaleString("en")} held-out samples: how near the embedding of these modalities is to that of all`;
  const judged = tasks.length ? ", and what a quick probe that was fitted on whole samples makes of it." : ".";
  return [table("By modality", told + judged, ["Given", "Mean cosine", "Least", ...tasks.map((task) => `${task}, ${words(subsets[0].scores[task].metric)}`)], rows)];
}

function byPrecision({ variants = [], withheld = [] }) {
  const others = variants.filter((each) => each.closeness);
  const tasks = Object.keys(others[0]?.closeness.scores ?? {});
  const change = ({ metric, fp32, here }) => `${score(metric, here)} (${score(metric, fp32)})`;
  const rows = others.map(({ precision, closeness }) => [precision, closeness.max_abs_diff.toExponential(1), closeness.min_cosine.toFixed(6), ...tasks.map((task) => change(closeness.scores[task]))]);
  const told = "Beside fp32, over every subset of the modalities; scores with those of fp32 behind them.";
  const names = ["Precision", "Largest difference", "Least cosine", ...tasks.map((task) => `${task}, ${words(others[0].closeness.scores[task].metric)}`)];
  return [...(rows.length ? [table("By precision", told, names, rows)] : []),
    ...withheld.map(({ precision, reason }) => element("p", { class: "lead" }, `${precision} is not offered: ${reason}.`))];
}

const words = (metric) => metric.replaceAll("_", " ");

/** The first column names its row, all others are numbers. */
function table(title, told, names, rows) {
  const head = names.map((name, at) => element("th", { scope: "col", class: at ? "number" : null }, name));
  const body = rows.map(([name, ...values]) => element("tr", {}, element("th", { scope: "row" }, name), ...values.map(numberCell)));
  return element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": title },
    element("table", {}, element("caption", {}, title, " ", element("small", {}, told)), element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
}
