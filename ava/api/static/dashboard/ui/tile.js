// A number with its label and a hint.

import { html } from "./preact.js";

/**
 * @param {{ label: string, value: any, hint?: any, href?: string, kind?: "" | "bad" }} props
 */
export function Tile({ label, value, hint, href, kind = "" }) {
  return html`<div class="tile" data-tile=${label}>
    <span>${label}</span>
    <strong class=${kind}>${href ? html`<a href=${href}>${value}</a>` : value}</strong>
    <small>${hint}</small>
  </div>`;
}

/** Tiles side by side: each a label, a value, a hint, and further properties of its tile. */
export function Tiles({ items }) {
  return html`<div class="tiles">
    ${items.map(
      ([label, value, hint, more]) =>
        html`<${Tile} key=${label} label=${label} value=${value} hint=${hint} ...${more} />`,
    )}
  </div>`;
}
