// What forms share: JSON that people write, and refusals with the places they are about.

import { element } from "./words.js";

/** An object; nothing is an empty one. Throws an Error that says what is wrong. */
export function parsed(text) {
  if (!text.trim()) return {};
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new Error('Write an object, such as {"epochs": 1}.');
  return value;
}

/** A refusal, with each of its faults. */
export function problem(error) {
  const faults = (error.faults ?? []).map((fault) => element("li", {}, element("code", {}, fault.pointer), " ", fault.detail));
  return element("div", { class: "notice", role: "alert" }, element("strong", {}, faults.length ? "It was refused" : error.message), ...(faults.length ? [element("ul", {}, ...faults)] : []));
}
