// What must stay as it is, painted over a photo. A stroke is {wide, points: [[x, y], ...]}: its width in widths of the
// picture, its points in 0..1. A mask is the list of strokes; it belongs to its photo, and none is ever changed.

import { made } from "./words.js";

const $ = (id) => document.getElementById(id);
const SIDE = 1600;             // pixels on the longer side of a mask, whatever its photo has: the server fits it

// A mask as the server takes it: black stays, white is restored.
export async function maskFile(mask, photo) {
  const canvas = made("canvas", sizeFor(photo));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const stroke of mask) trace(context, stroke, "#000");
  return new Promise((yes, no) => {
    canvas.toBlob((file) => (file ? yes(file) : no(new Error("This browser could not make a picture of what you protect."))));
  });
}

function sizeFor({ width, height }) {
  const ratio = SIDE / Math.max(width, height);
  return { width: Math.max(1, Math.round(width * ratio)), height: Math.max(1, Math.round(height * ratio)) };
}

function trace(context, { wide, points }, color) {
  const { width, height } = context.canvas;
  const lineWidth = Math.max(1, wide * width), [x, y] = points[0];
  Object.assign(context, { strokeStyle: color, fillStyle: color, lineCap: "round", lineJoin: "round", lineWidth });
  context.beginPath();
  context.arc(x * width, y * height, lineWidth / 2, 0, 2 * Math.PI);  // a line of no length is not drawn everywhere
  context.fill();
  context.beginPath();
  context.moveTo(x * width, y * height);
  for (const [right, down] of points.slice(1)) context.lineTo(right * width, down * height);
  context.stroke();
}

export class Brush {
  // `changed` is called when a mask has become another one, `turned` when painting begins or ends.
  constructor({ changed, turned }) {
    Object.assign(this, { changed, turned });
    this.on = false;
    this.photo = null;
    this.stroke = null;        // the one being painted
    $("protect").addEventListener("click", () => this.turn(!this.on));
    $("brush-done").addEventListener("click", () => { this.turn(false); $("protect").focus(); });
    $("brush-undo").addEventListener("click", () => this.become(this.photo.mask.slice(0, -1)));
    $("brush-clear").addEventListener("click", () => this.become([]));
    document.addEventListener("keydown", (event) => this.key(event));
  }

  get size() { return Number($("brush-size").value); }   // on the screen: enlarged, it paints more finely

  turn(on) {
    this.on = on;
    this.turned();
  }

  // Shows the mask of a photo; `finished` says that a result lies under it.
  show(photo, finished) {
    if (this.photo !== photo) this.stroke = null;
    this.photo = photo;
    $("brush").hidden = !this.on;
    $("protect").setAttribute("aria-pressed", String(this.on));
    $("paint").hidden = !photo.width || (!this.on && (finished || !photo.mask.length));
    if (!this.on) $("ring").hidden = true;
    for (const id of ["brush-undo", "brush-clear", "brush-save"]) $(id).disabled = !photo.mask.length;
    if ($("paint").hidden) return;
    const { width, height } = sizeFor(photo);
    if ($("paint").width !== width || $("paint").height !== height) {
      Object.assign($("paint"), { width, height });
      this.drawn = null;  // another size, and it is empty
    }
    if (this.drawn !== photo.mask && !this.stroke) this.redraw();
  }

  redraw() {
    const context = $("paint").getContext("2d");
    context.clearRect(0, 0, $("paint").width, $("paint").height);
    for (const stroke of this.photo.mask) trace(context, stroke, this.color);
    this.drawn = this.photo.mask;
  }

  get color() { return getComputedStyle($("paint")).color; }

  // A stroke begins at a point of the picture that is `shown` so many screen pixels wide.
  begin(point, shown) {
    this.stroke = { wide: round(this.size / shown), points: [rounded(point)] };
    this.dab();
  }

  go(point) {
    if (!this.stroke) return;
    this.stroke.points.push(rounded(point));
    this.dab();
  }

  // Only the last piece: what is painted already lies there.
  dab() {
    trace($("paint").getContext("2d"), { ...this.stroke, points: this.stroke.points.slice(-2) }, this.color);
  }

  end() {
    const { stroke } = this;
    if (!stroke) return;
    this.stroke = null;
    this.drawn = [...this.photo.mask, stroke];
    this.become(this.drawn);
  }

  // A second finger came: they enlarge, and nothing was meant to be painted.
  drop() {
    if (!this.stroke) return;
    this.stroke = null;
    this.redraw();
  }

  become(mask) {
    const focused = document.activeElement;
    this.photo.mask = mask;
    this.changed(this.photo);
    if (focused.disabled) $("brush-done").focus();
  }

  // The ring shows what a stroke would cover; x and y are screen pixels in the frame.
  hover(x, y) {
    $("ring").hidden = !this.on;
    Object.assign($("ring").style, { width: `${this.size}px`, height: `${this.size}px`, left: `${x}px`, top: `${y}px` });
  }

  key(event) {
    if (!this.on || event.target.closest?.("dialog, input[type=text], input[type=number]")) return;
    if (event.key === "Escape") $("brush-done").click();
    else if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.shiftKey) $("brush-undo").click();
    else return;
    event.preventDefault();
  }
}

function round(value) { return Math.round(value * 1e4) / 1e4; }
function rounded({ x, y }) { return [round(x), round(y)]; }
