// The line of photos: each is a job of its own, sent one after another and followed in the same order, so that one
// that fails fails alone, and what is done is there while the rest is on its way.

import { blob, call, events, json, patiently, pause } from "./api.js";
import { maskFile } from "./brush.js";
import { inputOf } from "./photos.js";

const SHOWN = /\.(png|jpe?g|webp|gif|avif)$/i;   // results that browsers show as they are

export class Line {
  // `changed(photo)` is called whenever something is known of a photo, `ended()` when the line is empty.
  constructor({ changed, ended, said }) {
    Object.assign(this, { changed, ended, said });
    this.photos = [];
    this.left = null;          // seconds until all are done
    this.position = 0;
    this.cancelling = false;
    this.stopper = new AbortController();
  }

  get busy() { return this.photos.length > 0; }
  get sending() { return this.photos.some((photo) => photo.state === "waiting" && !photo.job); }

  // `photo.asked` has the options of each.
  add(photos) {
    for (const photo of photos) Object.assign(photo, { state: "waiting", job: null, progress: 0, error: null, fresh: true, dropped: false });
    this.photos.push(...photos);
    if (!this.running) this.run();
  }

  // Takes up a job that runs already.
  follow(photos) {
    this.photos.push(...photos);
    if (!this.running) this.run();
  }

  async run() {
    this.running = true;
    do {
      Object.assign(this, { left: null, cancelling: false, over: false, stopper: new AbortController() });
      await Promise.all([this.send(), this.watch(), this.estimate()]);
    } while (this.open.length);
    this.running = false;
    const line = this.photos;
    this.photos = [];
    this.ended(line);
  }

  get open() { return this.photos.filter((photo) => ["waiting", "working"].includes(photo.state)); }

  async send() {
    while (!this.over) {
      const photo = this.open.find((one) => !one.job);
      if (!photo) { await pause(150); continue; }
      try {
        this.stopper.signal.throwIfAborted();
        if (photo.dropped) throw new DOMException("taken out of the line", "AbortError");
        await patiently(() => this.sendOne(photo), this.stopper.signal);
      } catch (error) {
        if (error.name === "AbortError") Object.assign(photo, { state: photo.results.length ? "done" : "new", asked: photo.ran, cancelled: true });
        else Object.assign(photo, { state: "failed", error: error.message, results: [] });
      }
      this.changed(photo);
    }
  }

  async sendOne(photo) {
    const body = new FormData();
    photo.file ??= await blob(inputOf(photo));
    body.append("file", photo.file, photo.name);
    const { mask, ...values } = photo.asked;
    for (const [name, value] of Object.entries(values)) body.append(name, value);
    if (mask) body.append("mask", await maskFile(mask, photo), "mask.png");
    const answer = await (await call("/v1/jobs", { method: "POST", body, signal: this.stopper.signal })).json();
    Object.assign(photo, { job: answer.id, input: 0, from: { job: answer.id, input: 0 } });
    if (this.cancelling || photo.dropped) await this.stop(photo);
  }

  async watch() {
    while (this.open.length) {
      const photo = this.open.find((one) => one.job);
      if (!photo) { await pause(100); continue; }
      const job = photo.job;
      const together = this.photos.filter((one) => one.job === job);
      try {
        for await (const { name, data } of events(`/v1/jobs/${job}/events`)) {
          if (name === "progress") this.progress(together, data);
          if (name === "file") take(together.find((one) => one.input === data.input_index), data);
          if (name === "end") end(together, data);
          together.forEach(this.changed);
        }
      } catch (error) {
        for (const one of together) Object.assign(one, { state: "failed", error: error.message });
        together.forEach(this.changed);
      }
    }
    this.over = true;
  }

  progress(photos, data) {
    for (const photo of photos) {
      photo.progress = data.progress;
      photo.state = data.state === "queued" ? "waiting" : "working";
    }
    this.position = data.position;
    if (this.open.length === photos.length) this.left = data.seconds_left;
  }

  // The server knows how long those before the last one take, others' among them.
  async estimate() {
    while (!this.over) {
      const ours = this.open.filter((photo) => photo.job);
      const unsent = this.open.filter((photo) => !photo.job);
      if (ours.length > 1 || unsent.length) {
        const last = ours.at(-1);
        const told = last ? await json(`/v1/jobs/${last.job}`).catch(() => null) : null;
        if (told?.seconds_left != null) this.left = told.seconds_left + unsent.reduce((sum, { seconds }) => sum + (seconds ?? 0), 0);
        for (const photo of this.open) this.changed(photo);
      }
      await pause(500);
    }
  }

  // Share of the whole line that is done, in 0..1.
  get share() {
    const weight = (photo) => photo.seconds || 1;
    const total = this.photos.reduce((sum, photo) => sum + weight(photo), 0);
    const done = (photo) => (this.open.includes(photo) ? photo.progress : 1);
    return total ? this.photos.reduce((sum, photo) => sum + weight(photo) * done(photo), 0) / total : 0;
  }

  async cancel() {
    this.cancelling = true;
    this.stopper.abort();
    // From the end, so that none begins in the meantime.
    for (const photo of this.open.reverse()) await this.stop(photo);
  }

  async stop(photo) {
    if (!photo.job) photo.dropped = true;
    else await patiently(() => call(`/v1/jobs/${photo.job}`, { method: "DELETE" })).catch(() => {});
  }
}

export function take(photo, file) {
  if (!photo) return;
  // Results of an earlier try stay until there is a new one.
  if (photo.fresh) Object.assign(photo, { results: [], map: null, stability: null, fresh: false, ran: photo.asked });
  if (file.status === "failed") {
    photo.error = file.error;
    return;
  }
  if (photo.results.some((known) => known.index === file.index)) return;
  const shown = `${file.links.result}${SHOWN.test(file.output) ? "" : "&format=png"}`;
  photo.results.push({
    job: photo.job, index: file.index, name: file.output, width: file.width, height: file.height,
    address: file.links.result, shown, url: null, difference: file.links.difference, map: null,
    consistency: file.consistency ?? null,
  });
  photo.note = file.warnings.join(" · ");
  if (!photo.width) Object.assign(photo, { width: file.input_width ?? 0, height: file.input_height ?? 0 });
}

export function end(photos, job) {
  for (const photo of photos) {
    const input = job.inputs?.find((one) => one.index === photo.input);
    if (input?.stability) photo.stability = { ...input.stability, address: input.links.stability };
    if (job.state === "done") photo.state = photo.error ? "failed" : "done";
    else if (job.state === "failed") Object.assign(photo, { state: "failed", error: photo.error ?? job.error });
    else Object.assign(photo, {
      state: photo.results.length ? "done" : "new", asked: photo.results.length ? photo.ran : photo.asked, cancelled: true,
    });
    photo.progress = 0;
  }
}
