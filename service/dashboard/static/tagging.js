// Tags of jobs, as links to all that have them, and the form that adds a tag or removes it.

import { post } from "./api.js";
import { element } from "./words.js";

export function tagLink(tag) {
  return element("a", { class: "tag", href: `/jobs?${new URLSearchParams({ tag })}`, title: `all jobs tagged ${tag}` }, tag);
}

/** Says that the job at `path` shall have the tag, or shall not; returns the job as it is then. */
export const tagged = (path, tag, has) => post(path, has ? { add_tags: [tag] } : { remove_tags: [tag] }, "PATCH");

/** `work(tag, has)` for what somebody writes into the form, whose first button adds and whose second removes; one at a time. */
export function onTags(form, work) {
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const tag = form.elements.tag.value.trim();
    if (!tag || busy) return;
    busy = true;
    try {
      await work(tag, event.submitter?.value !== "remove");
    } finally {
      busy = false;
    }
  });
}
