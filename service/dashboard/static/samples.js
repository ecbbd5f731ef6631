// One sample as a card: its labels, and each of its modalities as a picture, a text, a curve or numbers.

import { drawing } from "./svg.js";
import { element, number } from "./words.js";

const WIDTH = 96, HEIGHT = 64;
const MOST_CURVES = 4, MOST_NUMBERS = 8, MOST_CHARS = 280, MOST_TASKS = 5;
const MASK = "[MASK]";

/** A sample of which each modality is seen in one look or several: `looks(name)` says [[caption, what is shown], …]. */
export function card(title, sample, modalities, looks) {
  return element("figure", { class: "sample" },
    element("figcaption", {}, title, element("small", {}, labelled(sample.labels) || "no label")),
    ...modalities.map(({ name }) => {
      const seen = looks(name);
      const what = `${name} of ${title.toLowerCase()}`;
      return element("div", { class: `looks ${seen[0][1].kind}` }, ...seen.map(([caption, shown], place) =>
        element("div", { class: "look" }, drawn(shown, `${what}, ${caption}`, sample.labels),
          element("small", {}, place ? caption : seen.length > 1 ? `${name}, ${caption}` : name))));
    }));
}

function labelled(labels) {
  const all = Object.entries(labels).map(([task, label]) => `${task} ${said(label)}`);
  const more = all.length > MOST_TASKS ? ` and ${all.length - MOST_TASKS} more` : "";
  return all.slice(0, MOST_TASKS).join(" · ") + more;
}

function said(label) {
  if (!Array.isArray(label)) return label;
  return label.map((each) => (typeof each === "number" ? number(each) : each)).join(", ") || "none";
}

function drawn(shown, what, labels) {
  switch (shown.kind) {
    case "image": return element("img", { src: shown.url, alt: [what, labelled(labels)].filter(Boolean).join(": "), width: WIDTH, height: WIDTH, loading: "lazy" });
    case "text": return words(shown);
    case "sequence": return curves(shown, what);
    default: return element("code", { class: "numbers" }, listed(shown.values, shown.cut));
  }
}

function words({ texts, cut }) {
  const [text] = texts;
  const short = text.length > MOST_CHARS ? `${text.slice(0, MOST_CHARS)} …` : text;
  const parts = short.split(MASK).flatMap((part, place) => (place ? [element("mark", {}, MASK), part] : [part]));
  const more = texts.length > 1 ? ` (and ${texts.length - 1} more)` : cut ? " …" : "";
  return element("p", { class: "words" }, ...parts, more);
}

function listed(values, cut) {
  const more = cut || values.length > MOST_NUMBERS ? " …" : "";
  return values.slice(0, MOST_NUMBERS).map(number).join("  ") + more;
}

/** Each number of a sequence's steps as a curve of its own, from its least to its greatest. */
function curves({ steps, values }, what) {
  const shape = `${what}: ${steps} ${steps === 1 ? "step" : "steps"}, the first numbers of each as curves`;
  const picture = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": shape });
  const [first = []] = values;
  for (let k = 0; k < Math.min(first.length, MOST_CURVES); k += 1) {
    const heights = values.map((step) => step[k]);
    const [low, high] = [Math.min(...heights), Math.max(...heights)];
    const points = heights.map((value, step) => {
      const x = values.length > 1 ? (step / (values.length - 1)) * (WIDTH - 4) + 2 : WIDTH / 2;
      const y = high > low ? HEIGHT - 4 - ((value - low) / (high - low)) * (HEIGHT - 8) : HEIGHT / 2;
      return `${x.toFixed(1)},${y.toFixed(1)}`;
    });
    picture.append(drawing("polyline", { points: points.join(" "), class: `curve-${k}` }));
  }
  return picture;
}
