// Talks to the server that this page came from, and to nobody else.

export class Failure extends Error {
  constructor(detail, status, after = 0) { super(detail); this.status = status; this.after = after; }
}

let askForToken = async () => "";
let tellLost = () => {};
export function onTokenNeeded(ask) { askForToken = ask; }
// `tell` is called with true when the server cannot be reached, and with false when it answers again.
export function onConnection(tell) { tellLost = tell; }

export async function call(address, settings = {}) {
  for (;;) {
    const token = sessionStorage.getItem("ccsr-token");
    const headers = { ...settings.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    let answer;
    try {
      answer = await fetch(address, { ...settings, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The server cannot be reached. Is ccsr serve still running?", 0);
    }
    tellLost(false);
    if (answer.status === 401) {
      sessionStorage.setItem("ccsr-token", await askForToken());
      continue;
    }
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      const after = Number(answer.headers.get("Retry-After")) || 0;
      throw new Failure(problem.detail || `The server answered ${answer.status}.`, answer.status, after);
    }
    return answer;
  }
}

export async function json(address) { return (await call(address)).json(); }
export async function blob(address) { return (await call(address)).blob(); }
export async function post(address, body) {
  return (await call(address, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } })).json();
}

// Calls `ask` until the server is there and has room; other failures are thrown.
export async function patiently(ask, signal) {
  for (let tries = 0; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (error.status === 0) tellLost(true);
      else if (error.status !== 429) throw error;
      const seconds = error.after ? Math.min(error.after, 10) : Math.min(1 + tries, 5);
      await pause(seconds * 1000);
      signal?.throwIfAborted();
    }
  }
}

export function pause(milliseconds) { return new Promise((wake) => setTimeout(wake, milliseconds)); }

// Server-sent events by fetch: EventSource cannot send a token. Ends with the stream; breaks are taken up again.
export async function* events(address) {
  for (;;) {
    const answer = await patiently(() => call(address));
    try {
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        buffer += value;
        const parts = buffer.split("\n\n");
        buffer = parts.pop();
        for (const part of parts) {
          const name = /^event: (.*)$/m.exec(part)?.[1];
          if (!name) continue;
          yield { name, data: JSON.parse(/^data: (.*)$/m.exec(part)[1]) };
          if (name === "end") return;
        }
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;  // how a broken connection is told
    }
    await pause(1000);
  }
}
