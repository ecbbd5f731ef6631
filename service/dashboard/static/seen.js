// Charts in places that are as high as they are, each drawn while somebody sees it: one that nobody has scrolled to costs nothing.

import { element } from "./words.js";

const AGAIN_MS = 5000;

/** Draws each in a task of its own, so that whoever types or scrolls meanwhile need not wait for all of them. */
export async function oneByOne(some, draw) {
  for (const each of some) {
    draw(each);
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** `draw(names)` is called with those that come into sight; returns {place, seen}. */
export function whileInSight(draw) {
  const names = new Map();
  const sight = new Set();
  const observer = new IntersectionObserver((entries) => {
    const fresh = entries.filter((entry) => entry.isIntersecting).map((entry) => names.get(entry.target));
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) sight.add(names.get(target));
      else sight.delete(names.get(target));
    }
    if (fresh.length) fill(fresh);
  }, { rootMargin: "200px" });

  /** What could not be had is asked for again as long as it is in sight. */
  function fill(some) {
    draw(some).catch((error) => {
      console.info(error.message);
      setTimeout(() => {
        const still = some.filter((name) => sight.has(name));
        if (still.length) fill(still);
      }, AGAIN_MS);
    });
  }

  /** Adds the figure at the end of `parent`. */
  function place(parent, name, figure) {
    const slot = element("div", { class: "slot" }, figure);
    names.set(slot, name);
    parent.append(slot);
    observer.observe(slot);
  }
  return { place, seen: () => [...sight] };
}
