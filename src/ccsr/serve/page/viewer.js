// The picture in the middle: input against result under a movable border, enlarged and moved at will, and several
// results side by side.

import { Brush } from "./brush.js";
import { haveDifference } from "./photos.js";
import { made, steadiness, truth } from "./words.js";
import { Zoom } from "./zoom.js";

const $ = (id) => document.getElementById(id);
const NEAR = 24;               // from the border, in which a drag moves it and not the picture
const STEP = 1.5;

export class Viewer {
  // `painted` is called when what a photo protects has changed, `failed` with an error; `worded` puts a line of the
  // server's into the page's words.
  constructor({ painted, failed, worded }) {
    Object.assign(this, { failed, worded });
    this.shown = null;         // a photo
    this.sample = 0;
    this.view = "compare";
    this.map = "";             // or "stability", or "difference"
    this.cut = 50;
    this.zoom = new Zoom();
    this.pointers = new Map();
    this.brush = new Brush({ changed: (photo) => { this.draw(); painted(photo); }, turned: () => this.draw() });
    this.listen();
    new ResizeObserver(() => this.fit()).observe($("view"));
  }

  show(photo) {
    if (this.shown !== photo) this.zoom.reset();
    this.shown = photo;
    if (this.sample >= photo.results.length) this.sample = 0;
    this.draw();
  }

  draw() {
    const photo = this.shown;
    const many = photo.results.length > 1;
    const result = photo.results[this.sample];
    if (!many && this.view === "all") this.view = "compare";
    const all = many && this.view === "all";
    $("name").textContent = photo.name;
    $("facts").textContent = facts(photo, result);

    const failed = Boolean(photo.error) && !result;
    const hasPicture = Boolean(photo.before) && !failed;
    $("compare").hidden = all || !hasPicture;
    $("grid").hidden = !all;
    $("failure").hidden = !failed;
    $("failure").textContent = this.worded(photo.error ?? "");
    $("no-preview").hidden = hasPicture || failed;
    $("no-preview").textContent = photo.loading || photo.results.length
      ? "Loading…" : "This format has no preview here. It will be shown once it is enlarged.";
    if (hasPicture) setSource($("before"), photo.before, `${photo.name}, input`);

    const ready = Boolean(result?.url);
    for (const id of ["after", "divider", "mark-before", "mark-after", "cut"]) $(id).hidden = !ready;
    if (ready) setSource($("after"), result.url, `${photo.name}, result`);
    const kind = this.drawMapChoice(photo, result);
    const map = mapOf(photo, result, kind);
    $("map").hidden = !map || !ready;
    if (map) setSource($("map"), map, kind === "stability" ? "where the results differ" : "where the result departs from the photo");

    $("tools").hidden = !hasPicture;
    $("views").hidden = !many;
    $("zooms").hidden = all;
    document.querySelector(`input[name=view][value=${this.view}]`).checked = true;
    $("legend").hidden = !map || !ready;
    if (map) {
      const steady = kind === "stability", { scale } = steady ? photo.stability : result.consistency;
      $("legend-words").textContent = steady ? steadiness(photo.stability.mean) : truth(result.consistency);
      $("legend-low").textContent = steady ? "the same in every result" : "as in the photo";
      $("legend-high").textContent = `${Math.round(scale * 255)} of 255 levels or more`;
    }
    $("protect").hidden = all || !photo.width;
    if ($("protect").hidden) this.brush.on = false;
    this.brush.show(photo, ready);
    $("compare").classList.toggle("painting", this.brush.on);
    this.drawPick(many && !all);
    this.fit();
    this.move(this.cut);
  }

  // The kind of map that lies over the results; one that is not here yet is fetched.
  drawMapChoice(photo, result) {
    const known = { stability: Boolean(photo.stability), difference: Boolean(result?.consistency) };
    for (const option of $("map-kind").options) option.hidden = option.disabled = option.value && !known[option.value];
    $("map-switch").hidden = !known.stability && !known.difference;
    const kind = known[this.map] ? this.map : "";
    $("map-kind").value = kind;
    if (kind === "difference" && !photo.mapping && photo.results.some((one) => !one.map)) {
      const over = () => { photo.mapping = null; if (photo === this.shown) this.draw(); };
      photo.mapping = haveDifference(photo).catch((error) => { this.map = ""; this.failed(error); }).finally(over);
    }
    return kind;
  }

  drawPick(wanted) {
    const pick = $("pick");
    pick.hidden = !wanted;
    if (!wanted) return;
    const { results } = this.shown;
    if (pick.querySelectorAll("input").length !== results.length) {
      pick.replaceChildren(made("div", { className: "chips small" }, ...results.map((result, at) => {
        const input = made("input", { type: "radio", name: "sample", value: at });
        input.addEventListener("change", () => { this.sample = at; this.draw(); });
        return made("label", {}, input, made("span", { textContent: `Result ${at + 1}` }));
      })));
    }
    pick.querySelectorAll("input")[this.sample].checked = true;
  }

  drawGrid() {
    const { results, name } = this.shown, kind = $("map-kind").value;
    const grid = $("grid");
    const { width, height } = results[0];
    const box = $("view").getBoundingClientRect();
    // On a phone the page scrolls, so height is no limit.
    const narrow = matchMedia("(max-width: 860px)").matches;
    const [columns, wide] = bestColumns(results.length, box.width, narrow ? Infinity : box.height, width / height);
    grid.style.setProperty("--columns", columns);
    grid.style.setProperty("--wide", `${wide}px`);
    grid.style.setProperty("--high", `${(wide * height) / width}px`);
    grid.replaceChildren(...results.map((result, at) => {
      const button = made("button", { type: "button", title: "Compare this one with the input" });
      if (result.url) button.append(made("img", { src: result.url, alt: `${name}, result ${at + 1}` }));
      const map = mapOf(this.shown, result, kind);
      if (map) button.append(made("img", { src: map, alt: "" }));
      button.addEventListener("click", () => { this.view = "compare"; this.sample = at; this.draw(); });
      return made("figure", {}, button, made("figcaption", { textContent: `Result ${at + 1}` }));
    }));
  }

  // The picture as large as its place allows; a small one is enlarged to it.
  fit() {
    const photo = this.shown;
    if (!photo?.width) return;
    const place = $("view");
    place.style.setProperty("--ratio", photo.height / photo.width);
    $("compare").classList.add("sized");
    const box = place.getBoundingClientRect();
    const result = photo.results[this.sample];
    this.zoom.picture = result ? { width: result.width, height: result.height } : { width: photo.width, height: photo.height };
    this.zoom.place = { width: box.width, height: box.height };
    this.zoom.hold();
    if (!$("grid").hidden) this.drawGrid();
    this.lay();
  }

  // Puts the pictures where `zoom` says.
  lay() {
    const { frame, image, offset, isFitted, isLarger, factor, least, ratio } = this.zoom;
    const compare = $("compare");
    Object.assign(compare.style, { width: `${frame.width}px`, height: `${frame.height}px` });
    compare.classList.toggle("zoomed", isLarger);
    compare.classList.toggle("ready", !$("after").hidden);
    for (const id of ["before", "after", "map", "paint"]) {
      Object.assign($(id).style, {
        width: `${image.width}px`, height: `${image.height}px`, transform: `translate(${offset.x}px, ${offset.y}px)`,
      });
    }
    $("after").style.imageRendering = ratio >= 1.99 ? "pixelated" : "auto";
    $("zoom-one").textContent = `${Math.round(ratio * 100)} %`;
    $("zoom-one").setAttribute("aria-label", `${Math.round(ratio * 100)} %, show at 100 %`);
    $("zoom-fit").disabled = isFitted;
    $("zoom-out").disabled = factor <= least * 1.001;
  }

  move(cut) {
    this.cut = Math.min(100, Math.max(0, cut));
    $("compare").style.setProperty("--cut", `${this.cut}%`);
    $("cut").value = this.cut;
    $("cut").setAttribute("aria-valuetext", `${Math.round(this.cut)} % input, ${Math.round(100 - this.cut)} % result`);
    $("mark-before").style.opacity = this.cut > 12 ? 1 : 0;
    $("mark-after").style.opacity = this.cut < 88 ? 1 : 0;
  }

  zoomed(change) {
    change(this.zoom);
    this.lay();
  }

  listen() {
    const compare = $("compare");
    for (const event of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      compare.addEventListener(event, (told) => this[event](told));
    }
    compare.addEventListener("dragstart", (event) => event.preventDefault());
    compare.addEventListener("pointerleave", () => { $("ring").hidden = true; });
    compare.addEventListener("dblclick", (event) => {
      if (this.brush.on) return;
      const { x, y } = this.within(event);
      this.zoomed((zoom) => (zoom.isLarger ? zoom.reset() : zoom.to(Math.max(2, zoom.factor / zoom.ratio), x, y)));
    });
    compare.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = this.within(event);
      const amount = event.deltaMode ? event.deltaY * 16 : event.deltaY;
      this.zoomed((zoom) => zoom.to(zoom.factor * Math.exp(-amount * (event.ctrlKey ? 0.01 : 0.002)), x, y));
    }, { passive: false });
    $("cut").addEventListener("input", () => this.move(Number($("cut").value)));
    document.addEventListener("keydown", (event) => this.key(event));
    for (const id of ["before", "after"]) $(id).addEventListener("load", () => this.fit());
    const buttons = {
      "zoom-in": (zoom) => zoom.to(zoom.factor * STEP), "zoom-out": (zoom) => zoom.to(zoom.factor / STEP),
      "zoom-one": (zoom) => zoom.toRatio(1), "zoom-fit": (zoom) => zoom.reset(),
    };
    for (const [id, change] of Object.entries(buttons)) $(id).addEventListener("click", () => this.zoomed(change));
    for (const input of document.querySelectorAll("input[name=view]")) {
      input.addEventListener("change", () => { this.view = input.value; this.draw(); });
    }
    $("map-kind").addEventListener("change", () => { this.map = $("map-kind").value; this.draw(); });
  }

  within(event) {
    const box = $("compare").getBoundingClientRect();
    const { width, height } = box;
    return { x: (event.clientX - box.left) / width, y: (event.clientY - box.top) / height, width, height };
  }

  pointerdown(event) {
    if (event.button) return;
    this.pointers.set(event.pointerId, event);
    const paints = this.brush.on && !event.target.closest(".knob");
    if (this.pointers.size > 1) this.brush.drop();
    else if (paints) {
      this.drag = "paint";
      this.brush.begin(this.beneath(event), this.zoom.image.width);
    } else {
      const { x, width } = this.within(event);
      const onBorder = Math.abs(x * width - (this.cut / 100) * width) < NEAR;
      this.drag = !this.zoom.isLarger || (onBorder && this.shown.results.length) ? "border" : "picture";
      // A finger may be about to scroll the page: then it does not move the border.
      if (this.drag === "border" && event.pointerType !== "touch") this.pointermove(event);
    }
    if (event.pointerType === "mouse" || this.drag !== "border") $("compare").setPointerCapture(event.pointerId);
  }

  pointermove(event) {
    if (this.brush.on) this.ring(event);
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      const [one, two] = [...this.pointers.values()];
      const other = one === event ? two : one;
      const { x, y } = this.within({ clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 });
      const span = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY) || 1;
      this.zoomed((zoom) => {
        zoom.to((zoom.factor * span(event)) / span(last), x, y);
        zoom.by((event.clientX - last.clientX) / 2, (event.clientY - last.clientY) / 2);
      });
    } else if (this.drag === "paint") {
      for (const one of event.getCoalescedEvents?.() ?? [event]) this.brush.go(this.beneath(one));
    } else if (this.drag === "picture") {
      this.zoomed((zoom) => zoom.by(event.clientX - last.clientX, event.clientY - last.clientY));
    } else if (this.shown.results.length) {
      this.move(this.within(event).x * 100);
    }
  }

  pointerup(event) {
    this.pointers.delete(event.pointerId);
    this.brush.end();
  }

  pointercancel(event) {
    this.pointers.delete(event.pointerId);
    this.brush.drop();
  }

  // The point of the picture under a pointer.
  beneath(event) {
    const { x, y } = this.within(event);
    return this.zoom.under(x, y);
  }

  ring(event) {
    const { x, y, width, height } = this.within(event);
    this.brush.hover(x * width, y * height);
  }

  // 1, 0, + and -, and the arrows: the picture where it is enlarged, else the border.
  key(event) {
    const at = event.target;
    const typing = at.closest?.("input:not(#cut), select, textarea, dialog, [role=radiogroup]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("compare").hidden || $("viewer").hidden) return;
    const keys = {
      1: (zoom) => zoom.toRatio(1), 0: (zoom) => zoom.reset(), "+": (zoom) => zoom.to(zoom.factor * STEP),
      "=": (zoom) => zoom.to(zoom.factor * STEP), "-": (zoom) => zoom.to(zoom.factor / STEP),
    };
    const far = event.shiftKey ? 240 : 60;
    const ways = { ArrowLeft: [far, 0], ArrowRight: [-far, 0], ArrowUp: [0, far], ArrowDown: [0, -far] };
    if (keys[event.key]) this.zoomed(keys[event.key]);
    else if (ways[event.key] && this.zoom.isLarger && !at.closest?.("summary, #strip, code")) this.zoomed((zoom) => zoom.by(...ways[event.key]));
    else return;
    event.preventDefault();
  }
}

function facts(photo, result) {
  const size = photo.width ? `${photo.width} × ${photo.height}` : "";
  const told = [result ? `${size} → ${result.width} × ${result.height}` : size];
  const within = (sentence) => sentence[0].toLowerCase() + sentence.slice(1, -1);
  if (result?.consistency) told.push(within(truth(result.consistency)));
  if (result && photo.stability) told.push(within(steadiness(photo.stability.mean)));
  return [...told, photo.note].filter(Boolean).join(" · ");
}

function mapOf(photo, result, kind) { return kind === "stability" ? photo.map : kind && result?.map; }

function setSource(image, address, words) {
  if (image.getAttribute("src") !== address) image.src = address;
  image.alt = words;
}

// How many columns leave the pictures largest in a place of this size, and how wide they are then.
function bestColumns(count, width, height, ratio) {
  const gap = 6;
  let best = [1, 0];
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const wide = Math.min((width - gap * (columns - 1)) / columns, ((height - gap * (rows - 1)) / rows) * ratio);
    if (wide > best[1]) best = [columns, wide];
  }
  return best;
}
