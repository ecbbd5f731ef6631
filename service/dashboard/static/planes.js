// The points of a projection: those of one subset of the modalities, or of all of them in one plane.

import { named } from "./neighbours.js";

/** The name of the plane that has all subsets. */
export const TOGETHER = "together";

/** {xs, ys}, of each point its place among the projected rows, and what was embedded, subset after subset. */
export function placed(projection, of, by) {
  const parts = of === TOGETHER ? Object.entries(projection.together[by]) : [[of, projection.subsets[of][by]]];
  const each = projection.rows.length;
  const [xs, ys] = [new Float32Array(each * parts.length), new Float32Array(each * parts.length)];
  parts.forEach(([, points], part) => points.forEach(([x, y], k) => { [xs[part * each + k], ys[part * each + k]] = [x, y]; }));
  return { xs, ys, row: Array.from(xs, (_, k) => k % each), of: parts.map(([name]) => named(name.split("+"))) };
}

/** How far what was embedded lies apart in this plane, in spreads of what lies together; in words. */
export function apart({ xs, ys, of }) {
  if (of.length < 2) return "";
  const each = xs.length / of.length;
  const means = of.map((_, part) => [mean(xs, part * each, each), mean(ys, part * each, each)]);
  const spread = Math.sqrt(of.reduce((sum, _, part) => sum + variance(xs, means[part][0], part * each, each) + variance(ys, means[part][1], part * each, each), 0) / of.length);
  const far = means.slice(1).map(([x, y], k) => `${of[k + 1]} lies ${(Math.hypot(x - means[0][0], y - means[0][1]) / (spread || 1)).toFixed(1)}`);
  return ` From the middle of ${of[0]}, that of ${far.join(", that of ")} standard deviations away.`;
}

function mean(values, start, length) {
  let sum = 0;
  for (let k = start; k < start + length; k += 1) sum += values[k];
  return sum / length;
}

function variance(values, middle, start, length) {
  let sum = 0;
  for (let k = start; k < start + length; k += 1) sum += (values[k] - middle) ** 2;
  return sum / length;
}
