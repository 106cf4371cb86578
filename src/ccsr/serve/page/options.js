// Controls drawn from the JSON schema of the option list: a new option of the program appears here by itself.

import { made, plain } from "./words.js";

const GROUPS = { size: "Size", result: "Result", method: "Method", files: "File", memory: "Memory", machine: "Machine", model: "Model" };
const WORDS = {
  png: "PNG", jpeg: "JPEG", webp: "WebP", tiff: "TIFF", avif: "AVIF", auto: "automatic", none: "none", nuts: "non-uniform",
  adain: "mean and spread", wavelet: "coarse colours", fp32: "32 bit", bf16: "bfloat16", fp16: "16 bit",
};
const ELSEWHERE = ["scale", "width", "height", "megapixels", "print"];   // see sizes.js
const ONLY_THERE = { mask: { "x-flag": "--mask" } };   // here it is painted
// Where the option list speaks of what this page has otherwise.
const HELP = {
  dpi: "What the file tells a printer. “For print” counts with it, and with 300 where it is not set.",
  consistency: "How strictly the result must shrink back to the photo: at 100 % within 2 levels of 255, with the photo's noise back in it, so not for noisy photos.",
};
const UNSET = { format: "same as the photo", color_fix: "what suits the model" };

export class Options {
  constructor(schema, models) {
    this.schema = schema;
    this.models = models;
    this.readers = new Map();
    this.writers = new Map();
  }

  // Fills the three places; `changed` is called after every edit.
  draw(front, rest, expert, changed) {
    const groups = new Map([[rest, new Map()], [expert, new Map()]]);
    for (let [name, known] of Object.entries(this.schema.properties)) {
      if (known["x-hidden"] || ELSEWHERE.includes(name) || (name === "model" && this.models.length < 2)) continue;
      if ((name.endsWith("prompt") || name === "guidance") && !this.models.some((m) => m.prompts)) continue;
      if (name === "steps") known = this.useful(known);
      if (known["x-suggestions"]?.length === 1) continue;
      const field = this.field(name, known);
      if (known["x-front"]) { front.append(field); continue; }
      const within = groups.get(known["x-expert"] ? expert : rest), group = known["x-group"];
      if (!within.has(group)) within.set(group, []);
      within.get(group).push(field);
    }
    for (const [place, within] of groups) {
      for (const [group, fields] of within) place.append(made("h3", { textContent: GROUPS[group] ?? group }), ...fields);
    }
    for (const place of [front, rest, expert]) place.addEventListener("input", changed);
  }

  // More steps than these change nothing that one could see, whichever model is chosen.
  useful(steps) {
    const most = Math.max(...this.models.map((model) => model.useful_steps ?? Infinity));
    return { ...steps, "x-suggestions": steps["x-suggestions"].filter((count) => count <= most) };
  }

  // Values that differ from the defaults, as text.
  values() {
    const found = {};
    for (const [name, read] of this.readers) {
      const value = read();
      const standard = this.schema.properties[name].default;
      if (value !== "" && value !== null && value !== String(standard ?? "")) found[name] = value;
    }
    return found;
  }

  // Has the controls show these values, and the defaults where there is none.
  restore(values) {
    for (const [name, write] of this.writers) write(String(values[name] ?? this.schema.properties[name].default ?? ""));
  }

  // The words of a command that does the same to these files.
  commandLine(files, asked) {
    const words = ["ccsr", "upscale", ...files.map(quoted)];
    for (const [name, value] of Object.entries(asked)) {
      const known = this.schema.properties[name] ?? ONLY_THERE[name];
      if (!known) continue;
      words.push(known["x-flag"]);
      if (known.type !== "boolean") words.push(quoted(value));
    }
    // The page makes the map of several results unasked.
    if (Number(asked.samples) > 1) words.push("--stability-map");
    return words;
  }

  field(name, known) {
    const id = `option-${name}`;
    const kind = known.anyOf ? "mixed" : known.type;
    const numeric = kind === "integer" || kind === "number" || (known.anyOf && known.anyOf[0].type === "number");
    if (kind === "boolean") return this.checkbox(name, known, id);
    if (known["x-ends"]) return this.slider(name, known, id);
    if (known["x-suggestions"]) return this.chips(name, known, id, numeric);
    if (known.enum) return this.select(name, known, id);
    const input = made("input", { id, type: kind === "integer" || kind === "number" ? "number" : "text" });
    if (known.minimum !== undefined) input.min = known.minimum;
    if (known.maximum !== undefined && known.maximum < 1e12) input.max = known.maximum;
    if (kind === "number") input.step = "any";
    if (known.default !== undefined) input.value = known.default;
    else input.placeholder = "not set";
    this.readers.set(name, () => input.value.trim());
    this.writers.set(name, (value) => { input.value = value; });
    return this.framed(known, id, input);
  }

  framed(known, id, control) {
    const label = made("label", { className: "label", htmlFor: id, textContent: known["x-label"] });
    return made("div", { className: "field" }, label, control, ...this.help(known, control));
  }

  // A line below a control, or none for those in front, which have room for their names alone.
  help(known, control) {
    if (known["x-front"]) return [];
    const name = control.id.replace("option-", "");
    const help = made("p", { className: "help", id: `${control.id}-help`, textContent: HELP[name] ?? plain(known.description, this.schema) });
    control.setAttribute("aria-describedby", help.id);
    return [help];
  }

  checkbox(name, known, id) {
    const input = made("input", { type: "checkbox", id, checked: Boolean(known.default) });
    this.readers.set(name, () => String(input.checked));
    this.writers.set(name, (value) => { input.checked = value === "true"; });
    return made("div", { className: "field" }, made("label", { className: "check" }, input, known["x-label"]));
  }

  select(name, known, id) {
    const choices = known.default === undefined ? [["", UNSET[name] ?? "not set"]] : [];
    choices.push(...known.enum.map((value) => [value, WORDS[value] ?? value]));
    const input = made("select", { id }, ...choices.map(([value, text]) => made("option", { value, textContent: text })));
    input.value = known.default ?? "";
    this.readers.set(name, () => input.value);
    this.writers.set(name, (value) => { input.value = value; });
    return this.framed(known, id, input);
  }

  slider(name, known, id) {
    const stops = known["x-suggestions"];
    const [low, high, step] = stops ? [stops[0], stops.at(-1), 1] : [known.minimum, known.maximum, 0.05];
    const input = made("input", { type: "range", id, min: low, max: high, step });
    input.value = known.default;
    const shown = made("output", { className: "value", htmlFor: id });
    const words = () => {
      if (!stops) return `${Math.round(input.value * 100)} %`;
      return `${input.value} ${input.value === "1" ? "step" : "steps"}`;
    };
    const show = () => { shown.textContent = words(); input.setAttribute("aria-valuetext", words()); };
    input.addEventListener("input", show);
    show();
    this.readers.set(name, () => String(Number(input.value)));
    this.writers.set(name, (value) => { input.value = value; show(); });
    const [left, right] = known["x-ends"];
    return made("div", { className: "field" },
      made("label", { className: "label", htmlFor: id }, known["x-label"], shown), input,
      made("div", { className: "ends" }, made("span", { textContent: left }), made("span", { textContent: right })), ...this.help(known, input));
  }

  chips(name, known, id, numeric) {
    const group = made("div", { className: "chips", role: "radiogroup", id });
    group.setAttribute("aria-label", known["x-label"]);
    const add = (value, text) => {
      const input = made("input", { type: "radio", name: id, value, checked: String(known.default) === value });
      group.append(made("label", {}, input, made("span", { textContent: text })));
    };
    for (const value of known["x-suggestions"]) add(String(value), String(value));
    const other = made("input", { type: "number", className: "other", hidden: true, step: "any", placeholder: "any" });
    const limits = known.anyOf ? known.anyOf[0] : known;
    Object.assign(other, { min: limits.minimum, max: limits.maximum });
    other.setAttribute("aria-label", `${known["x-label"]}, other value`);
    if (numeric) add("other", "Other");
    const chosen = () => group.querySelector("input:checked")?.value;
    group.addEventListener("change", () => {
      other.hidden = chosen() !== "other";
      if (!other.hidden) other.focus();
    });
    this.writers.set(name, (value) => {
      const chip = [...group.querySelectorAll("input")].find((input) => input.value === value);
      (chip ?? group.querySelector("input[value=other]")).checked = true;
      other.hidden = Boolean(chip);
      if (!chip) other.value = value;
    });
    this.readers.set(name, () => (chosen() === "other" ? other.value || String(known.default) : chosen()));
    return made("div", { className: "field" }, made("span", { className: "label", textContent: known["x-label"] }), group, other);
  }
}

function quoted(word) { return /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`; }
