// The fields of an input, by the JSON Schema of its worker. Pure functions; the API checks inputs.

const SCALARS = ["string", "integer", "number"];
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Return a text without its percent-encoding, or as it is if it has none. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Return the part of the schema that a reference such as `#/$defs/address` names, if any. */
function referenced(root, reference) {
  const steps = decoded(reference).split("/").slice(1);
  const names = steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce((found, name) => found?.[name], root);
}

/** Return the part for which a reference, and a choice between a type and null, stand. */
function resolve(part, root) {
  const target = typeof part?.$ref === "string" ? referenced(root, part.$ref) : part;
  const [choice, ...others] = (target?.anyOf ?? []).filter(({ type }) => type !== "null");
  if (!choice || others.length) return target ?? {};
  return { ...target, ...(choice.$ref ? resolve(choice, root) : choice) };
}

/** Return the one type of a part, beside null; null if there are several. */
function typeOf(part) {
  const types = [part.type ?? []].flat().filter((type) => type !== "null");
  return types.length === 1 ? types[0] : null;
}

const hasFields = ({ properties, ...part }) =>
  typeOf(part) === "object" && isObject(properties) && Object.keys(properties).length > 0;
const isScalar = (value) => typeof value !== "object" || value === null;

function kindOf(part, root, isInner) {
  if (Array.isArray(part.enum) && part.enum.length && part.enum.every(isScalar)) return "choice";
  const type = typeOf(part);
  if (type === "boolean" || SCALARS.includes(type)) return type;
  if (type === "array" && SCALARS.includes(typeOf(resolve(part.items, root)))) return "list";
  return !isInner && hasFields(part) ? "object" : "json";
}

function readNumber(text) {
  const value = Number(text);
  if (Number.isNaN(value)) throw new Error(`${text} is not a number.`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new Error("The number has more digits than this page can send.");
  }
  return value;
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Not valid JSON (${error.message}).`);
  }
}

const numberText = (initial) => (typeof initial === "number" ? String(initial) : "");
const placeText = (values, initial) =>
  values.includes(initial) ? String(values.indexOf(initial)) : "";
export const BOOLEANS = [false, true];

/** The kinds of fields: the text of a value, and the value of a text that is not empty. */
const KINDS = {
  string: { write: (value) => (typeof value === "string" ? value : ""), read: (text) => text },
  integer: { write: numberText, read: readNumber },
  number: { write: numberText, read: readNumber },
  boolean: { write: (value) => placeText(BOOLEANS, value), read: (text) => text === "1" },
  choice: {
    write: (value, part) => placeText(part.enum, value),
    read: (text, part) => part.enum[Number(text)],
  },
  list: {
    hint: "One per line",
    write: (value) => (Array.isArray(value) ? value.join("\n") : ""),
    read: (text, { itemType }) =>
      text
        .split("\n")
        .filter(Boolean)
        .map(itemType === "string" ? String : readNumber),
  },
  json: {
    hint: "JSON",
    write: (value) => (value === undefined ? "" : JSON.stringify(value, null, 2)),
    read: readJson,
  },
};

/**
 * Return the fields of an object, by their places such as `input.channel`. A field with the kind
 * `object` has `fields` of its own; the others have a `hint` and a `text`.
 */
function group({ place, part, root, initial, isInner }) {
  // Another name of a field stands for it only where the input has it.
  const isShown = ([name, declared]) =>
    !resolve(declared, root).deprecated || initial?.[name] !== undefined;
  const make = ([name, declared]) => {
    const inner = resolve(declared, root);
    const isRequired = (part.required ?? []).includes(name);
    const field = {
      ...{ place: `${place}.${name}`, name, label: inner.title ?? name, isRequired },
      kind: kindOf(inner, root, isInner),
      part: { ...inner, itemType: typeOf(resolve(inner.items, root)) },
    };
    return field.kind === "object" ? withFields(field, root, initial) : withText(field, initial);
  };
  return Object.entries(part.properties).filter(isShown).map(make);
}

function withFields(field, root, initial) {
  const { place, part, name } = field;
  return {
    ...field,
    fields: group({ place, part, root, initial: initial?.[name], isInner: true }),
  };
}

function withText(field, initial) {
  const { part, kind, isRequired, name } = field;
  const absent = part.default === undefined ? null : `Default: ${JSON.stringify(part.default)}`;
  const hints = [isRequired && "Required", part.description, KINDS[kind].hint, absent];
  const text = KINDS[kind].write(initial?.[name], part);
  return { ...field, hint: hints.filter(Boolean).join(" · "), text };
}

/** Return the fields of a schema with the texts of an input; null if it names no fields. */
export function fieldsOf(schema, initial = {}) {
  const part = resolve(schema ?? {}, schema);
  if (!hasFields(part)) return null;
  return group({ place: "input", part, root: schema, initial, isInner: false });
}

/** Return the fields that have a control, those of inner objects among them. */
const leavesOf = (fields) =>
  fields.flatMap((field) => (field.kind === "object" ? leavesOf(field.fields) : [field]));

/** Return the texts of the controls at first, by their place. */
export const textsOf = (fields) =>
  Object.fromEntries(leavesOf(fields).map(({ place, text }) => [place, text]));

function readFields(fields, texts, faults) {
  const values = [];
  for (const { place, name, kind, part, isRequired, fields: inner } of fields) {
    if (kind === "object") {
      const value = readFields(inner, texts, faults);
      // Without any of its fields an object is omitted, unless it is required.
      if (isRequired || Object.keys(value).length) values.push([name, value]);
    } else if (texts[place]) {
      try {
        values.push([name, KINDS[kind].read(texts[place], part)]);
      } catch (error) {
        faults[place] = [error.message];
      }
    }
  }
  return Object.fromEntries(values);
}

/** Return the input of the texts. Throws an error with `fields`, as the API does, for bad texts. */
export function readInput(fields, texts) {
  const faults = {};
  const value = readFields(fields, texts, faults);
  const [first] = Object.entries(faults);
  if (first) throw Object.assign(new Error(`${first[0]}: ${first[1]}`), { fields: faults });
  return value;
}

/** Return the messages by field: a fault belongs to its field, or to the one that holds it. */
export function faultsOf(fields, faults) {
  const places = leavesOf(fields).map(({ place }) => place);
  const found = {};
  for (const [place, messages] of Object.entries(faults)) {
    const holds = (known) =>
      place === known || place.startsWith(`${known}.`) || place.startsWith(`${known}[`);
    const nearest = places.filter(holds).at(-1);
    if (!nearest) continue;
    const about = place === nearest ? "" : `${place.slice(nearest.lastIndexOf(".") + 1)}: `;
    const texts = [messages].flat().map((message) => about + message);
    found[nearest] = [...(found[nearest] ?? []), ...texts];
  }
  return found;
}

/** Return the value of JSON text; nothing is an empty object. */
export function parseInput(text) {
  try {
    return JSON.parse(text || "{}");
  } catch (error) {
    throw new Error(`Input: not valid JSON (${error.message}).`);
  }
}

/** Return a value whose objects have their names in order, so that equal values have equal JSON. */
function sorted(value) {
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([name, inner]) => [name, sorted(inner)]);
  return Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** Return the fields that show the whole of an input. Throws an error if a part would be lost. */
export function fieldsFor(schema, input) {
  const fields = fieldsOf(schema, input);
  const shown = readInput(fields, textsOf(fields));
  if (JSON.stringify(sorted(shown)) === JSON.stringify(sorted(input))) return fields;
  throw new Error("The form cannot show a part of this input. Edit it as JSON.");
}

/** Return the tags of a text such as `team=security, order=17`. */
export function parseTags(text) {
  const read = (tag) => {
    const [, key, value] = /^\s*([^=]+?)\s*=\s*(.+?)\s*$/.exec(tag) ?? [];
    if (key) return [key, value];
    throw new Error(`Tags: ${tag.trim() || "an empty tag"} is not in the form team=security.`);
  };
  return Object.fromEntries(text.split(",").map(read));
}

/** Return the text of tags. */
export const writeTags = (tags) =>
  Object.entries(tags)
    .map(([key, value]) => `${key}=${value}`)
    .join(", ");
