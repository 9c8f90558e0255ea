// Labelled fields: a line, several lines, a choice, a checkbox, a time of the page's zone, JSON.

import { toTyped, zone } from "../format.js";
import { Field, Select } from "./elements.js";
import { html } from "./preact.js";

/**
 * @typedef {{ label: string, name: string, hint?: string, value?: any, [attribute: string]: any }}
 *   Props
 */

/** @param {Props} props */
export const Input = ({ label, hint, value = "", ...rest }) =>
  html`<${Field} label=${label} hint=${hint}>
    <input autocomplete="off" ...${rest} defaultValue=${value} />
  <//>`;

/** @param {Props} props */
export const TextArea = ({ label, hint, value = "", ...rest }) =>
  html`<${Field} label=${label} hint=${hint}>
    <textarea rows="6" class="mono" spellcheck=${false} ...${rest} defaultValue=${value} />
  <//>`;

const ruleText = (rule) => (rule ? JSON.stringify(rule) : "");

/**
 * The field for the rule of an approval before the start.
 * @param {{ rule?: object | null }} props
 */
export const ApprovalField = ({ rule }) => html`<${TextArea} label="Approval before the start"
  name="approval" rows="3" value=${ruleText(rule)}
  hint='Such as {"title": "Refund?", "when": {"amount": [500]}}; empty: none' />`;

/** Return what the field's text changes; a rule that is hidden from the user stays. */
export function changedApproval({ approval }, rule = null) {
  const text = approval.trim();
  return text === ruleText(rule) ? {} : { approval: readJson("Approval", text) };
}

/** @param {Props} props */
export const Choice = ({ label, hint, ...rest }) =>
  html`<${Field} label=${label} hint=${hint}><${Select} ...${rest} /><//>`;

/** @param {{ label: string, [attribute: string]: any }} props */
export const CheckBox = ({ label, ...rest }) =>
  html`<label class="row check"><input type="checkbox" ...${rest} />${label}</label>`;

/**
 * A field for a time, which `typedMoment` of format.js reads. Its hint names the zone of the page.
 * @param {Props} props
 */
export const MomentField = ({ value, hint, ...rest }) =>
  html`<${Input} ...${rest} type="datetime-local" value=${toTyped(value)}
    hint=${`${hint ? `${hint}; in` : "In"} ${zone.fullName}`} />`;

/**
 * Read the JSON of a field; null if it is empty. Throws an error that begins with the field's name.
 * @param {string} name
 * @param {string} text
 */
export function readJson(name, text) {
  if (!text.trim()) return null;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
}
