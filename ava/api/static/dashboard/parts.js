// Components that several pages use.

import { call, Unreachable } from "./api.js";
import { h, put, say } from "./dom.js";
import { ago, full, moment, toTyped, zone } from "./format.js";
import { feed } from "./freshness.js";
import { session } from "./session.js";

/** Whose jobs the busy processes of a node run, as far as it is shown: those of all tenants only to a platform role. */
export const whose = () => (session.get().isOperator ? "" : " with your jobs");

/** How many processes of a node are busy. One that works through a group of brief jobs has several jobs. */
export const places = (node) => (node.has_slots ? "slots" : "processes");
export const busyProcesses = (node) => Math.min(node.busy, node.processes);

/** A state as a word with a coloured dot; colour is never the only sign. */
export function pill(state) {
  const element = h("span", { class: "pill" });
  const part = { element, update: (name) => (say(element, name), (element.dataset.state = name)) };
  if (state) part.update(state);
  return part;
}

/** A time as how long ago, kept up to date; the exact time is its title. With `isExact` it is the other way around. */
export function when(text, isExact = false) {
  const element = h("time", { "data-exact": isExact });
  const part = {
    element,
    update(value) {
      element.dateTime = value ?? "";
      element.title = value ? `${full(value)}${isExact ? `, ${ago(value)}` : ""}` : "";
      say(element, isExact ? moment(value) : ago(value));
    },
  };
  part.update(text);
  return part;
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[datetime]:not([data-exact])")) {
    if (element.dateTime) say(element, ago(element.dateTime));
  }
}, 1000);

/** A box with a heading. */
export const card = (title, { id, actions, wide } = {}, ...children) =>
  h("section", { class: wide ? "card wide" : "card", ...(id ? { id } : {}), "aria-label": title },
    h("header", {}, h("h2", {}, title), actions ?? null), ...children);

/** The titles of a table. A column of controls has a title that is not shown. */
export const titles = (names, controls = "Actions") => h("div", { role: "rowgroup", class: "head" }, h("div", { role: "row" },
  names.map((name) => h("span", { role: "columnheader" }, name || h("span", { class: "unseen" }, controls)))));

/** A number with its label and a hint. */
export function tile(label) {
  const value = h("strong", {}, "–");
  const hint = h("small", {});
  const element = h("div", { class: "tile", "data-tile": label }, h("span", {}, label), value, hint);
  return { element, update: (text, more) => (say(value, text), say(hint, more)) };
}

/** What is shown in place of a list without records: why it is empty, and the next step. */
export const empty = (...content) => h("p", { class: "empty" }, ...content);

/** A message that disappears after some seconds. */
export function notify(text, kind = "good") {
  const line = h("p", { class: `notice ${kind}` }, text);
  document.getElementById("notices").append(line);
  setTimeout(() => line.remove(), kind === "bad" ? 9000 : 4500);
}

/** A button that runs `act`, one call at a time, and shows the message of an error. */
export function button(label, act, { kind = "", ...attributes } = {}) {
  const element = h("button", { type: "button", class: kind, ...attributes }, label);
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await act();
    } catch (error) {
      notify(error.message, "bad");
    } finally {
      element.disabled = false;
    }
  });
  return element;
}

/** A form in a dialog. If `submit(values)` throws, the dialog stays open and shows the message. */
export function ask({ title, fields = [], text, action, kind = "primary", submit }) {
  const refusal = h("p", { class: "refusal", role: "alert" });
  const form = h("form", { method: "dialog" },
    h("h2", {}, title), text ? h("p", {}, text) : null, ...fields, refusal,
    h("div", { class: "row end" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
      h("button", { type: "submit", class: kind }, action)));
  const dialog = h("dialog", { "aria-label": title, onclose: () => dialog.remove() }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const submitter = form.querySelector("[type=submit]");
    submitter.disabled = true;
    try {
      await submit(Object.fromEntries(new FormData(form)));
      dialog.close();
    } catch (error) {
      say(refusal, error.message);
    } finally {
      submitter.disabled = false;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

let fieldNumber = 0;

/** A labelled control. */
export function field(label, control, hint) {
  control.id ||= `field-${(fieldNumber += 1)}`;
  const about = hint ? h("small", { id: `${control.id}-hint` }, hint) : null;
  if (about) control.setAttribute("aria-describedby", about.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, about);
}

/** A field for a moment, empty or as it is `at`. Its hint names the zone: the one in which the page shows its times. */
export function momentField(label, name, { at = null, hint = "", required = false } = {}) {
  const control = h("input", { name, type: "datetime-local", value: toTyped(at), required });
  return field(label, control, `${hint ? `${hint}; in` : "In"} ${zone.fullName}`);
}

export const options = (choices, chosen) =>
  choices.map(([value, text]) => h("option", { value, selected: value === chosen }, text ?? value));

/** JSON as coloured text: the output of JSON.stringify, cut into tokens and only ever inserted as text. */
export function json(value) {
  const text = JSON.stringify(value, null, 2) ?? "null";
  const block = h("pre", { class: "json", tabindex: "0" });
  const tokens = text.length > 200000 ? [text] : text.match(/"(?:\\.|[^"\\])*"(?:\s*:)?|-?\d[\d.eE+-]*|true|false|null|[^"\d-]+|-/g) ?? [];
  for (const token of tokens) {
    const kind = token.startsWith('"') ? (token.endsWith(":") ? "key" : "string") : /^-?\d/.test(token) ? "number" : /^(true|false|null)$/.test(token) ? "word" : "";
    block.append(kind ? h("span", { class: kind }, token) : token);
  }
  return block;
}

/** Seconds after which a call that has not ended counts as failed, as in a network that was cut. */
const LATE_SECONDS = 8;

/**
 * Run `act` now and every few seconds while the page is visible, until `signal` aborts. While it fails, a banner says so
 * and how old the page is.
 */
export function repeat(signal, seconds, act) {
  const state = feed(signal);
  let timer;
  let newest = 0;
  let failing = false;
  const turn = async () => {
    clearTimeout(timer);
    const own = (newest += 1);
    // Of several calls that are under way only the newest may fail the page.
    const fail = (error) => {
      if (own !== newest || signal.aborted) return;
      failing = true;
      state.bad(error);
    };
    if (!document.hidden) {
      const late = setTimeout(fail, LATE_SECONDS * 1000, new Unreachable(`The API has not responded for ${LATE_SECONDS} s.`));
      try {
        await act();
        failing = false;
        if (!signal.aborted) state.good();
      } catch (error) {
        if (error.status === undefined && !(error instanceof Unreachable) && error.name !== "AbortError") console.error(error);
        if (error.status !== 401 && error.name !== "AbortError") fail(error);
      } finally {
        clearTimeout(late);
      }
    }
    if (!signal.aborted && own === newest) timer = setTimeout(turn, seconds * 1000 * (failing ? 2 : 1));
  };
  const wake = () => document.hidden || turn();
  document.addEventListener("visibilitychange", wake, { signal });
  window.addEventListener("online", wake, { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
  return turn;
}

/**
 * What a page reads of one record again and again: `start(signal)` begins it and returns the function that reads now. It
 * ends before the record is deleted, because a later request would not find the record, and begins again if the API
 * refuses to delete it.
 */
export class RecordReads {
  #own;

  constructor(signal, start) {
    Object.assign(this, { signal, start });
    this.#begin();
  }

  #begin() {
    this.#own = new AbortController();
    this.now = this.start(AbortSignal.any([this.signal, this.#own.signal]));
  }

  end() {
    this.#own.abort();
  }

  async delete(path) {
    this.end();
    try {
      await call("DELETE", path);
    } catch (error) {
      this.#begin();
      throw error;
    }
  }
}

export const heading = (title, ...actions) => h("div", { class: "heading" }, h("h1", {}, title), h("div", { class: "row" }, ...actions));

export { put };
