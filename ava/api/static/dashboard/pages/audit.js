// Audit: who changed what, from where.

import { iso } from "../format.js";
import { describeChanges, pageOf } from "../record_facts.js";
import { column, recordsPage, when } from "../records_page.js";
import { addressWith, Chip, Empty, html, Select, useQuery } from "../ui/index.js";

/** The filters of the address, with their names on a chip. */
const FILTERS = [
  ["filter[action]", "Action"],
  ["filter[actor_id]", "Actor"],
  ["filter[label]", "Label"],
  ["filter[target]", "Target"],
];
/** Hours before now. */
const RANGES = [
  ["", "Any time"],
  ["1", "Last hour"],
  ["24", "Last day"],
  ["168", "Last 7 days"],
];
const HOUR_MS = 3_600_000;

function useFilter() {
  const [query, setQuery] = useQuery();
  const filters = Object.fromEntries(FILTERS.map(([name]) => [name, query.get(name)]));
  const hours = query.get("hours") ?? "";
  // The address of a reading changes once a minute.
  const minute = Math.floor(Date.now() / 60_000) * 60_000;
  const since = hours && iso(minute - Number(hours) * HOUR_MS);
  const set = (name, value) => setQuery({ [name]: value, cursor: null });
  const chosen = FILTERS.filter(([name]) => filters[name]);
  const chip = ([name, label]) => html`<${Chip} key=${name} label=${label} value=${filters[name]}
    onRemove=${() => set(name, null)} />`;
  const toolbar = html`<div class="row toolbar">
    <${Select} aria-label="Time range" value=${hours} options=${RANGES}
      onchange=${(value) => set("hours", value)} />
    ${chosen.map(chip)}
  </div>`;
  const isFiltered = chosen.length > 0 || hours;
  return { filter: { ...filters, since }, toolbar, empty: isFiltered ? NO_MATCH : NONE };
}

const NO_MATCH = html`<${Empty} title="No entries match this filter." />`;
const NONE = html`<${Empty} title="No entries yet.">
  Every request that changes data, or is refused, is listed here.
<//>`;

/** A value that filters the trail by itself. */
const only = (name, value) =>
  html`<a title="Show only this" href=${addressWith({ [name]: value, cursor: null })}>${value}</a>`;

const COLUMNS = [
  column("Time", "8rem", (entry) => when(entry.at)),
  column(
    "Actor",
    "minmax(8rem, 1fr)",
    ({ actor: { id, kind, via, label }, role }) =>
      html`${id ? only("filter[actor_id]", id) : kind}<small>${role}${via && `, by ${via}`}</small>
      ${label && html`<small>labelled ${only("filter[label]", label)}</small>`}`,
  ),
  column(
    "Action",
    "minmax(10rem, 1.6fr)",
    ({ action, changes }) =>
      html`${only("filter[action]", action)}
      ${changes && html`<small>${describeChanges(changes)}</small>`}`,
  ),
  column("Target", "minmax(10rem, 1.4fr)", ({ target }) =>
    target
      ? html`<span class="mono">${only("filter[target]", target)}</span>
        ${pageOf(target) && html`<small><a href=${pageOf(target)}>Open</a></small>`}`
      : "–",
  ),
  column(
    "Status",
    "5rem",
    ({ status, occurrences }) =>
      html`<span class=${status >= 400 ? "error" : ""}>
        ${occurrences ? `${status} × ${occurrences}` : status}</span>`,
  ),
  column(
    "Address",
    "minmax(8rem, 1fr)",
    ({ address }) => html`<span class="mono">${address}</span>`,
  ),
];

export const open = recordsPage({
  title: "Audit trail",
  path: "/v1/ava/audit",
  noun: ["entry", "entries"],
  every: null,
  columns: () => COLUMNS,
  empty: NONE,
  useFilter,
});
