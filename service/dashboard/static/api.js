// Talks to the JSON API. A problem the server reports is thrown with its own words.

const connection = document.querySelector("#connection");

export async function get(path) {
  return (await send(path, {})).json();
}

export async function getText(path) {
  return (await send(path, {})).text();
}

export async function post(path, body) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  return (await send(path, { method: "POST", headers, body: body === undefined ? undefined : JSON.stringify(body) })).json();
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
    throw new Error(problem.detail ?? `HTTP ${answer.status}`);
  }
  return answer;
}

/** Calls `work` now and every `periodMs` while the page is seen, until it returns false. */
export async function whileSeen(periodMs, work) {
  for (;;) {
    if (!document.hidden) {
      try {
        if ((await work()) === false) return;
      } catch (error) {
        console.warn(error.message);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, periodMs));
  }
}
