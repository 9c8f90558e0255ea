// The controls of an input: a form by the schema of its worker, with JSON as the alternative.

import { get } from "./api.js";
import * as model from "./input_model.js";
import { Button, Field, html, Select, useEffect, useRef, useState } from "./ui/index.js";

const ROWS = { string: 1, list: 3, json: 2 };
const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** The control of one field; the rest are the attributes that its label and its hint need. */
function Control({ field, text, onText, ...rest }) {
  const { kind, part, place: name } = field;
  const common = { ...rest, name, value: text };
  const oninput = (event) => onText(event.target.value);
  if (kind === "boolean" || kind === "choice") {
    const values = kind === "boolean" ? model.BOOLEANS : part.enum;
    const options = [["", "–"], ...values.map((value, place) => [String(place), written(value)])];
    return html`<${Select} ...${common} options=${options} onchange=${onText} />`;
  }
  if (kind === "integer" || kind === "number") {
    return html`<input ...${common} type="number" step=${kind === "integer" ? "1" : "any"}
      min=${part.minimum} max=${part.maximum} oninput=${oninput} />`;
  }
  return html`<textarea ...${common} rows=${ROWS[kind]} spellcheck="false" class="growing"
    oninput=${oninput}></textarea>`;
}

/** The fields of an object, and within it those of its inner objects. */
function Fields({ fields, texts, faults, onText }) {
  const leaf = (field) => html`<${Field} key=${field.place} label=${field.label} hint=${field.hint}
    error=${(faults[field.place] ?? []).join(" ")}>
    <${Control} field=${field} text=${texts[field.place] ?? ""}
      onText=${(text) => onText(field.place, text)} /><//>`;
  const inner = (field) => html`<fieldset class="events" key=${field.place}>
    <legend>${field.label}</legend>
    <${Fields} ...${{ fields: field.fields, texts, faults, onText }} />
  </fieldset>`;
  const draw = (field) => (field.kind === "object" ? inner(field) : leaf(field));
  return html`<div class="more">${fields.map(draw)}</div>`;
}

/**
 * The editor of an input. `editor.current` becomes what reads it: `value()`, which throws an error
 * if it cannot be read, and `show(faults)`, which shows the API's faults at their fields. With
 * `workerId` the input of the worker's newest job can be taken.
 */
export function InputEditor({ schema, editor, workerId = null }) {
  const [fields, setFields] = useState(() => model.fieldsOf(schema));
  const [texts, setTexts] = useState(() => model.textsOf(fields ?? []));
  const [json, setJson] = useState("{}");
  const [faults, setFaults] = useState({});
  const [note, setNote] = useState("");
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const value = () => (fields ? model.readInput(fields, texts) : model.parseInput(json));
  const show = (found) => setFaults(fields ? model.faultsOf(fields, found) : {});
  editor.current = { value, show };
  useEffect(() => {
    /** @type {HTMLElement} */ (element.current.querySelector("[aria-invalid=true]"))?.focus();
  }, [faults]);
  const fill = (input) => {
    const next = model.fieldsFor(schema, input);
    setFields(next);
    setTexts(model.textsOf(next));
  };
  const fillJson = (input) => {
    setJson(JSON.stringify(input, null, 2));
    setFields(null);
  };
  const change = () => {
    if (fields) fillJson(value());
    else fill(model.parseInput(json));
    setFaults({});
  };
  const fillWithLast = async () => {
    const query = { "filter[worker_id]": workerId, per_page: "1", fields: "input" };
    const [job] = (await get("/v1/ava/jobs", { query })).data;
    if (!job?.input) throw new Error("The worker has no job whose input can be shown.");
    setFaults({});
    try {
      fill(job.input);
    } catch {
      // The form cannot show all of it.
      fillJson(job.input);
    }
  };
  const toggle = () => {
    setNote("");
    try {
      change();
    } catch (error) {
      show(error.fields ?? {});
      setNote(error.message);
    }
  };
  const write = (place, text) => setTexts((before) => ({ ...before, [place]: text }));
  return html`<div class="more" ref=${element}>
    ${
      fields
        ? html`<${Fields} ...${{ fields, texts, faults }} onText=${write} />`
        : html`<${Field} label="Input" hint="A JSON object">
            <textarea name="input" rows="6" spellcheck="false" value=${json}
              oninput=${(event) => setJson(event.target.value)}></textarea><//>`
    }
    <div class="row">
      ${
        model.fieldsOf(schema) &&
        html`<${Button} kind="quiet" onclick=${toggle}>${fields ? "As JSON" : "As a form"}<//>`
      }
      ${workerId && html`<${Button} kind="quiet" onclick=${fillWithLast}>Last input<//>`}
      <small>${note}</small>
    </div>
  </div>`;
}
