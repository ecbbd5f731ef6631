// How lines and dots are told apart.

/** Okabe and Ito's colours, which all eyes tell apart; the dashes tell lines apart without any. */
const MARKS = [["--mark-0", []], ["--mark-1", [9, 4]], ["--mark-2", [3, 3]], ["--mark-3", [12, 4, 3, 4]], ["--mark-4", [6, 2]], ["--mark-5", [2, 5]], ["--mark-6", [14, 6]]];

/** How the line number `place` is drawn, for charts, legends and dots: {colour, dash, sign}. */
export function markOf(place) {
  const [name] = MARKS[place % MARKS.length];
  const [, dash] = MARKS[(place + Math.floor(place / MARKS.length)) % MARKS.length];
  return { name, colour: colour(name), dash };
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
