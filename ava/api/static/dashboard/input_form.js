// The controls of an input, made from the JSON Schema of its worker. The API checks the input; nothing is checked here.

import { h, put, say } from "./dom.js";
import { field, options } from "./parts.js";

const SCALARS = ["string", "integer", "number"];

/** Returns a text without its percent-encoding, or as it is if it has none. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Returns the part of the schema that a reference such as `#/$defs/address` names; undefined if there is none. */
function referenced(root, reference) {
  const names = decoded(reference).split("/").slice(1).map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce((found, name) => found?.[name], root);
}

/** Returns the part of the schema that a reference within it and a choice between a type and null stand for. */
function resolve(part, root) {
  const target = typeof part?.$ref === "string" ? referenced(root, part.$ref) : part;
  const choices = (target?.anyOf ?? []).filter((choice) => choice.type !== "null");
  return choices.length === 1 ? { ...target, ...(choices[0].$ref ? resolve(choices[0], root) : choices[0]) } : target ?? {};
}

/** Returns the one type of a part, beside null; null if there are several. */
function typeOf(part) {
  const types = [part.type ?? []].flat().filter((type) => type !== "null");
  return types.length === 1 ? types[0] : null;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const hasFields = (part) => typeOf(part) === "object" && isObject(part.properties) && Object.keys(part.properties).length > 0;

function kindOf(part, root, isInner) {
  if (Array.isArray(part.enum) && part.enum.length && part.enum.every((value) => !isObject(value) && !Array.isArray(value))) return "choice";
  const type = typeOf(part);
  if (type === "boolean" || SCALARS.includes(type)) return type;
  if (type === "array" && SCALARS.includes(typeOf(resolve(part.items, root)))) return "list";
  return !isInner && hasFields(part) ? "object" : "json";
}

/** The kinds of controls: each makes one that shows `initial`, and reads it as text. An empty one is left out. */
const KINDS = {
  string: { make: (part, initial) => area(1, typeof initial === "string" ? initial : ""), read: (text) => text },
  integer: { make: (part, initial) => numeric(part, initial, "1"), read: readNumber },
  number: { make: (part, initial) => numeric(part, initial, "any"), read: readNumber },
  boolean: { make: (part, initial) => choice([false, true], initial), read: (text) => text === "1" },
  choice: { make: (part, initial) => choice(part.enum, initial), read: (text, part) => part.enum[Number(text)] },
  list: {
    hint: "One per line",
    make: (part, initial) => area(3, Array.isArray(initial) ? initial.join("\n") : ""),
    read: (text, part, root) => text.split("\n").filter(Boolean).map(typeOf(resolve(part.items, root)) === "string" ? String : readNumber),
  },
  json: { hint: "JSON", make: (part, initial) => area(2, initial === undefined ? "" : JSON.stringify(initial, null, 2)), read: readJson },
};

const area = (rows, text) => h("textarea", { rows: String(rows), spellcheck: "false", class: "growing" }, text);
const numeric = (part, initial, step) => h("input", { type: "number", step, min: part.minimum, max: part.maximum, value: typeof initial === "number" ? String(initial) : null });
const choice = (values, initial) => h("select", {}, options(
  [["", "–"], ...values.map((value, place) => [String(place), typeof value === "string" ? value : JSON.stringify(value)])], String(values.indexOf(initial))));

function readNumber(text) {
  const value = Number(text);
  if (Number.isNaN(value)) throw new Error(`${text} is not a number.`);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) throw new Error("The number has more digits than this page can send.");
  return value;
}

function readJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Not valid JSON (${error.message}).`);
  }
}

/** A control with its label, its hint and what is wrong with it. */
function leaf({ place, name, part, root, kind, isRequired, initial }) {
  const { hint, make, read } = KINDS[kind];
  const control = make(part, initial);
  control.setAttribute("name", place);
  const absent = part.default === undefined ? null : `Default: ${JSON.stringify(part.default)}`;
  const hints = [isRequired ? "Required" : null, part.description, hint, absent].filter(Boolean);
  const element = field(part.title ?? name, control, hints.join(" · "));
  const fault = h("p", { class: "refusal", id: `${control.id}-fault` });
  element.append(fault);
  control.setAttribute("aria-describedby", [control.getAttribute("aria-describedby"), fault.id].filter(Boolean).join(" "));
  return {
    element,
    read: () => (control.value === "" ? undefined : read(control.value, part, root)),
    show(messages) {
      say(fault, messages.join(" "));
      control.setAttribute("aria-invalid", String(messages.length > 0));
      if (messages.length) control.focus();
    },
  };
}

/** The form of an object: its leaves by their places, such as `input.channel`. */
function group({ place, part, root, initial, isInner, leaves }) {
  // Another name of a field stands for it only where the input has it.
  const isShown = ([name, declared]) => !resolve(declared, root).deprecated || initial?.[name] !== undefined;
  const entries = Object.entries(part.properties).filter(isShown).map(([name, declared]) => {
    const inner = resolve(declared, root);
    const isRequired = (part.required ?? []).includes(name);
    const kind = kindOf(inner, root, isInner);
    const about = { place: `${place}.${name}`, name, part: inner, root, kind, isRequired, initial: initial?.[name], isInner: true, leaves };
    const made = kind === "object" ? group(about) : leaf(about);
    if (kind !== "object") leaves.set(about.place, made);
    const element = kind === "object" ? h("fieldset", { class: "events" }, h("legend", {}, inner.title ?? name), made.element) : made.element;
    return { ...made, element, name, isRequired, place: about.place };
  });
  return {
    element: h("div", { class: "more" }, entries.map((entry) => entry.element)),
    read(faults) {
      const values = [];
      for (const entry of entries) {
        try {
          const value = entry.read(faults);
          // If all fields of an object are omitted, the object is omitted too, unless it is required.
          const isLeftOut = value === undefined || (isObject(value) && !leaves.has(entry.place) && !entry.isRequired && !Object.keys(value).length);
          if (!isLeftOut) values.push([entry.name, value]);
        } catch (error) {
          faults[entry.place] = [error.message];
        }
      }
      return Object.fromEntries(values);
    },
  };
}

/** Returns the form of a schema; null if its fields are not named. */
export function inputForm(schema, initial = {}) {
  const part = resolve(schema, schema);
  if (!hasFields(part)) return null;
  const leaves = new Map();
  const made = group({ place: "input", part, root: schema, initial, isInner: false, leaves });
  /** Show each fault at the field that it is about, or that holds what it is about. */
  const show = (faults) => {
    const found = new Map([...leaves.keys()].map((place) => [place, []]));
    for (const [place, messages] of Object.entries(faults)) {
      const nearest = [...leaves.keys()].filter((known) => place === known || place.startsWith(`${known}.`) || place.startsWith(`${known}[`)).at(-1);
      found.get(nearest)?.push(...[messages].flat().map((message) => (place === nearest ? message : `${place.slice(nearest.lastIndexOf(".") + 1)}: ${message}`)));
    }
    for (const [place, messages] of [...found].reverse()) leaves.get(place).show(messages);
  };
  return {
    element: made.element,
    show,
    /** Returns the input. Throws an error with `fields`, as the API's, if a field cannot be read. */
    value() {
      const faults = {};
      const value = made.read(faults);
      const [first] = Object.entries(faults);
      if (first) throw Object.assign(new Error(`${first[0]}: ${first[1]}`), { fields: faults });
      return value;
    },
  };
}

/** Returns the value of JSON text; nothing is an empty object. */
export function parseInput(text) {
  try {
    return JSON.parse(text || "{}");
  } catch (error) {
    throw new Error(`Input: not valid JSON (${error.message}).`);
  }
}

const sorted = (value) => (isObject(value) ? Object.fromEntries(Object.entries(value).sort().map(([name, inner]) => [name, sorted(inner)])) : value);
const isSame = (one, other) => JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));

/** The input of a job: a form if its worker has a schema, with JSON as the alternative. */
export function inputEditor() {
  const text = h("textarea", { name: "input", rows: "6", spellcheck: "false" }, "{}");
  const whole = field("Input", text, "A JSON object");
  const body = h("div", {});
  const change = h("button", { type: "button", class: "quiet" });
  const note = h("small", {});
  const element = h("div", { class: "more" }, body, h("div", { class: "row" }, change, note));
  let schema = null;
  let form = null;
  const draw = () => {
    put(body, form ? form.element : whole);
    say(change, form ? "As JSON" : "As a form");
    say(note, "");
    change.hidden = !inputForm(schema ?? {});
  };
  const toForm = () => {
    const given = parseInput(text.value);
    const next = inputForm(schema, given);
    if (!isSame(next.value(), given)) throw new Error("The form cannot show a part of this input. Edit it as JSON.");
    form = next;
  };
  const toText = () => {
    text.value = JSON.stringify(form.value(), null, 2);
    form = null;
  };
  change.addEventListener("click", () => {
    try {
      form ? toText() : toForm();
      draw();
    } catch (error) {
      form?.show(error.fields ?? {});
      say(note, error.message);
    }
  });
  return {
    element,
    /** Take the schema of another worker; null if it has none. */
    take(next) {
      schema = next;
      form = next ? inputForm(next) : null;
      if (form) text.value = "{}";
      draw();
    },
    value: () => (form ? form.value() : parseInput(text.value)),
    show: (faults) => form?.show(faults),
  };
}
