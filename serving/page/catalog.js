// What the server holds, from /health, and what each model takes, from /openapi.json.

/** Models in the server's order: the first one answers what names none. */
export function readCatalog(health, document) {
  const models = new Map();
  for (const { name, version, variant, percent } of health.models) {
    if (!models.has(name)) models.set(name, { name, versions: [], ...takes(document, name) });
    models.get(name).versions.push({ version, variant, percent });
  }
  return [...models.values()];
}

/** Changes whenever other models or versions are held than before. */
export function fingerprint(health) {
  return JSON.stringify(health.models.map(({ name, version, variant }) => [name, version, variant]));
}

/** {name, kind, shape} of each tensor; null in the shape where any size will do. */
export function tensors(schema) {
  return Object.entries(schema.properties).map(([name, found]) => {
    const shape = [];
    while (found.type === "array") {
      shape.push(found.maxItems ?? null);
      found = found.items;
    }
    const [kind] = [found.type].flat(); // with lists beside it where nobody knows the shape
    return { name, kind, shape };
  });
}

/** Inputs of the right shapes, or null if they would fill the page. */
export function example(schema, { most = 512 } = {}) {
  const wanted = tensors(schema);
  const sizes = wanted.map(({ shape }) => shape.reduce((size, side) => size * (side ?? 1), 1));
  if (sizes.some((size) => size > most)) return null;
  return Object.fromEntries(
    wanted.map(({ name, kind, shape }) => [name, nested(shape.map((side) => side ?? 1), kind)]),
  );
}

function takes(document, name) {
  const schema = document.paths["/predict"]?.post.requestBody.content["application/json"].schema;
  const bodies = (schema?.anyOf ?? [schema]).filter((body) => body?.properties?.model.enum.includes(name));
  const field = (wanted) => bodies.find((body) => wanted in body.properties)?.properties[wanted];
  if (field("image")) return { kind: "image" };
  if (field("text")) return { kind: "text" };
  return field("inputs") ? { kind: "tensors", inputs: field("inputs") } : { kind: null };
}

function nested([side, ...rest], kind) {
  if (side === undefined) return { string: "", boolean: false }[kind] ?? 0;
  return Array.from({ length: side }, () => nested(rest, kind));
}
