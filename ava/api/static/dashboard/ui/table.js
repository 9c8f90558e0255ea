// Tables of records (lists of cards on a phone) with paging and a side panel.

import { number } from "../format.js";
import { addressWith, useQuery } from "./address.js";
import { Button, classes } from "./elements.js";
import { html, useEffect, useRef } from "./preact.js";

/**
 * A column. `width` is a track of a CSS grid; the content of `cell` becomes a link to the row if
 * `isLink`, which without any such column is the first.
 * @typedef {{ key: string, title: string, width?: string,
 *   cell: (row: any) => import("preact").ComponentChildren,
 *   numeric?: boolean, isLink?: boolean, class?: string }} Column
 */

/**
 * A table. Rows are kept by `keyOf`, so that an update moves neither the focus nor a selected text.
 * With `onOpen` a click or Enter opens the row in place; `href` is its own page. `selected` is a
 * set of keys, with `onSelect` told of each change. Keys: j and k walk, Enter opens, x selects (see
 * keys.js). `after` draws a line of its own in a row.
 * @param {{ label: string, columns: Column[], rows: any[] | null, keyOf?: (row: any) => string,
 *   href?: (row: any) => string, selected?: { has: (key: string) => boolean },
 *   current?: string | null, onOpen?: (row: any) => void,
 *   onSelect?: (key: string, isSelected: boolean, row: any) => void,
 *   after?: (row: any) => import("preact").ComponentChildren,
 *   attributes?: (row: any) => Record<string, any>,
 *   empty?: import("preact").ComponentChild, class?: string }} props
 */
export function Table({
  label,
  columns,
  rows,
  keyOf = (row) => row.id,
  selected,
  empty,
  class: name,
  ...rest
}) {
  if (rows?.length === 0) return empty;
  const canSelect = Boolean(rest.onSelect);
  const widths = [canSelect && "1.2rem", ...columns.map(({ width }) => width ?? "minmax(0, 1fr)")];
  const style = { "--columns": widths.filter(Boolean).join(" ") };
  return html`<div class=${classes("table", name)} role="table" aria-label=${label} style=${style}>
    <div class="head" role="rowgroup"><div role="row">
      ${canSelect && html`<span role="columnheader"><span class="unseen">Select</span></span>`}
      ${columns.map(
        (column) => html`<span role="columnheader" key=${column.key}
        class=${column.numeric && "numeric"}>
        ${column.title || html`<span class="unseen">Actions</span>`}</span>`,
      )}
    </div></div>
    <div class="rows" role="rowgroup">
      ${(rows ?? []).map(
        (row) => html`<${Row} key=${keyOf(row)} id=${keyOf(row)} row=${row}
        columns=${columns}
        isSelected=${selected?.has(keyOf(row)) ?? false} ...${rest} />`,
      )}
    </div>
  </div>`;
}

/** A click on a control, or one that ends the selection of a text, does not open the row. */
const isElsewhere = (event) =>
  event.target.closest("a, button, input, select, textarea, label, summary, .choose") ||
  !getSelection().isCollapsed;
const isPlain = (event) =>
  !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button);

function Row({ id, row, columns, isSelected, onSelect, onOpen, href, after, attributes, current }) {
  const open = (event) => {
    if (!isPlain(event)) return;
    event.preventDefault();
    onOpen(row);
  };
  const more = after?.(row);
  const linked = columns.find((column) => column.isLink) ?? columns[0];
  const content = (column) =>
    href && column === linked
      ? html`<a href=${href(row)} onclick=${onOpen && open}>${column.cell(row)}</a>`
      : column.cell(row);
  return html`<div role="row" data-key=${id} ...${attributes?.(row)}
    aria-current=${current === id ? "true" : undefined}
    class=${classes(onOpen && "opens", isSelected && "selected")}
      onclick=${onOpen && ((event) => isElsewhere(event) || open(event))}>
    ${
      onSelect &&
      html`<span role="cell" class="choose"><input type="checkbox" aria-label=${`Select ${id}`}
        checked=${isSelected}
        onchange=${(event) => onSelect(id, event.currentTarget.checked, row)} /></span>`
    }
    ${columns.map(
      (column) => html`<span role="cell" key=${column.key}
      data-label=${column.title || undefined}
      class=${classes(column.numeric && "numeric", column.class)}>${content(column)}</span>`,
    )}
    ${more && html`<span role="cell" class="whole">${more}</span>`}
  </div>`;
}

/**
 * The pages of a list: how many match, and links to the next page and back to the first. The
 * address holds the cursor, or the number of the page for a sorted list.
 * @param {{ pagination: any, noun: [string, string] }} props
 */
export function Pager({ pagination, noun }) {
  const [query] = useQuery();
  if (!pagination) return null;
  const { page, total, has_more: hasMore, next_cursor: next } = pagination;
  const isFirst = !(query.get("cursor") || query.get("page"));
  const count =
    total === undefined || total === null ? null : total >= 1000 ? "1,000 or more" : number(total);
  const link = (title, changes) =>
    html`<a href=${addressWith({ cursor: null, page: null, ...changes })}>${title}</a>`;
  return html`<nav class="row between pager" aria-label="Pages of the list">
    <span>${count !== null && `${count} ${noun[total === 1 ? 0 : 1]}`}</span>
    <span class="row">
      ${!isFirst && link(query.get("page") ? "First" : "Newest", {})}
      ${hasMore && next && link("Older", { cursor: next })}
      ${hasMore && !next && link("Next", { page: (page ?? 1) + 1 })}
    </span>
  </nav>`;
}

/**
 * A panel beside a list, which fills the screen of a phone. Escape closes it, and the focus returns
 * to where it was.
 * @param {{ title: import("preact").ComponentChildren, href?: string, label?: string,
 *   onClose: () => void, children?: import("preact").ComponentChildren }} props
 */
export function Panel({ title, href, label = "Details", onClose, children }) {
  const panel = useRef(/** @type {HTMLElement | null} */ (null));
  const close = useRef(onClose);
  close.current = onClose;
  useEffect(() => {
    const before = /** @type {HTMLElement | null} */ (document.activeElement);
    panel.current.focus({ preventScroll: true });
    const listen = (event) => {
      if (
        event.key !== "Escape" ||
        event.defaultPrevented ||
        document.querySelector("dialog[open], [popover]:popover-open")
      )
        return;
      close.current();
    };
    document.addEventListener("keydown", listen);
    return () => {
      document.removeEventListener("keydown", listen);
      if (before?.isConnected) before.focus({ preventScroll: true });
    };
  }, []);
  return html`<aside class="panel" aria-label=${label} tabindex="-1" ref=${panel}>
    <header>
      <h2>${title}</h2>
      <div class="row">
        ${href && html`<a class="button" href=${href}>Open page</a>`}
        <${Button} kind="quiet" icon="cross" title="Close" onclick=${onClose} />
      </div>
    </header>
    <div class="body">${children}</div>
  </aside>`;
}
