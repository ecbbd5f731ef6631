// Curves of several jobs on the same steps, and the mean and spread of each group of them.

import { spread } from "./whiskers.js";
import { broke } from "./words.js";

/** curves: as POST /v1/metrics/query answers them; groups: [{place, label, members}].
 *
 * Returns {step, groups: [{place, label, mean, low, high, seeds}]}: on all steps that any curve has, a curve's values in
 * between are interpolated, and beyond its ends it has none. */
export function aligned(curves, groups) {
  const of = new Map(curves.map((curve) => [curve.job_id, curve]));
  const step = [...new Set(curves.flatMap((curve) => curve.step))].sort((a, b) => a - b);
  const told = groups.map(({ place, label, members }) => {
    const seeds = oneOfEachSeed(members, (job) => of.has(job.id)).map((job) => on(step, of.get(job.id)));
    const columns = { mean: [], low: [], high: [] };
    for (let at = 0; at < step.length; at += 1) {
      const values = seeds.map((seed) => seed[at]).filter((value) => value !== null);
      const { mean, std } = values.length ? spread(values) : { mean: null, std: null };
      columns.mean.push(mean);
      columns.low.push(std === null ? mean : mean - std);
      columns.high.push(std === null ? mean : mean + std);
    }
    return { place, label, seeds, ...columns };
  });
  return { step, groups: told.filter((group) => group.seeds.length) };
}

/** Of jobs of equal spec and seed, all for which `has` holds, the newest: doing the same again tells nothing of the spread
 * between seeds. One that has failed or was cancelled counts only where there is no other. */
export function oneOfEachSeed(jobs, has = () => true) {
  const later = (a, b) => (broke(a) === broke(b) ? Date.parse(b.created_at) > Date.parse(a.created_at) : broke(a));
  const seeds = Map.groupBy(jobs.filter(has), (job) => `${job.group_sha256} ${job.seed}`);
  return [...seeds.values()].map((again) => again.reduce((best, job) => (later(best, job) ? job : best)));
}

/** A curve's values at the steps. What was not finite stays a gap. */
function on(steps, { step, value }) {
  let next = 0;
  return steps.map((at) => {
    while (next < step.length && step[next] < at) next += 1;
    if (next === step.length || (next === 0 && step[0] !== at)) return null;
    if (step[next] === at) return value[next];
    const [before, after] = [value[next - 1], value[next]];
    if (before === null || after === null) return null;
    return before + ((after - before) * (at - step[next - 1])) / (step[next] - step[next - 1]);
  });
}
