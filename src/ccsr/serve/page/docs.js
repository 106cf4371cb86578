// The API page, drawn from /openapi.json and /v1/options.

import { json } from "./api.js";

const $ = (id) => document.getElementById(id);
const made = (kind, text = "", name = "") => Object.assign(document.createElement(kind), { textContent: text, className: name });

const spec = await json("/openapi.json");
$("about").textContent = spec.info.description.replaceAll("`", "");
$("origin").textContent = location.origin;
for (const [path, methods] of Object.entries(spec.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const article = made("article");
    const title = made("h3");
    title.append(made("span", method.toUpperCase(), "verb"), path);
    const answers = made("dl");
    for (const [status, answer] of Object.entries(operation.responses)) answers.append(made("dt", status), made("dd", answer.description));
    const parameters = (operation.parameters ?? []).map((p) => `${p.name}: ${p.description ?? ""}`).join("; ");
    article.append(title, made("p", operation.summary, "sum"), made("p", operation.description ?? ""));
    if (parameters) article.append(made("p", parameters));
    article.append(answers);
    $("operations").append(article);
  }
}
const range = (known) => {
  if (known.anyOf) return known.anyOf.map(range).join(", ");
  if (known.enum) return known.enum.join(", ");
  const ends = [known.minimum, known.maximum].filter((end) => end !== undefined && end < 1e12);
  return ends.length === 2 ? `${known.type}, ${ends[0]} to ${ends[1]}` : ends.length ? `${known.type}, from ${ends[0]}` : known.pattern ? "a fraction" : known.type;
};
const schema = await json("/v1/options");
for (const [name, known] of Object.entries(schema.properties)) {
  const row = made("tr");
  const field = made("td");
  field.append(made("code", name));
  row.append(field, made("td", range(known)), made("td", known.default ?? ""), made("td", known.description));
  $("options").append(row);
}
