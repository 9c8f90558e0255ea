// Numbers, each with its label and a hint.

import { html } from "./preact.js";

/**
 * Tiles side by side: each a label, a value, a hint, where its value leads and whether it is bad.
 * @param {{ items: [string, any, any, { href?: string, kind?: "" | "bad" }?][] }} props
 */
export function Tiles({ items }) {
  const tile = ([label, value, hint, more]) => html`<div
    class="tile" key=${label} data-tile=${label}>
    <span>${label}</span>
    <strong class=${more?.kind}>
      ${more?.href ? html`<a href=${more.href}>${value}</a>` : value}
    </strong>
    <small>${hint}</small>
  </div>`;
  return html`<div class="tiles">${items.map(tile)}</div>`;
}
