// The page: photos in, one button, results out. What it does goes through the same API as everybody's programs.

import { blob, Failure, json, onConnection, onTokenNeeded, patiently } from "./api.js";
import { maskFile } from "./brush.js";
import { end, Line, take } from "./line.js";
import { Options } from "./options.js";
import { have, inputOf, look, photoOf, shrink, trouble } from "./photos.js";
import * as recent from "./recent.js";
import { Sizes } from "./sizes.js";
import { Strip } from "./strip.js";
import { Viewer } from "./viewer.js";
import { ago, made, plain, spoken } from "./words.js";

const $ = (id) => document.getElementById(id);
const ENDINGS = { png: ".png", jpeg: ".jpg", webp: ".webp", tiff: ".tif" };
let photos = [];
let selected = null;
let options, sizes, limits, schema;
const views = new Map();   // what the entries of the browser's history show
let here = history.state?.view;
const viewer = new Viewer({ painted: drawChoices, failed, worded: (line) => plain(line, schema) });
const strip = new Strip($("strip"), { select: choose, remove, add: () => $("files").click() });
const line = new Line({ changed, ended });

// -- photos ----------------------------------------------------------------------------------------------------------

async function add(files) {
  if (!files.length) return;
  const chosen = [...files];
  await ready;
  const taken = [], refused = [];
  for (const file of chosen) {
    const name = file.name || "pasted.png";
    const why = await trouble(file, limits);
    if (why) refused.push(`${name} ${why}${why.endsWith(".") ? "" : "."}`);
    else taken.push(photoOf(name, file));
  }
  warn(refused.slice(0, 5).join("\n") + (refused.length > 5 ? `\nand ${refused.length - 5} more` : ""));
  if (!taken.length) return draw();
  photos.push(...taken);
  selected = taken[0];
  draw();
  await Promise.all(taken.map(look));
  await plan();
  if (line.busy) {
    // The button may have put them in the line by now, or somebody may have taken one out.
    queue(taken.filter((photo) => photo.state === "new" && photos.includes(photo)));
    say(`${counted(taken.length)} added to the line`);
  } else {
    say(`${counted(taken.length)} added`);
  }
  draw();
  // One at a time: decoding takes a moment and much memory.
  for (const photo of taken) {
    if (!photo.before || !photos.includes(photo)) continue;
    await shrink(photo);
    strip.draw(photos, selected);
  }
}

function counted(number) { return number === 1 ? "1 photo" : `${number} photos`; }

function choose(photo) {
  selected = photo;
  draw();
}

function remove(photo) {
  const at = photos.indexOf(photo);
  if (photo.state === "waiting" || photo.state === "working") line.stop(photo);
  photos.splice(at, 1);
  if (selected === photo) selected = photos[Math.min(at, photos.length - 1)] ?? null;
  undoable(`${photo.name} removed.`, () => {
    photos.splice(at, 0, photo);
    selected = photo;
    address();
    draw();
    strip.focus(photo);
  });
  address();
  draw();
  if (selected) strip.focus(selected); else $("choose").focus();
}

function startOver() {
  visit([]);
  undoable("These photos are put away. Their results stay for a while.", () => history.back());
  $("choose").focus();
}

// -- work ------------------------------------------------------------------------------------------------------------

// What is asked of the server for a photo: options, and the mask where one was painted.
function asked(photo) {
  const id = sizes.idFor(photos);
  const { scale } = sizes.of(photo, id);
  return { ...(scale === "4" ? {} : { scale }), ...options.values(), ...sizes.beside(id), ...(photo.mask.length ? { mask: photo.mask } : {}) };
}

function keyOf(values) { return JSON.stringify(Object.entries(values).sort()); }

// Photos whose results are not those that the controls ask for.
function due() {
  const same = (photo) => photo.asked && keyOf(asked(photo)) === keyOf(photo.asked);
  return photos.filter((photo) => photo.state === "new" || !same(photo));
}

async function start() {
  warn("");
  await plan();
  queue(due());
  say("Upscaling");
  draw();
  $("cancel").focus({ preventScroll: true });
}

function queue(some) {
  for (const photo of some) {
    const choice = sizes.of(photo, sizes.idFor(photos)).choice;
    Object.assign(photo, { asked: asked(photo), seconds: choice?.seconds ?? null, cancelled: false });
  }
  line.add(some);
}

// Something is new of a photo in the line.
function changed(photo) {
  address();
  if (photo === selected) show();
  strip.draw(photos, selected);
  drawAct();
}

function ended(line) {
  const some = line.filter((photo) => photos.includes(photo));
  const done = some.filter((photo) => photo.state === "done"), failed = some.filter((photo) => photo.state === "failed");
  const cancelled = some.some((photo) => photo.cancelled);
  if (cancelled) warn("Cancelled.", "calm");
  else if (failed.length) warn(failed.length === some.length ? failed[0].error : `${failed.length} of ${some.length} failed: look for the red signs.`);
  say(cancelled ? "Cancelled" : `Done: ${done.length} of ${some.length}`);
  address();
  // Whoever looks at another result by now keeps it in view, and the focus where it is.
  if (done.length && !selected?.results.length) selected = done[0];
  draw();
  // On a phone whoever chose among the options has scrolled the picture away.
  if (done.length) $("viewer").scrollIntoView({ block: "nearest" });
}

function cancel() {
  if (line.cancelling) return;
  line.cancel();
  say("Cancelling");
  drawAct();
}

// -- the address and what came before --------------------------------------------------------------------------------

// The address names the jobs, so that a reloaded page finds them.
function address() {
  const ids = recent.idsOf(photos);
  const wanted = ids.length ? `#job=${ids.join(",")}` : "/";
  if (ids.length ? location.hash !== wanted : location.hash) history.replaceState(history.state, "", wanted);
  recent.remember(photos, limits.keep_hours);
}

// Shows other photos as a new entry of the browser's history; those of now stay behind it.
function visit(others, hash = "/") {
  views.set(here, { photos, selected });
  enter(history.pushState, hash);
  photos = others;
  selected = photos[0] ?? null;
  $("toast").hidden = true;
  warn("");
  draw();
}

function enter(how, hash) {
  here = `${Date.now()}-${views.size}`;
  how.call(history, { view: here }, "", hash);
}

async function wentTo(state) {
  views.set(here, { photos, selected });
  if (state?.view) here = state.view; else enter(history.replaceState);
  $("toast").hidden = true;
  warn("");
  ({ photos, selected } = views.get(here) ?? { photos: [], selected: null });
  if (photos.length) draw(); else await fromAddress();
}

async function fromAddress() {
  const named = /^#job=([0-9a-f,]+)$/.exec(location.hash);
  if (!named) return draw();
  try {
    await resume(named[1].split(",").filter(Boolean));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    warn(error.message);
  }
  draw();
}

// Takes up jobs as the server has them, with the options that they ran with.
async function resume(ids) {
  $("loading").hidden = false;
  $("hero").hidden = true;
  const gone = [], running = [];
  photos = [];
  for (const id of ids) {
    try {
      const job = await patiently(() => json(`/v1/jobs/${id}`));
      const mask = recent.maskOf(id, limits.keep_hours);
      const asked = { ...job.options, ...(mask ? { mask } : {}) };
      const taken = job.inputs.map((input) => Object.assign(photoOf(input.name), {
        job: id, input: input.index, from: { job: id, input: input.index }, asked, mask: mask ?? [], state: "waiting", fresh: true,
      }));
      for (const file of job.files) take(taken.find((photo) => photo.input === file.input_index), file);
      if (["done", "failed", "cancelled"].includes(job.state)) end(taken, job);
      else running.push(...taken);
      photos.push(...taken);
    } catch (error) {
      if (error.status !== 404 && error.status !== 422) throw error;
      gone.push(id);
    }
  }
  $("loading").hidden = true;
  recent.forget(gone, limits.keep_hours);
  selected = photos[0] ?? null;
  if (photos.length) {
    options.restore(photos[0].asked);
    sizes.restore(photos[0].asked.scale ?? "4");
  }
  if (gone.length) warn(photos.length ? `${counted(gone.length)} of this job are no longer here.` : `This job is no longer here: results are kept for ${limits.keep_hours} hours, on the server that made them.`);
  if (!photos.length) history.replaceState(history.state, "", "/");
  if (running.length) line.follow(running);
  draw();
  thumbs();
}

// Small pictures of photos that this page has no files of.
async function thumbs() {
  for (const photo of photos.filter((one) => !one.thumb && !one.file && one.state !== "failed")) {
    try {
      const picture = await blob(inputOf(photo));
      if (!photo.width) {
        const bitmap = await createImageBitmap(picture);
        Object.assign(photo, { width: bitmap.width, height: bitmap.height });
        bitmap.close();
      }
      await shrink(photo, picture);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;  // it failed as an input, and says so itself
    }
    strip.draw(photos, selected);
  }
  await plan();
}

// -- saving ----------------------------------------------------------------------------------------------------------

async function save(file, name) {
  const link = made("a", { href: URL.createObjectURL(await file), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function saveOne() {
  const result = selected.results[viewer.sample];
  const format = $("save-as").value;
  const name = format ? result.name.replace(/\.\w+$/, ENDINGS[format]) : result.name;
  await save(blob(`${result.address}${format ? `&format=${format}` : ""}`), name);
}

function maskName(name) { return `${name.replace(/\.\w+$/, "")}_mask.png`; }

async function saveMask() {
  await save(maskFile(selected.mask, selected), maskName(selected.name));
}

async function saveAll() {
  const format = $("save-as").value;
  const jobs = recent.idsOf(photos.filter((photo) => photo.results.length)).map((id) => `id=${id}`).join("&");
  await save(blob(`/v1/results?${jobs}${format ? `&format=${format}` : ""}`), "ccsr-results.zip");
}

// -- drawing ---------------------------------------------------------------------------------------------------------

let planning = 0;        // counts, so that the last question's answer stays
async function plan() {
  const turn = ++planning;
  try {
    if (!(await sizes.plan(photos, options.values()))) setTimeout(() => { if (turn === planning) plan(); }, 2000);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    // Options that make no sense are said when the button is pressed; a server that is away may come back.
    if (error.status === 0) setTimeout(() => { if (turn === planning) plan(); }, 2000);
  }
  if (turn === planning) draw();
}

function draw() {
  const focused = document.activeElement;
  const empty = !photos.length;
  $("app").dataset.stage = empty ? "empty" : line.busy ? "working" : photos.some((photo) => photo.results.length) ? "done" : "ready";
  $("hero").hidden = !empty || !$("loading").hidden;
  for (const id of ["viewer", "panel", "strip", "heading"]) $(id).hidden = empty;
  drawRecent(empty);
  if (!empty) {
    selected ??= photos[0];
    show();
    strip.draw(photos, selected);
    sizes.draw(photos, selected, line.busy);
    for (const id of ["front", "more"]) for (const control of $(id).querySelectorAll("input, select")) control.disabled = line.busy;
    drawLine();
  }
  drawAct();
  const isGone = !focused?.isConnected || !focused.checkVisibility() || focused.disabled;
  if (focused !== document.body && isGone) focusNext(["cancel", "save", "go", "choose"]);
}

// The focus never falls to nothing: the first of these that is there has it, or the photo that is looked at.
function focusNext(ids) {
  const next = ids.map($).find((one) => one.checkVisibility() && !one.disabled);
  if (next) next.focus({ preventScroll: true });
  else if (selected) strip.focus(selected);
}

function show() {
  const photo = selected;
  viewer.show(photo);
  if (photo.loading) return;
  photo.loading = true;
  have(photo).then(
    () => { photo.loading = false; if (photo === selected) viewer.show(photo); },
    (error) => { photo.loading = false; failed(error); },
  );
}

// Of what the button and the command line say.
function drawChoices() {
  drawLine();
  drawAct();
}

function drawAct() {
  const busy = line.busy;
  const results = photos.reduce((count, photo) => count + photo.results.length, 0);
  const wanted = busy || !photos.length ? [] : due();
  const again = wanted.length && wanted.every((photo) => photo.results.length);
  $("go").hidden = busy || !wanted.length;
  $("go").textContent = again ? "Upscale again" : wanted.length === 1 && photos.length === 1 ? "Upscale photo" : `Upscale ${counted(wanted.length)}`;
  $("summary").hidden = $("go").hidden;
  $("summary").replaceChildren(...(wanted.length ? sizes.summary(wanted, limits.job_seconds) : []).map((words) => made("span", { textContent: words })));
  $("working").hidden = !busy;
  $("done").hidden = busy || !results;
  $("save").classList.toggle("primary", !wanted.length);
  $("save").disabled = !selected?.results.length;
  $("save-all").hidden = results < 2;
  $("save-all").textContent = `Download all (${results})`;
  if (busy) drawProgress();
}

function drawProgress() {
  const { share, left, position, photos: all, open } = line;
  $("cancel").setAttribute("aria-disabled", String(line.cancelling));  // disabled in truth, it would lose the focus
  $("cancel").textContent = line.cancelling ? "Cancelling…" : "Cancel";
  $("progress").value = share;
  const number = all.length - open.length + 1;
  const doing = all.length > 1 ? `${Math.min(number, all.length)} of ${all.length}` : "Upscaling";
  const first = open[0];
  $("working-what").textContent = line.cancelling ? "Cancelling…"
    : first && !first.job ? "Sending" : position > 0 && first?.state === "waiting" ? `Waiting, number ${position} in line` : doing;
  $("working-left").textContent = line.cancelling ? "" : `${Math.floor(share * 100)} %${left == null ? "" : ` · ${spoken(left)} left`}`;
}

// The commands that made what is shown, or would make it: one for each scale.
function drawLine() {
  const groups = new Map();
  for (const photo of photos) {
    const ran = photo.asked && (line.busy || !due().includes(photo)) ? photo.asked : asked(photo);
    const key = keyOf(ran);
    groups.set(key, [...(groups.get(key) ?? []), photo.name]);
  }
  $("line").replaceChildren(...[...groups].map(([key, names]) => {
    const { mask, ...values } = Object.fromEntries(JSON.parse(key));
    const words = options.commandLine(names, { ...values, ...(mask ? { mask: maskName(names[0]) } : {}) });
    return made("span", { className: "command" }, ...words.flatMap((word) => [made("span", { textContent: word }), " "]).slice(0, -1));
  }));
}

function drawRecent(empty) {
  const known = empty ? recent.known(limits?.keep_hours ?? 24) : [];
  $("recent").hidden = !known.length || !$("loading").hidden;
  $("recent-list").replaceChildren(...known.map((one) => {
    const open = made("a", { href: `/#job=${one.ids.join(",")}` },
      made("strong", { textContent: one.names.join(", ") + (one.count > one.names.length ? ` and ${one.count - one.names.length} more` : "") }),
      made("span", { textContent: ago(one.when) }));
    open.addEventListener("click", (event) => {
      event.preventDefault();
      visit([], open.getAttribute("href"));
      fromAddress().then(() => focusNext(["save", "cancel", "go", "choose"]));
    });
    return made("li", {}, open);
  }));
}

function say(words) { $("say").textContent = words; }

function failed(error) {
  if (!(error instanceof Failure)) throw error;
  warn(error.message);
}

function warn(words, kind = "") {
  const line = plain(words ?? "", schema);
  for (const id of ["alert", "alert-empty"]) {
    $(id).hidden = !line;
    $(id).textContent = line;
    $(id).classList.toggle("calm", kind === "calm");
  }
}

let fading;
function undoable(words, undo) {
  $("toast-words").textContent = words;
  $("toast").hidden = false;
  $("undo").onclick = () => { $("toast").hidden = true; undo(); };
  clearTimeout(fading);
  fading = setTimeout(() => { if (document.activeElement !== $("undo")) $("toast").hidden = true; }, 20_000);
}

// -- wiring ----------------------------------------------------------------------------------------------------------

function listen() {
  $("choose").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => { add($("files").files); $("files").value = ""; });
  $("panel").addEventListener("submit", (event) => { event.preventDefault(); if (!$("go").hidden) start(); });
  $("cancel").addEventListener("click", cancel);
  $("fresh").addEventListener("click", startOver);
  for (const [id, act] of [["save", saveOne], ["save-all", saveAll], ["brush-save", saveMask]]) {
    $(id).addEventListener("click", () => act().catch((error) => warn(error.message)));
  }
  $("copy").addEventListener("click", async () => {
    const text = [...$("line").children].map((command) => command.textContent).join("\n");
    try {
      await navigator.clipboard.writeText(text);
      $("copy").textContent = "Copied";
    } catch {
      getSelection().selectAllChildren($("line"));  // without https a page may not write the clipboard
      $("copy").textContent = "Selected";
    }
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  });
  addEventListener("popstate", (event) => wentTo(event.state));
  addEventListener("beforeunload", (event) => { if (line.sending) event.preventDefault(); });
  listenToDrops();
  onConnection((lost) => { $("lost").hidden = !lost; });
  onTokenNeeded(() => new Promise((given) => {
    const ask = $("ask");
    ask.addEventListener("close", () => given($("token").value.trim()), { once: true });
    if (!ask.open) ask.showModal();
  }));
}

function listenToDrops() {
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
}

async function main() {
  if (!here) enter(history.replaceState);
  listen();
  if (location.hash.startsWith("#job=")) {
    $("loading").hidden = false;
    $("hero").hidden = true;
  }
  const health = await patiently(() => json("/healthz"));
  limits = { ...health.limits, heic: /HEIC/.test(health.reads) };
  $("private").hidden = !health.local;
  schema = await json("/v1/options");
  options = new Options(schema, await json("/v1/models"));
  sizes = new Sizes($("sizes"), () => options.values().dpi, () => { plan(); draw(); });
  options.draw($("front"), $("rest"), $("expert"), () => { draw(); plan(); });
  $("loading").hidden = true;
  if (location.hash) await fromAddress(); else draw();
}

const ready = main();
ready.catch((error) => { $("loading").hidden = true; warn(error.message); });
