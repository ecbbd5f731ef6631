// Fields from a JSON Schema: a number, a choice, a yes or no. What is left empty is not said. What is more than that — lists,
// maps — is left to the JSON beside the form.

import { element } from "./words.js";

/** The section of the schema's own fields, then one for each object in it; a choice between objects shows the chosen one's. */
export function fieldsOf(schema, known = {}) {
  const root = schema;
  return [section("General", simple(root, schema.properties, "", known)), ...Object.entries(schema.properties)
    .map(([name, each]) => [name, resolved(root, each)])
    .filter(([, each]) => each.properties || each.oneOf)
    .map(([name, each]) => (each.oneOf ? choice(root, name, each, known[name] ?? {}) : section(titled(name), simple(root, each.properties, `${name}.`, known[name] ?? {}), each.description, true)))]
    .filter(Boolean);
}

/** What the fields say: {"a": {"b": value}}. */
export function said(place) {
  const spec = {};
  for (const field of place.querySelectorAll("[data-path]")) {
    if (field.value === "") continue;
    const names = field.dataset.path.split(".");
    let at = spec;
    for (const name of names.slice(0, -1)) at = at[name] ??= {};
    at[names.at(-1)] = field.dataset.type === "string" ? field.value : field.dataset.type === "boolean" ? field.value === "true" : asNumber(field.value);
  }
  return spec;
}

/** What is no number goes as it is, and the server says what it thinks of it. */
const asNumber = (text) => (Number.isFinite(Number(text)) ? Number(text) : text);
const resolved = (root, schema) => (schema.$ref ? { ...root.$defs[schema.$ref.split("/").at(-1)], ...schema } : schema);
/** What stands between `these` is code. */
const quoted = (text) => text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
const titled = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

function section(title, fields, about = "", folded = false) {
  if (!fields.length) return null;
  const inside = [...(about ? [element("p", { class: "lead" }, ...quoted(about))] : []), element("div", { class: "fields" }, ...fields)];
  return folded ? element("details", { class: "block" }, element("summary", {}, title), ...inside) : element("fieldset", { class: "block" }, element("legend", {}, title), ...inside);
}

function simple(root, properties, path, known) {
  return Object.entries(properties).map(([name, each]) => field(root, name, each, path, known[name])).filter(Boolean);
}

function field(root, name, schema, path, known) {
  const plain = kindOf(resolved(root, schema));
  if (!plain || schema.const !== undefined) return null;
  const fallback = known ?? schema.default;
  const id = `spec-${path}${name}`;
  const about = element("small", { id: `${id}-about` }, ...quoted(schema.description ?? ""));
  const attributes = { id, "data-path": `${path}${name}`, "data-type": plain.type, "aria-describedby": `${id}-about ${id}-fault` };
  const input = plain.options
    ? element("select", attributes, element("option", { value: "" }, fallback === undefined || fallback === null ? "as usual" : `${fallback} (as usual)`), ...plain.options.map((option) => element("option", { value: String(option) }, String(option))))
    : element("input", { ...attributes, ...(plain.type === "string" ? {} : { inputmode: plain.type === "integer" ? "numeric" : "decimal" }), placeholder: fallback === undefined || fallback === null ? (schema.default === null ? "none" : "needed") : String(fallback), autocomplete: "off" });
  return element("div", { class: "field" }, element("label", { for: id }, titled(name)), input, about, element("small", { id: `${id}-fault`, class: "fault" }));
}

/** One of: a choice, a number, a text; null for anything that has parts. */
function kindOf(schema) {
  const one = schema.anyOf ? schema.anyOf.find((each) => each.type !== "null" && !each.$ref) : schema;
  if (!one || one.$ref) return null;
  if (schema.anyOf?.some((each) => each.$ref || each.type === "object" || each.type === "array")) return one.type === "number" ? { type: "number" } : null;
  if (one.enum) return { type: "string", options: one.enum };
  if (one.type === "boolean") return { type: "boolean", options: ["true", "false"] };
  return ["number", "integer", "string"].includes(one.type) ? { type: one.type } : null;
}

function choice(root, name, schema, known) {
  const branches = new Map(schema.oneOf.map((each) => resolved(root, each)).map((each) => [each.properties.name?.const ?? each.properties.name?.default, each]).filter(([key]) => key));
  const first = known.name ?? schema.default?.name;
  const select = element("select", { id: `spec-${name}.name`, "data-path": `${name}.name`, "data-type": "string" },
    element("option", { value: "" }, first ? `${first} (as usual)` : "choose one"), ...[...branches.keys()].map((key) => element("option", {}, key)));
  const about = element("p", { class: "lead" });
  const fields = element("div", { class: "fields" });
  const draw = () => {
    const chosen = branches.get(select.value || first);
    about.replaceChildren(...quoted(chosen?.description ?? ""));
    fields.replaceChildren(...(chosen ? simple(root, chosen.properties, `${name}.`, select.value && select.value !== known.name ? {} : known) : []));
  };
  select.addEventListener("change", draw);
  draw();
  return element("fieldset", { class: "block" }, element("legend", {}, titled(name)), element("div", { class: "field" }, element("label", { for: `spec-${name}.name` }, "Name"), select, element("small", { id: `spec-${name}.name-fault`, class: "fault" })), about, fields);
}
