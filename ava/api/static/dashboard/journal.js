// The journal of a handler: its named steps, children, sleeps and waits.

import { get, list } from "./api.js";
import { h, put } from "./dom.js";
import { bytes, full, short, span } from "./format.js";
import { button, card, json, notify } from "./parts.js";

const STATES = { began: "began", waits: "waits", timed_out: "timed out" };

/** The journal of a job and its waits; hidden while it has neither. */
export function journalCard(jobId, { signal }) {
  const entries = h("ol", { class: "plain journal" });
  const waits = h("ol", { class: "plain waits" });
  const more = button("More", async () => {
    const part = await read(cursor);
    entries.append(...part.data.map(entry));
    follow(part);
  }, { kind: "quiet" });
  const element = card("Steps and waits", { wide: true }, h("div", { class: "columns" }, h("div", {}, entries, more), waits));
  let cursor = null;
  let shown = "";
  element.hidden = true;
  const path = `/v1/ava/jobs/${jobId}`;
  const read = (after) => get(`${path}/journal`, { query: { per_page: 50, cursor: after }, signal });
  const follow = ({ pagination: { next_cursor: next } }) => {
    cursor = next;
    more.hidden = next === null;
  };
  return {
    element,
    async load() {
      const found = await Promise.all([read(null), list(`${path}/waits`, { pages: 1, signal })]).catch((error) => signal.aborted || notify(error.message, "bad"));
      if (!Array.isArray(found) || JSON.stringify(found) === shown) return;
      shown = JSON.stringify(found);
      const [part, { entries: latest }] = found;
      element.hidden = !part.data.length && !latest.length;
      put(entries, part.data.map(entry));
      put(waits, latest.map(wait));
      follow(part);
    },
  };
}

function entry({ kind, name, state, value, value_bytes: size, child_id: child, until, written_at: at, attempt }) {
  return h("li", { "data-kind": kind },
    h("div", { class: "row" }, h("span", { class: "kind" }, kind), h("strong", {}, name), STATES[state] ? h("span", { class: "muted" }, STATES[state]) : null,
      child ? h("a", { href: `#/jobs/${child}`, class: "mono" }, short(child)) : null,
      until ? h("span", { class: "muted" }, `until ${full(until)}`) : null, h("time", { title: `attempt ${attempt}` }, full(at))),
    size ? h("p", { class: "muted" }, `${bytes(size)}, not shown`) : kind === "step" && state === "done" ? h("details", {}, h("summary", {}, preview(value)), json(value)) : null);
}

function preview(value) {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function wait({ condition, jobs, began_at: began, ended_at: ended }) {
  const what = jobs.length ? [condition === "any" ? "for one of " : "for ", jobs.slice(0, 3).map((id, place) => [place ? ", " : "", h("a", { href: `#/jobs/${id}`, class: "mono" }, short(id))]),
    jobs.length > 3 ? `, and ${jobs.length - 3} more` : ""] : `for ${condition === "event" ? "an event" : "a time"}`;
  return h("li", { "data-open": !ended }, h("div", { class: "row" }, h("span", { class: "hatch" }), h("span", {}, ended ? "Waited " : "Waits ", what)),
    h("time", {}, full(began), ended ? `, ${span(new Date(ended) - new Date(began))}` : ""));
}
