// A map of many points on a canvas: moved and zoomed by mouse, buttons and keyboard, each point to be pointed at and chosen.

import { colour } from "./marks.js";
import { signOf, stamp } from "./shapes.js";

const MARGIN = 24, REACH = 14;
const MOST_ZOOM = 200;
/** Beyond so many, points are small squares. */
const MOST_STAMPED = 30000;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** `pointed(point)` is told of the point that is pointed at, or -1; `chosen(point)` of the one that is clicked or entered. */
export function scatter(canvas, { pointed, chosen }) {
  const ink = canvas.getContext("2d");
  const fit = { zoom: 1, x: 0, y: 0 };
  let points = { xs: new Float32Array(), ys: new Float32Array(), code: new Uint8Array(), kinds: 0, rest: -1 };
  /** The points of each kind. */
  let members = [];
  let box = { x: 0, y: 0, scale: 1 };
  let view = { ...fit };
  let at = -1;
  let marked = { one: -1, others: [] };
  let waits = false;

  const centre = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
  const scale = () => box.scale * view.zoom;

  /** Where places are on the canvas as it is now. The canvas is measured once for all of them. */
  function onCanvas() {
    const [[cx, cy], by] = [centre(), scale()];
    const [left, top] = [view.x + cx - box.x * by, view.y + cy + box.y * by];
    return { toX: (x) => x * by + left, toY: (y) => top - y * by };
  }

  function spot(point) {
    const { toX, toY } = onCanvas();
    return [toX(points.xs[point]), toY(points.ys[point])];
  }

  function bound() {
    const { xs, ys } = points;
    let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let k = 0; k < xs.length; k += 1) {
      left = Math.min(left, xs[k]); right = Math.max(right, xs[k]);
      low = Math.min(low, ys[k]); high = Math.max(high, ys[k]);
    }
    const wide = Math.max(canvas.clientWidth - 2 * MARGIN, 1) / (right - left || 1);
    const tall = Math.max(canvas.clientHeight - 2 * MARGIN, 1) / (high - low || 1);
    box = { x: (left + right) / 2, y: (low + high) / 2, scale: Math.min(wide, tall) };
  }

  function draw() {
    waits = false;
    const began = performance.now();
    const dots = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * dots) || canvas.height !== Math.round(height * dots)) {
      [canvas.width, canvas.height] = [Math.round(width * dots), Math.round(height * dots)];
    }
    ink.setTransform(dots, 0, 0, dots, 0, 0);
    ink.clearRect(0, 0, width, height);
    const many = points.xs.length > MOST_STAMPED;
    const radius = (many ? 1 : points.xs.length > 4000 ? 2.4 : 3.4) * Math.min(2, view.zoom ** 0.3);
    ink.globalAlpha = many ? 0.7 : 0.85;
    const { toX, toY } = onCanvas();
    for (let kind = points.kinds - 1; kind >= 0; kind -= 1) drawKind(kind, radius, many, { toX, toY, width, height });
    ink.globalAlpha = 1;
    marked.others.forEach((point) => ring(point, 8, 1.5));
    if (marked.one >= 0) ring(marked.one, 10, 3);
    if (at >= 0) ring(at, 12, 1);
    performance.measure("drawn map", { start: began });
  }

  function drawKind(kind, radius, many, { toX, toY, width, height }) {
    const { xs, ys } = points;
    const sign = signOf(kind, kind === points.rest);
    const picture = many ? null : stamp(sign, radius);
    const half = many ? radius : picture.width / 2;
    ink.fillStyle = colour(sign.name);
    for (const k of members[kind]) {
      const x = toX(xs[k]);
      const y = toY(ys[k]);
      if (x < -half || y < -half || x > width + half || y > height + half) continue;
      if (many) ink.fillRect(x - half, y - half, 2 * half, 2 * half);
      else ink.drawImage(picture, x - half, y - half);
    }
  }

  function ring(point, radius, width) {
    ink.strokeStyle = colour("--ink");
    ink.lineWidth = width;
    ink.beginPath();
    ink.arc(...spot(point), radius, 0, 2 * Math.PI);
    ink.stroke();
  }

  /** Once a frame, however often it is asked for. */
  function soon() {
    if (!waits) requestAnimationFrame(draw);
    waits = true;
  }

  /** The point that counts least, or -1; `cost(dx, dy)` is of its place from x, y on the canvas. */
  function best(x, y, cost) {
    const { toX, toY } = onCanvas();
    let [found, least] = [-1, Infinity];
    for (let k = 0; k < points.xs.length; k += 1) {
      const one = cost(toX(points.xs[k]) - x, toY(points.ys[k]) - y);
      if (one < least) {
        found = k;
        least = one;
      }
    }
    return found;
  }

  const under = (x, y) => best(x, y, (dx, dy) => (dx * dx + dy * dy <= REACH * REACH ? dx * dx + dy * dy : Infinity));

  function point(next) {
    if (next === at) return;
    at = next;
    pointed(at);
    soon();
  }

  /** What is at x, y on the canvas stays there. */
  function zoom(by, x = centre()[0], y = centre()[1]) {
    const to = Math.min(MOST_ZOOM, Math.max(0.5, view.zoom * by));
    const turn = to / view.zoom;
    const [cx, cy] = centre();
    view = { zoom: to, x: (view.x + cx - x) * turn + x - cx, y: (view.y + cy - y) * turn + y - cy };
    soon();
  }

  function move(dx, dy) {
    view = { ...view, x: view.x + dx, y: view.y + dy };
    soon();
  }

  /** To the nearest point that way; from the middle where none is pointed at. */
  function step([dx, dy]) {
    const [x, y] = place();
    const next = best(x, y, at < 0 ? Math.hypot : (px, py) => {
      const along = px * dx + py * dy;
      const aside = Math.abs(px * dy) + Math.abs(py * dx);
      return along > 0.5 && aside <= along ? along + 2 * aside : Infinity;
    });
    if (next < 0) return;
    point(next);
    const [px, py] = spot(next);
    if (px < 0 || py < 0 || px > canvas.clientWidth || py > canvas.clientHeight) move(centre()[0] - px, centre()[1] - py);
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow && event.shiftKey) move(-60 * arrow[0], -60 * arrow[1]);
    else if (arrow) step(arrow);
    else if (event.key === "+" || event.key === "=") zoom(1.4, ...place());
    else if (event.key === "-") zoom(1 / 1.4, ...place());
    else if (event.key === "0") reset();
    else if ((event.key === "Enter" || event.key === " ") && at >= 0) chosen(at);
    else return;
    event.preventDefault();
  }

  const place = () => (at < 0 ? centre() : spot(at));

  function reset() {
    view = { ...fit };
    soon();
  }

  dragged(canvas, { move, under, point, click: (found) => { if (found >= 0) chosen(found); } });
  canvas.addEventListener("keydown", key);
  // Whoever scrolls past the map means the page.
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    zoom(1.0015 ** -event.deltaY, event.offsetX, event.offsetY);
  }, { passive: false });
  new ResizeObserver(() => { bound(); soon(); }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);

  return {
    zoom, reset,
    /** {xs, ys}, and how they are told apart: {code, kinds, rest}. Other places are looked at whole. */
    draw(next) {
      const moved = next.xs !== points.xs;
      points = next;
      members = Array.from({ length: next.kinds }, (_, kind) => Uint32Array.from(next.code.keys()).filter((k) => next.code[k] === kind));
      if (moved) {
        [at, marked, view] = [-1, { one: -1, others: [] }, { ...fit }];
        bound();
      }
      soon();
    },
    /** Rings around one point, or none for -1, and others. */
    mark(one, others) {
      marked = { one, others };
      soon();
    },
  };
}

/** Drags move, a press without a drag is a click. */
function dragged(canvas, { move, under, point, click }) {
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = { x: event.offsetX, y: event.offsetY, far: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (from === null) {
      point(under(event.offsetX, event.offsetY));
      return;
    }
    const [dx, dy] = [event.offsetX - from.x, event.offsetY - from.y];
    if (!from.far && Math.hypot(dx, dy) < 5) return;
    move(dx, dy);
    from = { x: event.offsetX, y: event.offsetY, far: true };
  });
  canvas.addEventListener("pointerup", (event) => {
    if (from !== null && !from.far) {
      const found = under(event.offsetX, event.offsetY);
      point(found);
      click(found);
    }
    from = null;
  });
  canvas.addEventListener("pointercancel", () => { from = null; });
  canvas.addEventListener("pointerleave", () => { if (from === null) point(-1); });
}
