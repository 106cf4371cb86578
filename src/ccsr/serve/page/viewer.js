// The picture in the middle: input against result under a movable border, a loupe, and several results side by side.

const $ = (id) => document.getElementById(id);

export class Viewer {
  constructor() {
    this.shown = null;      // what `show` was given
    this.sample = 0;
    this.zoom = 0;
    this.view = "compare";
    this.map = false;
    this.cut = 50;
    this.aim = { x: 0.5, y: 0.5 };
    this.listen();
    new ResizeObserver(() => this.fit()).observe($("view"));
  }

  // `photo`: {name, before, width, height, results: [{url, width, height, sample}], map, scale, error, note}
  show(photo) {
    const other = this.shown !== photo;
    this.shown = photo;
    if (other || this.sample >= photo.results.length) this.sample = 0;
    if (other) this.aim = { x: 0.5, y: 0.5 };
    this.draw();
  }

  draw() {
    const photo = this.shown;
    const many = photo.results.length > 1;
    const result = photo.results[this.sample];
    if (!many && this.view === "all") this.view = "compare";
    const all = many && this.view === "all";
    $("name").textContent = photo.name;
    const size = photo.width ? `${photo.width} × ${photo.height}` : "";
    const arrow = result ? `${size} → ${result.width} × ${result.height}` : size;
    $("facts").textContent = [arrow, photo.note].filter(Boolean).join(" · ");

    const failed = Boolean(photo.error) && !result;
    const hasPicture = Boolean(photo.before) && !failed;
    $("compare").hidden = all || !hasPicture;
    $("grid").hidden = !all;
    $("failure").hidden = !failed;
    $("failure").textContent = photo.error ?? "";
    $("no-preview").hidden = hasPicture || failed;
    if (hasPicture) setSource($("before"), photo.before, `${photo.name}, input`);

    for (const id of ["after", "divider", "mark-before", "mark-after", "cut"]) $(id).hidden = !result;
    if (result) setSource($("after"), result.url, `${photo.name}, result`);
    const mapped = Boolean(photo.map) && this.map;
    $("map").hidden = !mapped || !result;
    if (mapped) setSource($("map"), photo.map, "where the results differ");

    $("tools").hidden = !result;
    $("views").hidden = !many;
    $("map-switch").hidden = !photo.map;
    $("loupes").hidden = all;
    document.querySelector(`input[name=view][value=${this.view}]`).checked = true;
    $("legend").hidden = !mapped || !result;
    if (photo.scale) $("legend-high").textContent = `differs by ${(photo.scale * 255).toFixed(1)} of 255 levels or more`;
    $("compare").classList.toggle("ready", Boolean(result));
    $("compare").classList.toggle("aiming", Boolean(result) && this.zoom > 0);

    const loupe = this.zoom > 0 && Boolean(result) && !all;
    $("loupe").hidden = !loupe;
    $("frame").hidden = !loupe;
    this.drawPick(many && !all);
    this.fit();
    this.move(this.cut);
  }

  drawPick(wanted) {
    const pick = $("pick");
    pick.hidden = !wanted;
    if (!wanted) return;
    const { results } = this.shown;
    if (pick.childElementCount !== results.length || pick.dataset.of !== this.shown.name) {
      pick.dataset.of = this.shown.name;
      const chips = Object.assign(document.createElement("div"), { className: "chips small" });
      results.forEach((result, at) => {
        const label = document.createElement("label");
        const input = Object.assign(document.createElement("input"), { type: "radio", name: "sample", value: at });
        const words = Object.assign(document.createElement("span"), { textContent: `Result ${at + 1}` });
        input.addEventListener("change", () => { this.sample = at; this.draw(); });
        label.append(input, words);
        chips.append(label);
      });
      pick.replaceChildren(chips);
    }
    pick.querySelectorAll("input")[this.sample].checked = true;
  }

  drawGrid(mapped) {
    const { results, map, name } = this.shown;
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
      const figure = document.createElement("figure");
      const button = Object.assign(document.createElement("button"), { type: "button", title: "Compare this one with the input" });
      button.append(Object.assign(new Image(), { src: result.url, alt: `${name}, result ${at + 1}` }));
      if (mapped) button.append(Object.assign(new Image(), { src: map, alt: "" }));
      button.addEventListener("click", () => { this.view = "compare"; this.sample = at; this.draw(); });
      figure.append(button, Object.assign(document.createElement("figcaption"), { textContent: `Result ${at + 1}` }));
      return figure;
    }));
  }

  // The picture as large as its place allows; a small one is enlarged to it.
  fit() {
    const photo = this.shown;
    if (!photo?.width) return;
    const place = $("view");
    const ratio = photo.height / photo.width;
    place.style.setProperty("--ratio", ratio);
    $("compare").classList.add("sized");
    const box = place.getBoundingClientRect();
    const width = Math.min(box.width, box.height / ratio);
    $("compare").style.width = `${width}px`;
    $("compare").style.height = `${width * ratio}px`;
    if (!$("grid").hidden) this.drawGrid(!$("legend").hidden);
    this.drawLoupe();
  }

  move(cut) {
    this.cut = Math.min(100, Math.max(0, cut));
    $("compare").style.setProperty("--cut", `${this.cut}%`);
    $("cut").value = this.cut;
    $("cut").setAttribute("aria-valuetext", `${Math.round(this.cut)} % input, ${Math.round(100 - this.cut)} % result`);
    $("mark-before").style.opacity = this.cut > 12 ? 1 : 0;
    $("mark-after").style.opacity = this.cut < 88 ? 1 : 0;
  }

  drawLoupe() {
    if ($("loupe").hidden) return;
    const result = this.shown.results[this.sample];
    const dense = window.devicePixelRatio || 1;
    for (const [canvas, picture] of [[$("loupe-before"), $("before")], [$("loupe-after"), $("after")]]) {
      const box = canvas.getBoundingClientRect();
      if (!box.width || !picture.naturalWidth) continue;
      canvas.width = Math.round(box.width * dense);
      canvas.height = Math.round(box.height * dense);
      // At 1:1 one pixel of the result is one of the screen's.
      const wide = Math.min(canvas.width / this.zoom, result.width), high = Math.min(canvas.height / this.zoom, result.height);
      const left = Math.min(Math.max(this.aim.x * result.width - wide / 2, 0), result.width - wide);
      const top = Math.min(Math.max(this.aim.y * result.height - high / 2, 0), result.height - high);
      const scale = picture.naturalWidth / result.width;
      const pen = canvas.getContext("2d");
      pen.imageSmoothingEnabled = picture === $("before") ? true : this.zoom === 1;
      pen.imageSmoothingQuality = "high";
      const [w, h] = [wide * this.zoom, high * this.zoom];
      pen.drawImage(picture, left * scale, top * scale, wide * scale, high * scale, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
      Object.assign($("frame").style, {
        left: `${(left / result.width) * 100}%`, top: `${(top / result.height) * 100}%`,
        width: `${(wide / result.width) * 100}%`, height: `${(high / result.height) * 100}%`,
      });
    }
  }

  listen() {
    const compare = $("compare");
    const follow = (event) => {
      const box = compare.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
      if (this.zoom) {
        this.aim = { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) };
        this.drawLoupe();
      } else {
        this.move(x * 100);
      }
    };
    compare.addEventListener("pointerdown", (event) => {
      if (!this.shown?.results.length || event.button) return;
      compare.setPointerCapture(event.pointerId);
      this.held = true;
      follow(event);
    });
    compare.addEventListener("pointermove", (event) => { if (this.held || (this.zoom && event.pointerType === "mouse")) follow(event); });
    for (const end of ["pointerup", "pointercancel"]) compare.addEventListener(end, () => { this.held = false; });
    compare.addEventListener("dragstart", (event) => event.preventDefault());
    $("cut").addEventListener("input", () => this.move(Number($("cut").value)));
    $("loupe").addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.1 : 0.02;
      const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (!way) return;
      event.preventDefault();
      this.aim = { x: Math.min(1, Math.max(0, this.aim.x + way[0])), y: Math.min(1, Math.max(0, this.aim.y + way[1])) };
      this.drawLoupe();
    });
    for (const id of ["before", "after"]) $(id).addEventListener("load", () => this.fit());
    for (const input of document.querySelectorAll("input[name=loupe]")) {
      input.addEventListener("change", () => { this.zoom = Number(input.value); this.draw(); });
    }
    for (const input of document.querySelectorAll("input[name=view]")) {
      input.addEventListener("change", () => { this.view = input.value; this.draw(); });
    }
    $("map-on").addEventListener("change", () => { this.map = $("map-on").checked; this.draw(); });
  }
}

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
