// The nearest samples of an index, with what they look like; and which indexes a model can be asked in.

import { get, post } from "./api.js";
import { card } from "./samples.js";
import { element, number } from "./words.js";

const MOST = 50;

export const indexPath = (index) => `/v1/jobs/${encodeURIComponent(index)}/embeddings`;
export const named = (modalities) => modalities.join(" and ");

/** Rows of an index as they look: {row, sample, split, labels, modalities}. */
export async function lookedAt(index, rows) {
  return rows.length ? (await get(`${indexPath(index)}/samples?${rows.map((row) => `row=${row}`).join("&")}`)).data : [];
}

/** {answer, samples}: the neighbours as POST /v1/search has them, and what they look like. */
export async function neighboursOf(asked) {
  const answer = await post("/v1/search", asked);
  return { answer, samples: await lookedAt(asked.index, answer.data.map((each) => each.row)) };
}

/** As cards, nearest first. `choose(neighbour)`, where there is one, makes one of them what is looked at. */
export function cards({ answer, samples }, choose = null) {
  return answer.data.map((neighbour, place) => {
    const shown = pictured(`${place + 1}. ${answer.metric} ${number(neighbour.score)} · sample ${neighbour.sample.toLocaleString("en")}, ${neighbour.split}`, samples[place]);
    if (choose) {
      const button = element("button", { type: "button", "aria-label": `Look from here: sample ${neighbour.sample}` }, "Look from here");
      button.addEventListener("click", () => choose(neighbour));
      shown.append(button);
    }
    return shown;
  });
}

/** One sample as a card. */
export const pictured = (title, sample) => card(title, sample, Object.keys(sample.modalities).map((name) => ({ name })), (name) => [["as kept", sample.modalities[name]]]);

/** What the neighbours have in common with each other, or with the labels of what was asked for, in words. */
export function agreement({ answer }, labels = null) {
  if (!answer.data.length) return "";
  const told = Object.entries(answer.data[0].labels).filter(([, label]) => typeof label === "string").slice(0, 3).map(([task]) => {
    const own = labels?.[task] ?? frequent(answer.data.map((each) => each.labels[task]));
    const same = answer.data.filter((each) => each.labels[task] === own).length;
    return `${same} of ${answer.data.length} have the ${task} ${own}`;
  });
  return told.length ? `${told.join(", ")}${labels ? ", as it has" : ""}.` : "";
}

function frequent(values) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a)[0][0];
}

/** Of what a query's modalities may be compared with: the vectors of the same if there are any, and whether means are subtracted. */
export function comparison(subsets, given, among = null) {
  const same = (subset) => subset.length === given.length && given.every((name) => subset.includes(name));
  const own = subsets.find(same);
  const chosen = among ?? own ?? subsets[0];
  return { modalities: chosen, center: own !== undefined && !same(chosen) };
}

/** The indexes that the model's checkpoint has made, newest first. */
export async function indexesOf({ train_job_id, manifest: { source } }) {
  const training = train_job_id ?? source.job_id;
  const { data } = await get(`/v1/jobs?kind=embed&source_job_id=${encodeURIComponent(training)}&limit=${MOST}`);
  const ready = data.filter((job) => job.state === "succeeded");
  const files = await Promise.all(ready.map((job) => get(indexPath(job.id)).catch(() => null)));
  const waiting = data.find((job) => ["queued", "starting", "running"].includes(job.state)) ?? null;
  return { indexes: files.filter((each) => each?.source.checkpoint_sha256 === source.checkpoint_sha256), waiting };
}

/** The newest model of the checkpoint that has made the index, or null. */
export async function modelOf(files) {
  const { data } = await get("/v1/models?limit=200");
  return data.find((model) => model.manifest.source.checkpoint_sha256 === files.source.checkpoint_sha256) ?? null;
}
