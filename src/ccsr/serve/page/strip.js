// The row of small pictures below the large one.

import { made } from "./words.js";

const STATES = { waiting: ", waiting", working: ", at work", done: ", done", failed: ", failed" };
const SIGNS = { done: ["good", "✓"], failed: ["bad", "!"], waiting: ["busy", "…"], working: ["busy", "…"] };

export class Strip {
  constructor(place, { select, remove, add }) {
    Object.assign(this, { place, select, remove });
    this.items = new Map();
    const more = made("button", { type: "button", className: "add", textContent: "+", title: "Add photos" });
    more.setAttribute("aria-label", "Add photos");
    more.addEventListener("click", add);
    this.more = made("li", {}, more);
  }

  // Elements stay with their photos, and with them the focus.
  draw(photos, selected) {
    for (const photo of this.items.keys()) if (!photos.includes(photo)) this.items.delete(photo);
    const items = photos.map((photo) => this.item(photo, photo === selected));
    const wanted = [...items, this.more];
    if (wanted.length !== this.place.childElementCount || wanted.some((item, at) => item !== this.place.children[at])) {
      this.place.replaceChildren(...wanted);
    }
  }

  focus(photo) { (this.items.get(photo)?.querySelector(".thumb") ?? this.more.firstChild).focus(); }

  item(photo, current) {
    if (!this.items.has(photo)) this.items.set(photo, this.make(photo));
    const item = this.items.get(photo);
    const [thumb, badge] = [item.querySelector(".thumb"), item.querySelector(".badge")];
    thumb.setAttribute("aria-label", `${photo.name}${STATES[photo.state] ?? ""}`);
    thumb.setAttribute("aria-current", String(current));
    const picture = thumb.querySelector("img");
    if (photo.thumb && picture.getAttribute("src") !== photo.thumb) picture.src = photo.thumb;
    picture.hidden = !photo.thumb;
    thumb.querySelector(".kind").hidden = Boolean(photo.thumb);
    const [kind, sign] = SIGNS[photo.state] ?? ["", ""];
    badge.hidden = !sign;
    badge.className = `badge ${kind}`;
    badge.textContent = sign;
    return item;
  }

  make(photo) {
    const kind = made("span", { className: "kind", textContent: photo.name.split(".").pop().slice(0, 5) });
    const thumb = made("button", { type: "button", className: "thumb" }, made("img", { alt: "" }), kind);
    thumb.addEventListener("click", () => this.select(photo));
    const out = made("button", { type: "button", className: "remove", textContent: "×", title: "Remove" });
    out.setAttribute("aria-label", `Remove ${photo.name}`);
    out.addEventListener("click", () => this.remove(photo));
    return made("li", {}, thumb, made("span", { className: "badge", ariaHidden: "true" }), out);
  }
}
