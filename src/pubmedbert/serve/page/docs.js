// The operations of openapi.json for people to read, with nothing loaded from elsewhere.

import { element } from "./dom.js";

const api = await (await fetch("openapi.json")).json();

const resolved = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema);

// A schema's type in a few words.
function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(kind).filter((name) => name !== "null").join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.type === "array") return `list of ${kind(schema.items)}`;
  return schema.type ?? "anything";
}

function fields(schema, prefix = "") {
  return Object.entries(resolved(schema).properties ?? {}).flatMap(([name, value]) => {
    const nested = [value, ...(value.anyOf ?? [])].find((one) => one.$ref && resolved(one).properties);
    const row = element("tr", {},
      element("th", { scope: "row" }, element("code", { textContent: prefix + name })),
      element("td", { className: "sequence", textContent: [kind(value), value.description].filter(Boolean).join(". ") }));
    return name === "parameters" && nested ? [row, ...fields(nested, `${name}.`)] : [row];
  });
}

function operation(path, method, about) {
  const body = about.requestBody?.content["application/json"].schema;
  const summary = element("summary", {}, element("b", { textContent: method.toUpperCase() }),
    element("code", { textContent: path }), ` ${about.summary}`);
  const details = element("details", {}, summary, element("p", { className: "hint", textContent: about.description ?? "" }));
  if (body) details.append(element("table", {}, element("tbody", {}, ...fields(body))));
  return element("section", { className: "card operation" }, details);
}

document.getElementById("operations").replaceChildren(
  ...Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, about]) => operation(path, method, about))));
