// The keyboard: / searches, j and k walk over the rows, x selects, Enter opens, ? lists the keys.

import { ask, CheckBox, html } from "./ui/index.js";

const OFF = "ava.keys.off";
const KEYS = {
  "/": "Go to the search",
  j: "Next row",
  k: "Previous row",
  x: "Select the row, or not",
  Enter: "Open the row",
  "a, d": "Approve or deny the request",
  Escape: "Close the panel",
  "?": "Show this list",
};
const ROW = "[role=row], .plain > li, .endpoint, .schedule";
const ROWS = "main .rows [role=row], main .plain > li, main .endpoint, main .schedule";
const SEARCHES = ["main [role=search] input", "[role=search] :is(input, select)"];
const FIELD = "input:not([type=checkbox]), select, textarea, [contenteditable]";

const rows = () =>
  [...document.querySelectorAll(ROWS)].filter(
    (row) => row.checkVisibility() && row.querySelector("a[href]"),
  );
/** The row whose record is open beside the list. */
const opened = () => document.querySelector("main .rows [aria-current=true]");
const current = () => document.activeElement?.closest(ROW) ?? opened();

/** Move the focus to the link of the row that is `step` rows further, and show the row. */
function walk(step) {
  const all = rows();
  if (!all.length) return;
  const here = all.indexOf(current());
  const first = step > 0 ? 0 : all.length - 1;
  const place = here === -1 ? first : Math.max(0, Math.min(all.length - 1, here + step));
  const link = /** @type {HTMLElement} */ (all[place].querySelector("a[href]"));
  link.focus({ preventScroll: true });
  all[place].scrollIntoView({ block: "nearest" });
  // With an open record, moving to a row opens its record.
  if (opened()) link.click();
}

const click = (element) => /** @type {HTMLElement | null} */ (element)?.click();
const focus = (element) => /** @type {HTMLElement | null} */ (element)?.focus();

const ACTS = {
  "/": () => focus(SEARCHES.map((each) => document.querySelector(each)).find(Boolean)),
  j: () => walk(1),
  k: () => walk(-1),
  x: () => click(current()?.querySelector("input[type=checkbox]")),
  "?": () => void ask({ title: "Keyboard", action: "Done", body: html`<${Keys} />` }),
};

/** The button for a key, of the open record, else of the current row, else of the first row. */
function actionOf(key) {
  if (!/^[a-z]$/.test(key)) return null;
  const from = document.querySelector(".panel") ?? current() ?? document.querySelector("main");
  const button = from.querySelector(`[aria-keyshortcuts="${key}"]:not(:disabled)`);
  return button && (() => click(button));
}

/** Listen for the keys. They can be switched off, because some people dictate. */
export function listen() {
  document.addEventListener("keydown", (event) => {
    const isModified = event.ctrlKey || event.metaKey || event.altKey;
    const target = /** @type {Element} */ (event.target);
    if (event.defaultPrevented || isModified || target.closest(FIELD)) return;
    if (document.querySelector("dialog[open]")) return;
    const isOff = localStorage.getItem(OFF) && event.key !== "?";
    const act = isOff ? null : (ACTS[event.key] ?? actionOf(event.key));
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/** The list of the keys, and the switch. */
function Keys() {
  const change = ({ target }) => {
    if (target.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
  };
  const line = ([key, text]) =>
    html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${text}</dd></div>`;
  return html`<dl class="keys">${Object.entries(KEYS).map(line)}</dl>
    <${CheckBox} label="Keys without Ctrl or Alt are on" onchange=${change}
      defaultChecked=${!localStorage.getItem(OFF)} />`;
}
