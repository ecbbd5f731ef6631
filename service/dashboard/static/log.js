// The end of a runner's log, which follows what is written, or shows only the lines that have a text in them.

import { getText } from "./api.js";
import { element, find } from "./words.js";

const BYTES = 128 * 1024;
const log = find("log");
const search = find("log-search");
const follow = find("log-follow");
let text = "";

export async function showLog(path) {
  const fresh = await getText(`${path}/logs?tail=${BYTES}`);
  if (fresh === text) return;
  text = fresh;
  // Who has selected something, or scrolled back, goes on reading there.
  if (log.contains(getSelection().anchorNode) && !getSelection().isCollapsed) return;
  draw();
}

function draw() {
  const wanted = search.value.trim().toLowerCase();
  if (!wanted) {
    log.textContent = text;
    find("log-count").textContent = "";
  } else {
    const lines = text.split("\n").filter((line) => line.toLowerCase().includes(wanted));
    log.replaceChildren(...lines.flatMap((line) => [...marked(line, wanted), "\n"]));
    find("log-count").textContent = `${lines.length} ${lines.length === 1 ? "line" : "lines"}`;
  }
  if (follow.checked) log.scrollTop = log.scrollHeight;
}

function marked(line, wanted) {
  const parts = [];
  const low = line.toLowerCase();
  let at = 0;
  for (let next = low.indexOf(wanted); next >= 0; next = low.indexOf(wanted, at)) {
    parts.push(line.slice(at, next), element("mark", {}, line.slice(next, next + wanted.length)));
    at = next + wanted.length;
  }
  return [...parts, line.slice(at)];
}

search.addEventListener("input", draw);
follow.addEventListener("change", draw);
log.addEventListener("scroll", () => {
  follow.checked = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
});
