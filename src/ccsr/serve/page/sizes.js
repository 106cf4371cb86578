// How large: choices in people's words, with the size and time that the server plans for each.

import { post } from "./api.js";
import { made, megapixels, spoken, times } from "./words.js";

const PRINT_PIXELS = 3543;         // 30 cm at 300 dots per inch
const COMFORTABLE = 50e6;          // pixels of a result that nobody has asked to be larger
const CHOICES = [
  { id: "2", title: "Twice as large", scale: () => "2" },
  { id: "4", title: "Four times as large", scale: () => "4" },
  { id: "print", title: "For print at 30 cm", scale: printed },
  { id: "most", title: "As large as possible", scale: null },
  { id: "1", title: "Repair only", scale: () => "1" },
  { id: "other", title: "Other", scale: null },
];

function printed(photo) {
  const longest = Math.max(photo.width, photo.height);
  if (!longest) return "2";
  return longest >= PRINT_PIXELS ? "1" : longest * 8 <= PRINT_PIXELS ? "8" : `${PRINT_PIXELS}/${longest}`;
}

export class Sizes {
  // `changed` is called when another choice is made.
  constructor(place, changed) {
    this.chosen = null;            // null: whatever suits the photos
    this.other = "3";
    this.rows = new Map();
    for (const { id, title } of CHOICES) {
      const input = made("input", { type: "radio", name: "size", value: id });
      const detail = made("span", { className: "size-detail", id: `size-${id}` });
      const row = made("label", { className: "size" }, input, made("span", { className: "size-title", textContent: title }), detail);
      input.setAttribute("aria-describedby", detail.id);
      input.addEventListener("change", () => { this.chosen = id; changed(); });
      this.rows.set(id, { input, detail, row });
      place.append(row);
    }
    this.field = made("input", { type: "number", id: "other-size", min: 1, max: 8, step: "any", value: this.other });
    this.field.setAttribute("aria-label", "How many times as large");
    this.field.addEventListener("input", () => {
      this.chosen = "other";
      if (this.field.checkValidity() && this.field.value) this.other = this.field.value;
      changed();
    });
    const { row, detail } = this.rows.get("other");
    row.insertBefore(this.field, detail);
    row.insertBefore(made("span", { className: "times", textContent: "×", ariaHidden: "true" }), detail);
  }

  // Asks the server what the photos would become, and says whether it told times, too. `options` are the other options.
  async plan(photos, options) {
    const sized = photos.filter((photo) => photo.width);
    const asked = [...new Map(sized.map((photo) => [`${photo.width} ${photo.height}`, photo])).values()];
    const ids = CHOICES.filter((choice) => choice.scale).map((choice) => choice.id).concat("other");
    const told = new Map();
    for (let from = 0; from < asked.length; from += 100) {
      const part = asked.slice(from, from + 100);
      const body = part.map((photo) => ({ width: photo.width, height: photo.height, scales: ids.map((id) => this.scaleOf(id, photo)) }));
      const { photos: plans } = await post("/v1/plan", { photos: body, options });
      part.forEach((photo, at) => {
        const { choices, largest } = plans[at];
        told.set(`${photo.width} ${photo.height}`, { ...Object.fromEntries(ids.map((id, n) => [id, choices[n]])), most: largest });
      });
    }
    for (const photo of sized) photo.plan = told.get(`${photo.width} ${photo.height}`);
    // A server that has just started does not know yet how fast it is.
    return [...told.values()].every(({ most }) => most.problem || most.seconds !== null);
  }

  scaleOf(id, photo) {
    if (id === "other") return this.other;
    return CHOICES.find((choice) => choice.id === id).scale(photo);
  }

  // The choice that counts for these photos: the one made, or the largest that is comfortable for all of them.
  idFor(photos) {
    if (this.chosen) return this.chosen;
    const fits = (id) => photos.every(({ plan }) => !plan || (!plan[id].problem && plan[id].width * plan[id].height <= COMFORTABLE));
    return ["4", "2"].find(fits) ?? (photos.every(({ plan }) => !plan?.["2"].problem) ? "2" : "1");
  }

  // What a photo gets: {scale (as text), choice, lowered: whether its own choice does not fit}.
  of(photo, id) {
    const { plan } = photo;
    if (!plan) return { scale: id === "most" ? "2" : this.scaleOf(id, photo), choice: null, lowered: false };
    const lowered = Boolean(plan[id].problem) && !plan.most.problem;
    if (id === "most" || lowered) return { scale: String(plan.most.scale), choice: plan.most, lowered };
    return { scale: this.scaleOf(id, photo), choice: plan[id], lowered };
  }

  // The scale that a restored job had.
  restore(scale) {
    this.chosen = ["1", "2", "4"].includes(scale) ? scale : "other";
    if (this.chosen !== "other") return;
    const [over, under = 1] = scale.split("/").map(Number);
    this.other = scale;
    this.field.value = Math.round((over / under) * 100) / 100;
  }

  // `photo` is the one looked at, whose sizes are shown.
  draw(photos, photo, disabled) {
    const chosen = this.idFor(photos);
    for (const [id, { input, detail, row }] of this.rows) {
      const plans = photos.map((one) => one.plan).filter(Boolean);
      const none = plans.length > 0 && plans.length === photos.length && plans.every((plan) => plan[id].problem);
      const own = photo.plan?.[id];
      input.checked = id === chosen;
      input.disabled = disabled || (none && id !== "other");
      row.classList.toggle("unfit", none);
      if (!own) detail.textContent = "";
      else if (own.problem) detail.textContent = own.problem.replace(/ \([^()]*\)$/, "");
      else if (id === "print" && own.scale === 1) detail.textContent = "large enough already";
      else detail.textContent = `${own.width} × ${own.height}`;
    }
    this.field.disabled = disabled;
  }

  // One line on what the button will do to these photos.
  summary(photos, jobSeconds) {
    const id = this.idFor(photos);
    const all = photos.map((photo) => ({ photo, ...this.of(photo, id) }));
    const sized = all.filter(({ choice }) => choice && !choice.problem);
    const lines = [];
    if (sized.length) {
      const sum = (pick) => sized.reduce((total, one) => total + pick(one), 0);
      const before = sum(({ photo }) => photo.width * photo.height), after = sum(({ choice }) => choice.width * choice.height);
      const seconds = sum(({ choice }) => choice.seconds ?? 0);
      const scales = new Set(sized.map(({ choice }) => times(choice.scale)));
      const at = scales.size === 1 ? ` at ${[...scales][0]}` : "";
      const how = seconds ? `, ${spoken(seconds)}` : "";
      lines.push(`${megapixels(before, 1)} → ${megapixels(after, 1)}${at}${how}`);
    }
    const lowered = all.filter((one) => one.lowered);
    if (lowered.length) lines.push(lowered.length === photos.length
      ? `That is too large for this server: ${times(lowered[0].choice.scale)} is what fits.`
      : `${lowered.length} of ${photos.length} would be too large and are made as large as fits.`);
    const late = sized.filter(({ choice }) => choice.late).length;
    if (late) lines.push(`${late === 1 && photos.length === 1 ? "It" : `${late} of them`} would be stopped: this server works at most ${spoken(jobSeconds).replace("about ", "")} on one photo.`);
    return lines;
  }
}
