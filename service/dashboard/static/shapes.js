// Signs of points: a shape and a colour for each kind, so that they can be told apart without colours.

import { colour } from "./marks.js";
import { drawing } from "./svg.js";

/** Outlines around 0, 0, within 1. */
const OUTLINES = [
  null, // a disc
  [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
  [[0, -1.15], [1.1, 0.8], [-1.1, 0.8]],
  [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
  [[-0.4, -1.1], [0.4, -1.1], [0.4, -0.4], [1.1, -0.4], [1.1, 0.4], [0.4, 0.4], [0.4, 1.1], [-0.4, 1.1], [-0.4, 0.4], [-1.1, 0.4], [-1.1, -0.4], [-0.4, -0.4]],
];
const COLOURS = 7;

/** Of kind number `place`: {name, outline}; `name` is that of its colour. */
export function signOf(place, isRest = false) {
  if (isRest) return { name: "--soft", outline: OUTLINES[0] };
  return { name: `--mark-${place % COLOURS}`, outline: OUTLINES[place % OUTLINES.length] };
}

/** For a legend. */
export function signed({ name, outline }) {
  const way = { fill: `var(${name})` };
  const shape = outline === null ? drawing("circle", { r: 1, ...way }) : drawing("polygon", { points: outline.map((each) => each.join(",")).join(" "), ...way });
  return drawing("svg", { viewBox: "-1.4 -1.4 2.8 2.8", width: 12, height: 12, class: "swatch", "aria-hidden": "true" }, shape);
}

/** A small picture of it, which is drawn faster than its outline. */
export function stamp({ name, outline }, radius) {
  const size = Math.ceil(radius * 2.8);
  const canvas = new OffscreenCanvas(size, size);
  const ink = canvas.getContext("2d");
  ink.translate(size / 2, size / 2);
  ink.fillStyle = colour(name);
  ink.beginPath();
  if (outline === null) ink.arc(0, 0, radius, 0, 2 * Math.PI);
  else outline.forEach(([x, y], k) => (k ? ink.lineTo(x * radius, y * radius) : ink.moveTo(x * radius, y * radius)));
  ink.fill();
  return canvas;
}
