// The keyboard: / searches, j and k walk over the rows, x selects one, Enter opens it, ? shows this list.

import { h } from "./dom.js";

const OFF = "ava.keys.off";
const KEYS = [
  ["/", "Go to the search"],
  ["j", "Next row"],
  ["k", "Previous row"],
  ["x", "Select the row, or not"],
  ["Enter", "Open the row"],
  ["?", "Show this list"],
];

const isTyping = (target) => target.closest?.("input:not([type=checkbox]), select, textarea, [contenteditable]") !== null;
const rows = () => [...document.querySelectorAll("main .rows [role=row], main .plain > li, main .endpoint, main .schedule")]
  .filter((row) => row.checkVisibility() && row.querySelector("a[href]"));
const current = () => document.activeElement?.closest("[role=row], .plain > li, .endpoint, .schedule");

/** Move the focus to the link of the row that is so many rows further, and show the row. */
function walk(step) {
  const all = rows();
  if (!all.length) return;
  const here = all.indexOf(current());
  const next = all[Math.max(0, Math.min(all.length - 1, here === -1 ? (step > 0 ? 0 : all.length - 1) : here + step))];
  next.querySelector("a[href]").focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

const ACTS = {
  "/": () => document.querySelector("[role=search] :is(input, select)")?.focus(),
  j: () => walk(1),
  k: () => walk(-1),
  x: () => current()?.querySelector("input[type=checkbox]")?.click(),
  "?": showKeys,
};

/** Listen for the keys for as long as the page is open. They can be switched off, because some people dictate. */
export function listen() {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]") || (localStorage.getItem(OFF) && event.key !== "?")) return;
    const act = ACTS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function showKeys() {
  const box = h("input", { type: "checkbox", checked: !localStorage.getItem(OFF), onchange: (event) =>
    (event.target.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")) });
  const dialog = h("dialog", { "aria-label": "Keyboard", onclose: () => dialog.remove() }, h("form", { method: "dialog" },
    h("h2", {}, "Keyboard"),
    h("dl", { class: "keys" }, KEYS.map(([key, text]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)))),
    h("label", { class: "row check" }, box, "Keys without Ctrl or Alt are on"),
    h("div", { class: "row end" }, h("button", { class: "primary" }, "Close"))));
  document.body.append(dialog);
  dialog.showModal();
}
