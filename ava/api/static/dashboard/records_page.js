// A page of records: a table whose rows open a panel, with the pause, actions and deletion of one.

import { call } from "./api.js";
import { titled } from "./format.js";
import { ask, Button, Empty, Heading, html, Id, mayWrite, Pager, page } from "./ui/index.js";
import { Panel, Pill, Table, Tabs, useApi, useEffect, useQuery } from "./ui/index.js";
import { useState, When } from "./ui/index.js";
import { PauseLine, Pauses } from "./ui/pauses.js";

/**
 * A column of a table. `isMinor`: it is left out beside an open panel.
 * @param {string} title
 * @param {string} width
 * @param {(row: any) => any} cell
 * @param {{ numeric?: boolean, isMinor?: boolean }} [more]
 */
export const column = (title, width, cell, more) => ({ key: title, title, width, cell, ...more });
export const minor = (title, width, cell) => column(title, width, cell, { isMinor: true });
export const numeric = (title, cell, width = "minmax(4rem, 1fr)") =>
  column(title, width, cell, { numeric: true });
export const state = (width, stateOf) =>
  column("State", width, (row) => html`<${Pill} state=${stateOf(row)} />`);
export const when = (ts) => html`<${When} ts=${ts} />`;
export const exact = (ts) => ts && html`<${When} ts=${ts} isExact />`;
export const jobLink = (id) => html`<${Id} key=${id} id=${id} href=${`#/jobs/${id}`} />`;
export const workerLink = (id) => html`<a key=${id} href=${`#/workers/${id}`}>${id}</a> `;

/**
 * Facts about a record, as pairs of a name and a value; those without a value are left out.
 * @param {{ items: [string, any][], class?: string }} props
 */
export function Facts({ items, class: name }) {
  const line = ([title, value]) => html`<div key=${title}><dt>${title}</dt><dd>${value}</dd></div>`;
  return html`<dl class=${name}>${items.filter(([, value]) => value).map(line)}</dl>`;
}

/**
 * Tabs that choose a filter, which the address holds. Returns the chosen key, at first that of the
 * first item, and the tabs.
 * @param {string} label
 * @param {string} name of the parameter
 * @param {[string, string][]} items
 */
export function useTabs(label, name, items) {
  const [query, setQuery] = useQuery();
  const current = query.get(name) ?? items[0][0];
  const onSelect = (key) => setQuery({ [name]: key, cursor: null, id: null });
  return [current, html`<${Tabs} ...${{ label, items, current, onSelect }} />`];
}

/** The items of tabs, and options, of these keys. @returns {[string, string][]} */
export const titles = (keys) => keys.map((key) => [key, titled(key)]);

/**
 * What differs between pages of records.
 * @typedef {object} Kind
 * @property {string} title
 * @property {string} path the list's route; a record is below it
 * @property {[string, string]} noun one record and several
 * @property {(reload: () => void) => ReturnType<typeof column>[]} columns
 * @property {any} empty what is shown in place of an empty list
 * @property {(record: any, reload: () => void, path: string) => any} [content] of the panel;
 *   without one, no record opens
 * @property {(record: any) => { title: string, state?: string, pause?: string, remove?: string }}
 *   [describe] the heading, and what a pause and a deletion do; without one, no button for it
 * @property {(record: any, reload: () => void, path: string) => any} [actions] further buttons of a
 *   record
 * @property {(done: (created?: any) => void) => void} [create] opens a form
 * @property {string} [label] of the button that opens it
 * @property {() => { filter: Record<string, any>, toolbar: any, empty?: any }} [useFilter]
 * @property {any} [toolbar]
 * @property {(rows: any[]) => any[]} [sorted]
 * @property {(record: any) => string} [keyOf]
 * @property {number | null} [every] seconds between two reads; null: one read
 * @property {any} [after] what follows the list
 * @property {number} [perPage]
 * @property {boolean} [isListed] a record is not read by itself, because the list has all of it
 */

/**
 * Return what opens the page of a kind. The address holds the id of the open record.
 * @param {Kind} kind
 */
export const recordsPage = (kind) => page(() => html`<${Page} kind=${kind} />`);

function Page({ kind }) {
  const { title, path, noun, create, content, keyOf, sorted = (rows) => rows } = kind;
  const { perPage = 50, every = 3, label = `New ${noun[0]}` } = kind;
  const [query, setQuery] = useQuery();
  const { filter, toolbar = kind.toolbar, empty = kind.empty } = kind.useFilter?.() ?? {};
  const asked = { ...filter, per_page: String(perPage), cursor: query.get("cursor") };
  const { data, pagination, reload } = useApi(path, { query: asked, every });
  const id = query.get("id");
  const open = (other) => setQuery({ id: other });
  const openRow = content && ((record) => open(record.id));
  const done = (created) => {
    reload();
    if (created) open(created.id);
  };
  const form = () => create(done);
  const button = html`<${Button} kind="primary" icon="plus" onclick=${form}>${label}<//>`;
  const columns = kind.columns(reload).filter(({ isMinor }) => !(id && isMinor));
  const panel = { kind, id, open, rows: data, reloadList: reload };
  return html`
    <${Heading} title=${title} actions=${create && mayWrite() && button} />
    ${toolbar}
    <${Table} label=${title} columns=${columns} rows=${data && sorted(data)} keyOf=${keyOf}
      current=${id} empty=${empty} onOpen=${openRow} />
    <${Pager} pagination=${pagination} noun=${noun} />
    ${kind.after}
    ${id && content && html`<${RecordPanel} key=${id} ...${panel} />`}
  `;
}

function RecordPanel({ kind, id, open, rows, reloadList }) {
  const path = `${kind.path}/${encodeURIComponent(id)}`;
  // The text for a deleted record, which is not read again.
  const [ended, setEnded] = useState("");
  const { data, error, reload } = useApi(path, { every: 3, skip: kind.isListed || ended });
  const missing = `There is no such ${kind.noun[0]}.`;
  useEffect(() => setEnded((before) => before || (error?.status === 404 ? missing : "")), [error]);
  const close = () => open(null);
  const record = kind.isListed ? rows?.find((each) => each.id === id) : !ended && data;
  if (!record) {
    const text = ended || (kind.isListed && rows ? missing : "Loading …");
    return html`<${Panel} title=${id} onClose=${close}><${Empty} title=${text} /><//>`;
  }
  const changed = () => {
    reload();
    reloadList();
  };
  const { title, state: name, pause, remove } = kind.describe(record);
  const pauses = html`<${Pauses} record=${record} path=${path} name=${title} text=${pause}
    onChange=${changed} />`;
  const done = async () => {
    // The list has left the record out before its rows, which read more of each, are wide again.
    await reloadList();
    close();
  };
  const deletes = () => askToDelete(kind.noun[0], remove, path, { setEnded, done });
  const buttons = html`<div class="row">
    ${kind.actions?.(record, changed, path)} ${pause && pauses}
    ${remove && html`<${Button} kind="danger" onclick=${deletes}>Delete<//>`}
  </div>`;
  return html`<${Panel} title=${title} onClose=${close}>
    <div class="row panel-head">
      ${name && html`<${Pill} state=${name} />`}<${Id} id=${id} isWhole />
    </div>
    ${mayWrite() && buttons}
    <${PauseLine} paused=${record.paused} />
    ${kind.content(record, changed, path)}
  <//>`;
}

function askToDelete(noun, text, path, { setEnded, done }) {
  const submit = async () => {
    // The panel's reads end before the record is deleted, because a later one would not find it.
    setEnded("Deleting …");
    try {
      await call("DELETE", path);
    } catch (error) {
      setEnded("");
      throw error;
    }
    await done();
  };
  ask({ title: `Delete this ${noun}?`, action: `Delete ${noun}`, kind: "danger", text, submit });
}
