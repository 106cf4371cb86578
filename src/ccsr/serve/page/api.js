// Talks to the server that this page came from, and to nobody else.

export class Failure extends Error {
  constructor(detail, status) { super(detail); this.status = status; }
}

let askForToken = async () => "";
export function onTokenNeeded(ask) { askForToken = ask; }

export async function call(address, settings = {}) {
  for (;;) {
    const token = sessionStorage.getItem("ccsr-token");
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    let answer;
    try {
      answer = await fetch(address, { ...settings, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Failure("The server cannot be reached. Is ccsr serve still running?", 0);
    }
    if (answer.status === 401) {
      sessionStorage.setItem("ccsr-token", await askForToken());
      continue;
    }
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Failure(problem.detail || `The server answered ${answer.status}.`, answer.status);
    }
    return answer;
  }
}

export async function json(address) { return (await call(address)).json(); }
export async function blob(address) { return (await call(address)).blob(); }

// Server-sent events by fetch: EventSource cannot send a token. Ends with the stream; breaks are taken up again.
export async function* events(address, signal) {
  for (let broken = 0; ;) {
    try {
      const answer = await call(address, { signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        broken = 0;
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
      if (error.name === "AbortError" || error.status === 404) throw error;
      if (++broken > 30) throw error;
    }
    await new Promise((wake) => setTimeout(wake, 1000));
  }
}
