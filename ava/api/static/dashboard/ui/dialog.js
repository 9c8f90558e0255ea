// Dialogs and notices.

import { plain } from "../format.js";
import { html, render, useLayoutEffect, useRef, useState } from "./preact.js";

/**
 * Show a message that disappears after some seconds.
 * @param {string} text
 * @param {"good" | "bad"} [kind]
 */
export function notify(text, kind = "good") {
  const line = document.createElement("p");
  line.className = `notice ${kind}`;
  line.textContent = plain(text);
  document.getElementById("notices").append(line);
  setTimeout(() => line.remove(), kind === "bad" ? 9000 : 4500);
}

/**
 * A form in a dialog. `onSubmit` gets the values of its fields by name; if it throws, the dialog
 * stays open and shows the message, else `onClose` follows.
 * @param {{ title: string, text?: import("preact").ComponentChildren, action: string,
 *   kind?: "primary" | "danger", onSubmit: (values: any) => any,
 *   onClose: () => void, children?: import("preact").ComponentChildren }} props
 */
function Dialog({ title, text, action, kind = "primary", onSubmit, onClose, children }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [refusal, setRefusal] = useState("");
  const [isBusy, setBusy] = useState(false);
  // An effect runs after the next frame; keys until then would reach the page behind the dialog.
  useLayoutEffect(() => {
    dialog.current.showModal();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await onSubmit(Object.fromEntries(new FormData(event.target)));
      dialog.current?.close();
    } catch (error) {
      setRefusal(error.message);
    } finally {
      setBusy(false);
    }
  };
  return html`<dialog ref=${dialog} aria-label=${title} onclose=${onClose}>
    <form method="dialog" onsubmit=${submit}>
      <h2>${title}</h2>
      ${text && html`<p>${text}</p>`}
      ${children}
      <p class="refusal" role="alert">${refusal}</p>
      <div class="row end">
        <button type="button" onclick=${() => dialog.current.close()}>Close</button>
        <button type="submit" class=${kind} disabled=${isBusy}>${action}</button>
      </div>
    </form>
  </dialog>`;
}

/**
 * Ask in a dialog. Returns what `submit` returns once it has succeeded, without one the values;
 * null if it is closed.
 * @param {{ title: string, text?: import("preact").ComponentChildren, action: string,
 *   kind?: "primary" | "danger",
 *   body?: import("preact").ComponentChildren, submit?: (values: any) => any }} question
 * @returns {Promise<any>}
 */
export function ask({ title, text, action, kind, body, submit }) {
  const place = document.createElement("div");
  document.body.append(place);
  return new Promise((resolve) => {
    let answer = null;
    const onSubmit = async (values) => {
      answer = submit ? ((await submit(values)) ?? values) : values;
    };
    const onClose = () => {
      render(null, place);
      place.remove();
      resolve(answer);
    };
    render(
      html`<${Dialog} ...${{ title, text, action, kind, onSubmit, onClose }}>${body}<//>`,
      place,
    );
  });
}
