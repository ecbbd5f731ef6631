// Curves as a figure: the drawing, a sentence that says what it shows, a readout for the keyboard, and the numbers as a table.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { colour, markOf } from "./marks.js";
import { element, number, show } from "./words.js";

const HEIGHT = 180;
const MOST_ROWS = 400;

/** A figure for the series `name`. `draw({step, value, low, high})` shows other points in it; arrays of equal length. */
export function curve(name) {
  const accent = { stroke: colour("--accent"), width: 1.5, points: { size: 4 } };
  const made = chart(name, [{ label: "value", ...accent }, hidden("low"), hidden("high")], [band([3, 2], colour("--accent"))], ["Value"]);
  return { figure: made.figure, draw: (points) => made.draw([points.step, points.value, points.low, points.high], sentence(points), (at) => [points.value[at]]) };
}

/** A figure of several lines, each a mean with its band: `draw(step, [{label, place, mean, low, high, seeds}, …], text)`. */
export function lines(name) {
  const figure = element("figure", { class: "wide" }, element("figcaption", {}, name));
  let made = null;
  function draw(step, groups, text) {
    const series = groups.flatMap(({ label, place, seeds }) => {
      const { colour: stroke, dash } = markOf(place);
      const faint = { stroke: `color-mix(in srgb, ${stroke} 35%, transparent)`, width: 1, dash, points: { show: false } };
      return [{ label, stroke, dash, width: 2, points: { show: step.length === 1 } }, hidden("low"), hidden("high"), ...seeds.map(() => ({ label: "seed", ...faint }))];
    });
    const bands = [];
    let at = 1;
    for (const { place, seeds } of groups) {
      bands.push(band([at + 2, at + 1], markOf(place).colour));
      at += 3 + seeds.length;
    }
    const fresh = chart(name, series, bands, groups.map((group) => group.label));
    fresh.figure.className = "wide";
    (made?.figure ?? figure).replaceWith(fresh.figure);
    made = fresh;
    made.draw([step, ...groups.flatMap(({ mean, low, high, seeds }) => [mean, low, high, ...seeds])], text, (place) => groups.map((group) => group.mean[place]));
  }
  return { figure, draw };
}

const hidden = (label) => ({ label, stroke: "transparent", points: { show: false } });
const band = (series, stroke) => ({ series, fill: `color-mix(in srgb, ${stroke} 16%, transparent)` });

/** `draw(columns, text, at)`: uPlot's columns, what they show in words, and the values that the table has in row `at`. */
function chart(name, series, bands, titles) {
  const summary = element("small");
  const canvas = element("div", { class: "canvas", tabindex: 0, role: "img", "aria-label": `${name}: not drawn yet.` });
  const readout = element("small", { class: "readout", role: "status" });
  const rows = element("tbody");
  const head = element("thead", {}, element("tr", {}, ...["Step", ...titles].map((title) => element("th", { scope: "col", class: "number" }, title))));
  const data = element("details", {}, element("summary", {}, "Numbers"), element("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": `${name}, numbers` }, element("table", {}, head, rows)));
  const figure = element("figure", {}, element("figcaption", {}, name, summary), canvas, readout, data);
  let plot = null;
  let began = null;
  let shown = { columns: [[]], at: () => [] };
  let place = null;

  const says = (at) => `step ${shown.columns[0][at]}: ${shown.at(at).map((value, k) => (titles.length > 1 ? `${titles[k]} ${number(value)}` : number(value))).join(", ")}`;

  function draw(columns, text, at) {
    began = performance.now();
    shown = { columns, at };
    if (plot === null) {
      plot = new uPlot({ ...options(canvas.clientWidth || 320, series, bands), hooks: { draw: [drawn] } }, columns, canvas);
      new ResizeObserver(() => plot.setSize({ width: canvas.clientWidth, height: HEIGHT })).observe(canvas);
    } else {
      plot.setData(columns);
    }
    summary.textContent = text;
    canvas.setAttribute("aria-label", `${name}: ${text}. Left and right read single steps.`);
    if (data.open) table();
  }

  /** uPlot draws once this task has ended. Only the latest drawing is kept: a page may be looked at for days. */
  function drawn() {
    if (began === null) return;
    performance.clearMeasures(`drawn ${name}`);
    performance.measure(`drawn ${name}`, { start: began });
    began = null;
  }

  function table() {
    const every = Math.ceil(shown.columns[0].length / MOST_ROWS);
    const kept = shown.columns[0].map((step, at) => [step, at]).filter(([, at]) => at % every === 0 || at === shown.columns[0].length - 1);
    show(rows, ...kept.map(([step, at]) => element("tr", {}, element("td", { class: "number" }, step), ...shown.at(at).map((value) => element("td", { class: "number" }, number(value))))));
  }

  function read(key) {
    const last = shown.columns[0].length - 1;
    const moved = { ArrowLeft: (place ?? last + 1) - 1, ArrowRight: (place ?? -1) + 1, Home: 0, End: last }[key];
    if (moved === undefined || last < 0) return false;
    place = Math.min(last, Math.max(0, moved));
    plot.setCursor({ left: plot.valToPos(shown.columns[0][place], "x"), top: 0 });
    readout.textContent = says(place);
    return true;
  }

  canvas.addEventListener("keydown", (event) => { if (read(event.key)) event.preventDefault(); });
  canvas.addEventListener("pointermove", () => { if (plot?.cursor.idx != null) readout.textContent = says(plot.cursor.idx); });
  data.addEventListener("toggle", () => { if (data.open && plot) table(); });
  return { figure, draw };
}

function sentence({ step, value }) {
  const finite = value.filter((each) => each !== null);
  if (!finite.length) return "no finite value";
  const range = `between ${number(Math.min(...finite))} and ${number(Math.max(...finite))}`;
  return `${step.length} points to step ${step.at(-1)}; last ${number(finite.at(-1))}, ${range}`;
}

function options(width, series, bands) {
  const axis = { stroke: colour("--soft"), size: 30, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height: HEIGHT,
    scales: { x: { time: false } },
    axes: [axis, { ...axis, size: 58, values: (_, ticks) => ticks.map(number) }],
    series: [{ label: "step" }, ...series],
    bands,
    legend: { show: false },
    cursor: { y: false },
  };
}
