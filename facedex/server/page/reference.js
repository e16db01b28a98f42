// Renders openapi.json: every operation with its parameters, its body and its answers.
// Text is only ever set as text, never as markup.

const main = document.getElementById("reference");

function element(name, text = "", ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function table(headings, rows) {
  const head = element("tr", "", ...headings.map((text) => element("th", text)));
  const lines = rows.map((cells) => element("tr", "", ...cells.map((cell) => element("td", cell))));
  return element("table", "", element("thead", "", head), element("tbody", "", ...lines));
}

function resolved(schema, all) {
  return schema?.$ref ? all[schema.$ref.split("/").pop()] : (schema ?? {});
}

// The type of a schema in a few words.
function kind(schema, all) {
  if (schema.$ref) return kind(resolved(schema, all), all);
  if (schema.anyOf) return schema.anyOf.map((one) => kind(one, all)).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items ?? {}, all)}`;
  if (schema.format === "binary") return "file";
  return schema.type ?? "anything";
}

function limits(schema) {
  const words = { minimum: "from", exclusiveMinimum: "above", maximum: "to", exclusiveMaximum: "below" };
  const found = Object.entries(words).filter(([name]) => name in schema).map(([name, word]) => `${word} ${schema[name]}`);
  if ("default" in schema) found.push(`default ${JSON.stringify(schema.default)}`);
  return found.length ? ` (${found.join(", ")})` : "";
}

// The fields of an object, those of inner objects as a.b and a[].b.
function fields(schema, all, prefix = "", depth = 0) {
  const { properties = {}, required = [] } = resolved(schema, all);
  return Object.entries(properties).flatMap(([name, field]) => {
    const inner = [field, ...(field.anyOf ?? [])].flatMap((one) => [[one, ""], [one.items, "[]"]]);
    const below = inner.filter(([one]) => resolved(one, all).properties);
    const row = [prefix + name, kind(field, all) + limits(field), required.includes(name) ? "yes" : "", field.description ?? ""];
    return [row, ...(depth < 3 ? below : []).flatMap(([one, list]) => fields(one, all, `${prefix}${name}${list}.`, depth + 1))];
  });
}

function content(heading, described, all) {
  return Object.entries(described ?? {}).flatMap(([type, { schema = {} }]) => {
    const rows = fields(schema, all);
    const parts = [element("h4", `${heading} (${type})`)];
    if (rows.length) parts.push(table(["field", "type", "always", "meaning"], rows));
    return parts;
  });
}

function operation(method, path, described, all) {
  const summary = element("summary", "", element("b", method.toUpperCase()), document.createTextNode(path));
  const inside = element("div", "", element("p", described.description ?? described.summary));
  inside.className = "inside";
  if (described.parameters?.length) {
    const rows = described.parameters.map((one) => [
      one.name, one.in, kind(one.schema, all) + limits(one.schema), one.description ?? one.schema.description ?? "",
    ]);
    inside.append(table(["parameter", "in", "type", "meaning"], rows));
  }
  inside.append(...content("Body", described.requestBody?.content, all));
  for (const [status, answer] of Object.entries(described.responses)) {
    if (!status.endsWith("XX")) inside.append(...content(`Answer ${status}`, answer.content, all));
  }
  return element("details", "", summary, inside);
}

const answer = await fetch("/openapi.json");
const api = await answer.json();
const all = api.components?.schemas ?? {};
for (const paragraph of api.info.description.split("\n\n")) main.append(element("p", paragraph));
const byTag = new Map();
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, described] of Object.entries(methods)) {
    const tag = described.tags?.[0] ?? "other";
    if (!byTag.has(tag)) byTag.set(tag, []);
    byTag.get(tag).push(operation(method, path, described, all));
  }
}
for (const [tag, operations] of byTag) main.append(element("h2", tag), ...operations);
