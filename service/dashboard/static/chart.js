// One curve as a figure: the drawing, a sentence that says what it shows, and the numbers as a table.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { element, number, show } from "./words.js";

const HEIGHT = 180;

/** A figure for the series `name`. `draw({step, value, low, high})` shows other points in it; arrays of equal length. */
export function curve(name) {
  const summary = element("small");
  const canvas = element("div");
  const rows = element("tbody");
  const head = element("thead", {}, element("tr", {}, ...["Step", "Value"].map((title) => element("th", { scope: "col", class: "number" }, title))));
  const data = element("details", {}, element("summary", {}, "Numbers"), element("div", { class: "scroll" }, element("table", {}, head, rows)));
  const figure = element("figure", {}, element("figcaption", {}, name, summary), canvas, data);
  let plot = null;

  function draw(points) {
    const values = [points.step, points.value, points.low, points.high];
    if (plot === null) {
      plot = new uPlot(options(canvas.clientWidth || 320), values, canvas);
      new ResizeObserver(() => plot.setSize({ width: canvas.clientWidth, height: HEIGHT })).observe(canvas);
    } else {
      plot.setData(values);
    }
    summary.textContent = sentence(points);
    show(rows, ...points.step.map((step, at) => element("tr", {},
      element("td", { class: "number" }, step), element("td", { class: "number" }, number(points.value[at])))));
  }
  return { figure, draw };
}

function sentence({ step, value }) {
  const finite = value.filter((each) => each !== null);
  if (!finite.length) return "no finite value";
  const range = `between ${number(Math.min(...finite))} and ${number(Math.max(...finite))}`;
  return `${step.length} points to step ${step.at(-1)}; last ${number(finite.at(-1))}, ${range}`;
}

function options(width) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--soft"), size: 30, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const edge = { stroke: "transparent", points: { show: false } };
  return {
    width,
    height: HEIGHT,
    scales: { x: { time: false } },
    axes: [axis, { ...axis, size: 58, values: (_, ticks) => ticks.map(number) }],
    series: [
      { label: "step" },
      { label: "value", stroke: colour("--accent"), width: 1.5, points: { size: 4 }, value: (_, each) => number(each) },
      { label: "low", ...edge }, { label: "high", ...edge },
    ],
    bands: [{ series: [3, 2], fill: `color-mix(in srgb, ${colour("--accent")} 18%, transparent)` }],
    legend: { show: false },
    cursor: { y: false },
  };
}
