// Talks to the JSON API. A problem the server reports is thrown with its own words, and with the faults it names.

const connection = document.querySelector("#connection");

export async function get(path) {
  return (await send(path, {})).json();
}

/** All items of a list that comes in pages; `path` has a query already. */
export async function everything(path) {
  const found = [];
  for (let cursor = ""; cursor !== null; ) {
    const { data, next_cursor } = await get(cursor ? `${path}&cursor=${cursor}` : path);
    found.push(...data);
    cursor = next_cursor;
  }
  return found;
}

export async function getText(path) {
  return (await send(path, {})).text();
}

export async function post(path, body, method = "POST") {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  return (await send(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) })).json();
}

/** Curves as charts want them. Digits that nobody sees would be most of what is sent. */
export async function curvesOf(asked) {
  return (await post("/v1/metrics/query", { ...asked, digits: 6 })).data;
}

export async function remove(path) {
  await send(path, { method: "DELETE" });
}

/** A file as the body itself. */
export async function upload(path, file) {
  return (await send(path, { method: "POST", headers: { "Content-Type": file.type || "application/octet-stream" }, body: file })).json();
}

/** Whether the one who looks has the scope. Buttons go by it, and the API asks again. */
export function may(scope) {
  return document.body.dataset.scopes.split(" ").includes(scope);
}

async function send(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    connection.textContent = "The server does not answer; trying again.";
    throw new Error("the server does not answer");
  }
  connection.textContent = "";
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw Object.assign(new Error(problem.detail ?? `HTTP ${answer.status}`), { faults: problem.errors ?? [] });
  }
  return answer;
}

/** Calls `work` every `periodMs` while the page is seen, until it returns false; at once, or after a first period. */
export async function whileSeen(periodMs, work, { wait = false } = {}) {
  for (let due = !wait; ; due = true) {
    if (due && !document.hidden) {
      try {
        if ((await work()) === false) return;
      } catch (error) {
        console.warn(error.message);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, periodMs));
  }
}
