// The states of a job from when it was made to its end, drawn to scale, and its attempts.

import { drawing } from "./svg.js";
import { cell, element, moment, numberCell, show, span } from "./words.js";

const WIDTH = 900, HEIGHT = 34, LEAST = 3;

/** events: those of the type `state`, oldest first. Each state lasts until the next; the last one until now, if the job goes on. */
export function timeline(events, finished) {
  const moves = events.filter((event) => event.type === "state").map((event) => ({ state: event.data.to, at: Date.parse(event.at), attempt: event.data.attempt }));
  if (!moves.length) return element("p", { class: "empty" }, "Nothing yet.");
  const end = finished ? moves.at(-1).at : Date.now();
  const parts = moves.map((move, place) => ({ ...move, lasted: (moves[place + 1]?.at ?? end) - move.at })).filter((part, place) => part.lasted > 0 || place === moves.length - 1);
  const whole = Math.max(1, end - moves[0].at);
  const widths = parts.map((part) => Math.max(LEAST, (part.lasted / whole) * WIDTH));
  const scale = WIDTH / widths.reduce((sum, width) => sum + width, 0);
  const told = parts.map((part) => `${part.state} ${span(part.lasted / 1000)}`);
  const picture = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "timeline", role: "img", "aria-label": `States: ${told.join(", ")}` });
  let x = 0;
  parts.forEach((part, place) => {
    const width = widths[place] * scale;
    const bar = drawing("rect", { x: x.toFixed(1), y: 4, width: Math.max(1, width - 1).toFixed(1), height: HEIGHT - 8, rx: 2, class: `bar ${part.state}` });
    bar.append(drawing("title", {}, told[place]));
    picture.append(bar);
    x += width;
  });
  const legend = element("p", { class: "states" }, ...parts.flatMap((part) => [element("span", { class: `state ${part.state}` }, part.state), element("small", {}, ` ${place(part, parts, finished)} `)]));
  return element("div", {}, picture, legend);
}

const place = (part, parts, finished) => (part === parts.at(-1) && finished ? "" : span(part.lasted / 1000));

export function showAttempts(table, attempts) {
  table.closest(".scroll").hidden = attempts.length === 0;
  show(table.tBodies[0], ...attempts.map((attempt) => {
    const end = attempt.finished_at ? Date.parse(attempt.finished_at) : Date.now();
    return element("tr", {}, numberCell(String(attempt.number)), cell(attempt.worker), cell(moment(attempt.started_at)), numberCell(span((end - Date.parse(attempt.started_at)) / 1000)),
      cell(element("span", { class: `state ${attempt.outcome ?? "running"}` }, attempt.outcome ?? "at work")), numberCell(attempt.exit_code === null ? "–" : String(attempt.exit_code)), cell(attempt.detail ?? "", "text"));
  }));
}
