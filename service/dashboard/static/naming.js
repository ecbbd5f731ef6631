// The name and the tags of a job, as whoever may submit jobs changes them.

import { may, post } from "./api.js";
import { onTags, tagged } from "./tagging.js";
import { find, tell } from "./words.js";

/** What somebody has written into the field meanwhile stays there. */
export function showName(job) {
  find("renaming").elements.name.defaultValue = job.name;
}

/** `showJob` is called with the job as it is after each change. */
export function letName(path, showJob) {
  const renaming = find("renaming");
  find("naming").hidden = !may("submit");

  const say = (ask, done) => tell(find("named"), async () => {
    const job = await ask();
    showJob(job);
    return job;
  }, done);

  function renamed(job) {
    renaming.reset();
    return job.name ? "Renamed." : "It has no name now; lists show its id.";
  }

  renaming.addEventListener("submit", (event) => {
    event.preventDefault();
    say(() => post(path, { name: renaming.elements.name.value.trim() }, "PATCH"), renamed);
  });
  onTags(find("tagging"), (tag, has) => say(() => tagged(path, tag, has), (job) => `Its tags: ${job.tags.join(", ") || "none"}.`));
}
