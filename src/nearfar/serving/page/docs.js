// The interface, as openapi.json describes it: each route with what it takes and gives.
import { $, make } from "./element.js";

const DEEPEST = 4; // of fields within fields

async function show() {
  const described = await (await fetch("openapi.json")).json();
  const schemas = described.components?.schemas ?? {}, byTag = new Map();
  for (const [path, methods] of Object.entries(described.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "";
      byTag.set(tag, [...byTag.get(tag) ?? [], [method, path, operation]]);
    }
  $("version").textContent = described.info.version;
  $("about").textContent = described.info.description;
  $("home").hidden = !("/search" in described.paths);
  $("interface").append(...[...byTag].map(([tag, operations]) => make("section", { class: "routes" },
    make("h2", {}, tag), operations.map(one => route(one, schemas)))));
}

function route([method, path, operation], schemas) {
  const body = operation.requestBody?.content?.["application/json"]?.schema;
  const gives = operation.responses?.["200"]?.content?.["application/json"]?.schema;
  const given = (operation.parameters ?? []).map(one => field(one.name, one.schema, one.required, schemas, 1));
  return make("details", { class: "route" },
    make("summary", {}, make("code", {}, make("b", {}, method.toUpperCase()), " ", path), make("span", {}, operation.description ?? operation.summary ?? "")),
    given.length ? [make("h3", {}, "In the address"), make("dl", {}, given)] : null,
    body ? [make("h3", {}, "Takes"), fields(body, schemas, 1)] : null,
    gives ? [make("h3", {}, "Gives"), fields(gives, schemas, 1)] : null);
}

const resolved = (schema, schemas) => schema?.$ref ? schemas[schema.$ref.split("/").pop()] ?? {} : schema ?? {};

function fields(schema, schemas, depth) {
  const own = resolved(schema, schemas), about = depth === 1 && own.description ? make("p", {}, own.description) : null;
  const inner = own.type === "array" ? resolved(own.items, schemas) : own;
  if (!inner.properties) return make("div", {}, about, make("p", {}, make("code", {}, kind(schema, schemas))));
  return make("div", {}, about, own === inner ? null : make("p", {}, "A list of:"), make("dl", {}, Object.entries(inner.properties).map(([name, value]) =>
    field(name, value, inner.required?.includes(name), schemas, depth))));
}

function field(name, schema, required, schemas, depth) {
  const parts = schema.anyOf ?? schema.oneOf ?? [schema], nested = parts.map(one => resolved(one.type === "array" ? one.items : one, schemas)).find(one => one.properties);
  const by = "default" in schema && schema.default !== null ? `, ${JSON.stringify(schema.default)} unless given` : "";
  return make("div", {}, make("dt", {}, make("code", {}, name), required ? make("small", {}, " required") : null),
    make("dd", {}, kind(schema, schemas) + by, schema.description ? make("p", {}, schema.description) : null,
      nested && depth < DEEPEST ? fields(nested, schemas, depth + 1) : null));
}

function kind(schema, schemas) {
  if (schema.$ref) return resolved(schema, schemas).enum ? kind(resolved(schema, schemas), schemas) : "object";
  if (schema.enum) return schema.enum.map(one => JSON.stringify(one)).join(" or ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const parts = schema.anyOf ?? schema.oneOf;
  if (parts) return [...new Set(parts.map(one => kind(one, schemas)))].filter(one => one !== "null").join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? {}, schemas)}`;
  return schema.type ?? "anything";
}
show().catch(error => {
  $("alert").textContent = error.message;
  $("alert").hidden = false;
});
