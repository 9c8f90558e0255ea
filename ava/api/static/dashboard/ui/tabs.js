// Tabs, and menus of actions.

import { number } from "../format.js";
import { notify } from "./dialog.js";
import { classes } from "./elements.js";
import { Icon } from "./icons.js";
import { html, useRef, useState } from "./preact.js";

/**
 * Return the place that a key moves to among so many places; null for another key.
 * @param {string} key
 * @param {number} at
 * @param {number} count
 */
export function placeAfter(key, at, count) {
  if (key === "Home") return 0;
  if (key === "End") return count - 1;
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
  return step ? (at + step + count) % count : null;
}

let tabsNumber = 0;

/**
 * Tabs. Items are a key, a title, and a count that may be null. The content follows as the only
 * child.
 * @param {{ label: string, items: [string, string, (number | string | null)?][], current: string,
 *   onSelect: (key: string) => void, children?: import("preact").ComponentChildren }} props
 */
export function Tabs({ label, items, current, onSelect, children }) {
  const [id] = useState(() => `tabs-${++tabsNumber}`);
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const move = (event) => {
    const place = placeAfter(
      event.key,
      items.findIndex(([key]) => key === current),
      items.length,
    );
    if (place === null || event.key === "ArrowDown" || event.key === "ArrowUp") return;
    event.preventDefault();
    onSelect(items[place][0]);
    /** @type {HTMLElement} */ (list.current.children[place]).focus();
  };
  const tab = ([key, title, count]) => html`<button type="button" role="tab" key=${key}
    id=${`${id}-${key}`}
    aria-selected=${key === current}
      aria-controls=${children && key === current ? `${id}-panel` : undefined}
    tabindex=${key === current ? 0 : -1} onclick=${() => onSelect(key)}>${title}
    ${
      count !== null &&
      count !== undefined &&
      html`<span class="count">
    ${typeof count === "number" ? number(count) : count}</span>`
    }
  </button>`;
  return html`
    <div class="tabs" role="tablist" aria-label=${label} ref=${list} onkeydown=${move}>
      ${items.map(tab)}
    </div>
    ${
      children &&
      html`<div role="tabpanel" id=${`${id}-panel`}
      aria-labelledby=${`${id}-${current}`}>${children}</div>`
    }`;
}

/**
 * A button that opens a menu of actions.
 * @param {{ label: string, icon: string, items: any[] }} props each item is
 *   `{ label, action, kind, disabled }`
 */
export function Menu({ label, icon, items }) {
  const [id] = useState(() => `menu-${++tabsNumber}`);
  const button = useRef(/** @type {HTMLElement | null} */ (null));
  const menu = useRef(/** @type {HTMLElement | null} */ (null));
  const entries = () =>
    /** @type {HTMLElement[]} */ ([...menu.current.querySelectorAll("button:not(:disabled)")]);
  const place = (event) => {
    if (event.newState !== "open") return;
    const from = button.current.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = menu.current;
    const isBelow = from.bottom + height + 4 < innerHeight;
    const left = Math.max(8, Math.min(from.right - width, innerWidth - width - 8));
    menu.current.style.left = `${left}px`;
    menu.current.style.top = `${isBelow ? from.bottom + 4 : Math.max(8, from.top - height - 4)}px`;
    entries()[0]?.focus();
  };
  const move = (event) => {
    const all = entries();
    const next = placeAfter(
      event.key,
      all.indexOf(/** @type {any} */ (document.activeElement)),
      all.length,
    );
    if (next === null) return;
    event.preventDefault();
    all[next].focus();
  };
  const run = async (action) => {
    menu.current.hidePopover();
    try {
      await action();
    } catch (error) {
      notify(error.message, "bad");
    }
  };
  return html`<span class="menu-of">
    <button type="button" ref=${button} popovertarget=${id} aria-haspopup="menu">
      <${Icon} name=${icon} />${label}</button>
    <div class="menu-list" popover="auto" id=${id} role="menu" aria-label=${label} ref=${menu}
      ontoggle=${place}
      onkeydown=${move}>
      ${items.map(
        (item) => html`<button type="button" role="menuitem" key=${item.label} tabindex="-1"
          class=${classes("quiet", item.kind)} disabled=${item.disabled}
          onclick=${() => run(item.action)}>${item.label}</button>`,
      )}
    </div>
  </span>`;
}
