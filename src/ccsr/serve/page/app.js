// The page: photos in, one button, results out. What it does goes through the same API as everybody's programs.

import { blob, call, events, Failure, json, onTokenNeeded } from "./api.js";
import { Options } from "./options.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const photos = [];
let selected = 0;
let job = null;          // {id, state, asked, stopper}
let options, limits;
const viewer = new Viewer();

// -- photos ----------------------------------------------------------------------------------------------------------

async function add(files) {
  const wanted = [...files].filter((file) => file.size > 0);
  await ready;
  if (!wanted.length || job?.state === "running") return;
  if (job) leaveJob();
  warn("");
  for (const file of wanted) {
    const photo = { file, name: file.name || "pasted.png", before: null, width: 0, height: 0, results: [], error: null };
    photos.push(photo);
    await look(photo, URL.createObjectURL(file));
  }
  selected = photos.length - wanted.length;
  say(`${wanted.length} ${wanted.length === 1 ? "photo" : "photos"} added`);
  draw();
}

// Shows a picture that the browser can decode; others wait for the server's copy.
async function look(photo, address) {
  const picture = new Image();
  picture.src = address;
  try {
    await picture.decode();
  } catch {
    return;
  }
  Object.assign(photo, { before: address, width: picture.naturalWidth, height: picture.naturalHeight });
}

function remove(at) {
  photos.splice(at, 1);
  selected = Math.min(selected, photos.length - 1);
  if (photos.length) { leaveJob(); draw(); $("strip").querySelector(".thumb")?.focus(); } else startOver();
}

function leaveJob() {
  job = null;
  history.replaceState(null, "", "/");
  for (const photo of photos) Object.assign(photo, { results: [], error: null, map: null, note: "" });
}

function startOver() {
  photos.length = 0;
  selected = 0;
  job = null;
  history.replaceState(null, "", "/");
  warn("");
  draw();
  $("choose").focus();
}

// -- the job ---------------------------------------------------------------------------------------------------------

async function start() {
  const body = new FormData();
  let bytes = 0;
  for (const photo of photos) {
    photo.file ??= await blob(photo.address);
    body.append("file", photo.file, photo.name);
    bytes += photo.file.size;
  }
  if (bytes > limits.max_megabytes * 1e6) {
    warn(`These photos are ${(bytes / 1e6).toFixed(0)} MB together; this server takes ${limits.max_megabytes} MB at once.`);
    return;
  }
  const asked = options.values();
  for (const [name, value] of Object.entries(asked)) body.append(name, value);
  leaveJob();
  warn("");
  job = { id: null, state: "running", asked: JSON.stringify(asked), done: 0, progress: 0 };
  draw();
  try {
    const answer = await (await call("/v1/jobs", { method: "POST", body })).json();
    await follow(answer.id);
  } catch (error) {
    if (error.status !== 404) warn(error.message);
    job = null;
    draw();
  }
}

async function follow(id) {
  job.id = id;
  history.replaceState(null, "", `#job=${id}`);
  say("Upscaling");
  for await (const { name, data } of events(`/v1/jobs/${id}/events`)) {
    if (name === "progress") progress(data);
    if (name === "file") await take(data);
    if (name === "end") await end(data);
  }
}

function progress(data) {
  Object.assign(job, { progress: data.progress, left: data.seconds_left, position: data.position });
  drawProgress();
}

async function take(file) {
  const photo = photos[file.input_index];
  job.done += 1;
  if (file.status === "failed") {
    photo.error = file.error;
  } else {
    const shows = /\.(png|jpe?g|webp|gif)$/i.test(file.output);
    const result = { index: file.index, sample: file.sample, name: file.output, width: file.width, height: file.height };
    const address = `${file.links.result}${shows ? "" : "&format=png"}`;
    result.url = URL.createObjectURL(await blob(address));
    if (!photo.results.some((known) => known.index === file.index)) photo.results.push(result);
    photo.note = file.warnings.join(" · ");
    if (!photo.before) await look(photo, URL.createObjectURL(await blob(`/v1/jobs/${job.id}/input?index=${file.input_index}`)));
  }
  drawStrip();
  if (photos[selected] === photo) viewer.show(photo);
}

async function end(data) {
  job.state = data.state;
  if (data.state === "failed" && data.error) warn(data.error);
  for (const input of data.inputs ?? []) {
    if (!input.stability) continue;
    const photo = photos[input.index];
    Object.assign(photo, { map: URL.createObjectURL(await blob(input.links.stability)), scale: input.stability.scale });
  }
  if (data.state === "cancelled") warn("Cancelled.");
  const made = photos.filter((photo) => photo.results.length).length;
  say(data.state === "done" ? `Done: ${made} of ${photos.length}` : data.error ?? "Cancelled");
  if (!made) job = null;
  draw();
  if (made && data.state === "done") {
    $("save").focus({ preventScroll: true });
    // On a phone the button that was pressed is far below the picture.
    if (matchMedia("(max-width: 860px)").matches) scrollTo({ top: 0, behavior: "smooth" });
  }
}

// A reloaded page takes up the job that its address names.
async function resume(id) {
  const known = await json(`/v1/jobs/${id}`);
  for (const input of known.inputs) {
    const photo = { file: null, name: input.name, address: input.links.picture, before: null, width: 0, height: 0, results: [], error: null };
    photos.push(photo);
    try {
      await look(photo, URL.createObjectURL(await blob(input.links.picture)));
    } catch { /* it failed as an input, and says so itself */ }
  }
  job = { id, state: "running", asked: JSON.stringify(known.options), done: 0, progress: known.progress };
  draw();
  await follow(id);
}

async function cancel() {
  $("cancel").disabled = true;
  try {
    if (job?.id) await call(`/v1/jobs/${job.id}`, { method: "DELETE" });
  } catch (error) {
    warn(error.message);
  }
}

async function save(address, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(await blob(address)), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const ENDINGS = { png: ".png", jpeg: ".jpg", webp: ".webp", tiff: ".tif" };

async function saveOne() {
  const result = photos[selected].results[viewer.sample];
  const format = $("save-as").value;
  const name = format ? result.name.replace(/\.\w+$/, ENDINGS[format]) : result.name;
  await save(`/v1/jobs/${job.id}/result?index=${result.index}${format ? `&format=${format}` : ""}`, name);
}

async function saveAll() {
  const format = $("save-as").value;
  await save(`/v1/jobs/${job.id}/result${format ? `?format=${format}` : ""}`, "ccsr-results.zip");
}

// -- drawing ---------------------------------------------------------------------------------------------------------

function draw() {
  const empty = photos.length === 0;
  const working = job?.state === "running";
  const results = photos.reduce((count, photo) => count + photo.results.length, 0);
  const finished = !working && results > 0;
  $("app").dataset.stage = empty ? "empty" : working ? "working" : finished ? "done" : "ready";
  $("hero").hidden = !empty;
  for (const id of ["viewer", "panel", "strip"]) $(id).hidden = empty;
  if (empty) return;
  viewer.show(photos[selected]);
  drawStrip();
  const asked = JSON.stringify(options.values());
  const changed = finished && asked !== job.asked;
  $("go").hidden = working || (finished && !changed);
  const count = photos.length === 1 ? "photo" : `${photos.length} photos`;
  $("go").textContent = changed ? "Upscale again" : `Upscale ${count}`;
  $("working").hidden = !working;
  $("done").hidden = !finished;
  $("save").classList.toggle("primary", !changed);
  $("save").disabled = !photos[selected].results.length;
  $("save-all").hidden = results < 2;
  $("save-all").textContent = `Download all ${results} (zip)`;
  for (const id of ["front", "more"]) for (const control of $(id).querySelectorAll("input, select")) control.disabled = working;
  if (working) drawProgress();
  const words = options.commandLine(photos.map((photo) => photo.name));
  $("line").replaceChildren(...words.flatMap((word) => [Object.assign(document.createElement("span"), { textContent: word }), " "]).slice(0, -1));
}

function drawProgress() {
  $("cancel").disabled = !job.id;
  $("progress").value = job.progress;
  const many = photos.length * Number(options.value("samples") || 1);
  const what = job.position > 0 ? `Waiting, number ${job.position} in line` : many > 1 ? `${Math.min(job.done + 1, many)} of ${many}` : "Upscaling";
  $("working-what").textContent = job.id ? what : "Sending";
  const left = job.left == null ? "" : ` · ${spoken(job.left)} left`;
  $("working-left").textContent = job.id ? `${Math.floor(job.progress * 100)} %${left}` : "";
}

function spoken(seconds) {
  if (seconds < 1.5) return "about a second";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  return `about ${Math.round(seconds / 60)} min`;
}

function drawStrip() {
  const items = photos.map((photo, at) => {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button", className: "thumb" });
    const state = photo.error ? ", failed" : photo.results.length ? ", done" : "";
    button.setAttribute("aria-label", `${photo.name}${state}`);
    button.setAttribute("aria-current", String(at === selected));
    if (photo.before) button.append(Object.assign(new Image(), { src: photo.before, alt: "" }));
    else button.append(Object.assign(document.createElement("span"), { className: "kind", textContent: photo.name.split(".").pop().slice(0, 5) }));
    button.addEventListener("click", () => { selected = at; draw(); $("strip").querySelectorAll(".thumb")[at]?.focus(); });
    item.append(button);
    const sign = photo.error ? ["bad", "!"] : photo.results.length ? ["good", "✓"] : null;
    if (sign) item.append(Object.assign(document.createElement("span"), { className: `badge ${sign[0]}`, textContent: sign[1], ariaHidden: "true" }));
    if (job?.state !== "running") {
      const out = Object.assign(document.createElement("button"), { type: "button", className: "remove", textContent: "×" });
      out.setAttribute("aria-label", `Remove ${photo.name}`);
      out.addEventListener("click", () => remove(at));
      item.append(out);
    }
    return item;
  });
  if (job?.state !== "running") {
    const more = Object.assign(document.createElement("button"), { type: "button", className: "add", textContent: "+", title: "Add photos" });
    more.setAttribute("aria-label", "Add photos");
    more.addEventListener("click", () => $("files").click());
    const item = document.createElement("li");
    item.append(more);
    items.push(item);
  }
  $("strip").replaceChildren(...items);
}

function say(words) { $("say").textContent = words; }

function warn(words) {
  $("alert").hidden = !words;
  $("alert").textContent = words;
}

// -- wiring ----------------------------------------------------------------------------------------------------------

function listen() {
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => { add($("files").files); $("files").value = ""; });
  $("panel").addEventListener("submit", (event) => { event.preventDefault(); if (!$("go").hidden) start(); });
  $("cancel").addEventListener("click", cancel);
  $("fresh").addEventListener("click", startOver);
  for (const [id, act] of [["save", saveOne], ["save-all", saveAll]]) {
    $(id).addEventListener("click", () => act().catch((error) => warn(error.message)));
  }
  $("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText($("line").textContent);
      $("copy").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren($("line"));  // without https a page may not write the clipboard
      $("copy").textContent = "Selected";
    }
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  });
  addEventListener("paste", (event) => add(event.clipboardData?.files ?? []));
  let depth = 0;
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => { if (carries(event)) { depth += 1; $("over").hidden = false; } });
  addEventListener("dragleave", () => { if (--depth <= 0) { depth = 0; $("over").hidden = true; } });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    $("over").hidden = true;
    add(event.dataTransfer?.files ?? []);
  });
  onTokenNeeded(() => new Promise((given) => {
    const ask = $("ask");
    ask.addEventListener("close", () => given($("token").value.trim()), { once: true });
    if (!ask.open) ask.showModal();
  }));
}

async function main() {
  listen();
  const health = await json("/healthz");
  limits = health.limits;
  $("private").hidden = !health.local;
  options = new Options(await json("/v1/options"), await json("/v1/models"));
  options.draw($("front"), $("rest"), draw);
  draw();
  const named = /^#job=([0-9a-f]+)$/.exec(location.hash);
  if (named) resume(named[1]).catch((error) => { if (!(error instanceof Failure)) throw error; startOver(); });
}

const ready = main();
ready.catch((error) => { document.body.prepend(Object.assign(document.createElement("p"), { className: "failure", textContent: error.message })); });
