// All embed jobs, the newest first: each leaves a map to look at and an index to search in.

import { get, whileSeen } from "./api.js";
import { ago, cell, element, find, jobLink, numberCell, pace, show, stateBadge } from "./words.js";

const MOST = 200;
const asked = new URLSearchParams(location.search);
const dataset = asked.get("dataset");

function row(job) {
  const ready = job.state === "succeeded";
  const name = ready ? element("a", { href: `/embeddings/${job.id}` }, job.name || job.id) : jobLink(job.id, job.name);
  const subsets = job.spec.modalities ?? [["all together"]];
  return element("tr", {},
    element("th", { scope: "row", class: "name" }, name), cell(stateBadge(job.state)), cell(job.dataset ?? "–"), cell(job.method ?? "–"),
    element("td", { class: "text" }, subsets.map((names) => names.join(" and ")).join("; ")), cell(ready ? job.spec.projection : job.progress?.total ? pace(job.progress) : "–"),
    cell(job.source_job_id ? jobLink(job.source_job_id) : "–"), numberCell(ago(job.created_at)));
}

/** The newest training that can be embedded, to begin with. */
async function toBegin() {
  const { data } = await get(`/v1/jobs?kind=train&state=succeeded&limit=1${dataset ? `&dataset=${encodeURIComponent(dataset)}` : ""}`);
  if (!data.length) return ["None yet. ", element("a", { href: "/jobs/new" }, "Train a model"), " first; its page has a button that embeds its dataset."];
  return ["None yet. ", element("a", { href: `/jobs/new?kind=embed&run=${data[0].id}` }, "Embed the dataset of the newest training"),
    ", or of another on its own page. From a shell: ", element("code", {}, `echo '{"run": "${data[0].id}"}' | fusebox jobs submit - --kind embed`)];
}

whileSeen(5000, async () => {
  const { data } = await get(`/v1/jobs?kind=embed&limit=${MOST}${dataset ? `&dataset=${encodeURIComponent(dataset)}` : ""}`);
  find("embeddings-table").hidden = data.length === 0;
  find("embeddings-empty").hidden = data.length > 0;
  find("of-dataset").hidden = !dataset;
  show(find("of-dataset"), `Only those of ${dataset}. `, element("a", { href: "/embeddings" }, "Show all"));
  if (!data.length) show(find("embeddings-empty"), ...(await toBegin()));
  show(find("embeddings-table").tBodies[0], ...data.map(row));
});
