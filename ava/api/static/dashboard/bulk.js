// Bulk actions on the selected jobs, or on all jobs that match the filters, as an operation with its progress.

import { get, post, session } from "./api.js";
import { h, Keyed, say } from "./dom.js";
import { number } from "./format.js";
import { ask, button, field, notify } from "./parts.js";

const FINAL = ["completed", "failed", "cancelled"];
const OPEN = ["queued", "running"];
/** The filters of the list that the operations of the API take too. */
const FILTERS = ["worker_id", "status", "trigger", "created_after", "created_before", "completed_after", "completed_before", "priority", "triggered_by", "error", "error_id", "id", "tags", "input"];
/** More jobs than this are only taken once their number was typed. */
const TYPED = 1000;
/** Calls for selected jobs that are under way at once. */
const AT_ONCE = 8;

const KINDS = {
  cancel: { states: OPEN, one: "cancel requested", done: "cancelled", verb: "Cancel", style: "danger",
    text: "Queued jobs are cancelled immediately, running jobs are asked to stop. This cannot be undone." },
  retry: { states: FINAL, one: "retried", done: "retried", verb: "Retry", style: "primary",
    text: "Each job is triggered again as a new job with the same input and priority." },
};

const jobs = (count) => `${number(count)} ${count === 1 ? "job" : "jobs"}`;

/** The jobs that were selected, over the pages of one filter. */
export class Selection {
  #of = "";
  chosen = new Map();

  /** Keep the selection if these are the same filters and the same tenant as before. */
  begin(query) {
    const filters = [...query].filter(([name]) => name.startsWith("filter["));
    const key = JSON.stringify([session.get()?.tenant, filters.sort()]);
    if (key !== this.#of) this.chosen.clear();
    this.#of = key;
  }

  /** The selected jobs as the list shows them now. */
  refresh(found) {
    for (const job of found) if (this.chosen.has(job.id)) this.chosen.set(job.id, job);
  }

  some(states) {
    return [...this.chosen.values()].filter((job) => states.includes(job.status));
  }
}

/** Returns the filter as an operation takes it, and why the operation cannot act on it; null if it can. */
export function filterFor(kind, query) {
  const filter = {};
  for (const [name, value] of query) {
    const inner = /^filter\[(?:(tag|input)\.)?(.+)\]$/.exec(name);
    if (!inner) continue;
    const group = { tag: "tags", input: "input" }[inner[1]];
    if (group) filter[group] = { ...filter[group], [inner[2]]: value };
    else filter[inner[2]] = inner[2] === "priority" ? Number(value) : value;
  }
  const foreign = Object.keys(filter).filter((name) => !FILTERS.includes(name));
  const states = KINDS[kind].states;
  let reason = null;
  if (!Object.keys(filter).length) reason = "Choose a filter first, because a bulk action never applies to all jobs.";
  else if (foreign.length) reason = `Bulk actions do not support the filter ${foreign[0]}.`;
  else if (filter.status && !states.includes(filter.status)) reason = `This action applies only to ${states.join(", ")} jobs.`;
  return { filter, reason };
}

/** The bar below the filters: what can be done with the selected jobs, and with all that match. */
export function bulkActions(selection, query, { refresh, started }) {
  const count = h("span", {});
  const selected = Object.keys(KINDS).map((kind) => [kind, button(`${KINDS[kind].verb} selected`, () => askSelected(kind, selection, refresh))]);
  const matching = Object.keys(KINDS).map((kind) => {
    const { filter, reason } = filterFor(kind, query);
    const act = button(`${KINDS[kind].verb} all matching`, () => askMatching(kind, filter, started), { kind: kind === "cancel" ? "danger" : "", title: reason ?? false });
    act.disabled = reason !== null;
    return act;
  });
  const clear = button("Clear selection", () => (selection.chosen.clear(), refresh()), { kind: "quiet" });
  const element = h("div", { class: "row bulk", "aria-label": "Bulk actions" }, count, clear, selected.map(([, act]) => act), matching);
  element.hidden = !session.mayWrite;
  return {
    element,
    update() {
      say(count, selection.chosen.size ? `${number(selection.chosen.size)} selected` : "None selected");
      clear.hidden = !selection.chosen.size;
      for (const [kind, act] of selected) act.disabled = !selection.some(KINDS[kind].states).length;
    },
  };
}

function askSelected(kind, selection, refresh) {
  const { states, one, verb, style, text } = KINDS[kind];
  const chosen = selection.some(states);
  ask({
    title: `${verb} ${jobs(chosen.length)}?`, action: `${verb} ${jobs(chosen.length)}`, kind: style, text,
    submit: async () => {
      const results = [];
      for (let first = 0; first < chosen.length; first += AT_ONCE) {
        const calls = chosen.slice(first, first + AT_ONCE).map((job) => post(`/v1/ava/jobs/${job.id}/${kind}`));
        results.push(...await Promise.allSettled(calls));
      }
      const refused = results.filter((result) => result.status === "rejected");
      notify(`${number(results.length - refused.length)} ${one}${refused.length ? `; ${refused[0].reason.message}` : ""}`, refused.length ? "bad" : "good");
      selection.chosen.clear();
      refresh();
    },
  });
}

/** Count first, so that the question says how many there are and how many of them run. */
async function askMatching(kind, filter, started) {
  const { verb, style, text } = KINDS[kind];
  const count = async (wanted) => (await post(`/v1/ava/jobs/${kind}`, { filter: wanted, dry_run: true })).data;
  const { total, is_exact: isExact } = await count(filter);
  if (!total) return notify("No matching job allows this action.");
  const running = kind === "cancel" ? (filter.status ? (filter.status === "running" ? total : 0) : (await count({ ...filter, status: "running" })).total) : 0;
  const words = Object.entries(filter).map(([name, value]) => `${name} ${typeof value === "object" ? Object.entries(value).map((pair) => pair.join(":")).join(" ") : value}`).join(", ");
  const atLeast = isExact ? "" : "At least ";
  const typed = h("input", { name: "typed", autocomplete: "off", inputmode: "numeric", required: true });
  ask({
    title: `${verb} all ${number(total)} matching jobs?`, action: `${verb} ${jobs(total)}`, kind: style,
    text: `${atLeast}${jobs(total)} match ${words}${running ? `; ${number(running)} of them are running` : ""}. ${text}`,
    fields: total > TYPED ? [field(`Type ${total} to confirm`, typed)] : [],
    submit: async (values) => {
      if (total > TYPED && (values.typed ?? "").replace(/\D/g, "") !== String(total)) throw new Error(`Type ${total}, the number of jobs.`);
      started((await post(`/v1/ava/jobs/${kind}`, { filter })).data);
    },
  });
}

/** The operations that run, each with its progress and a way to abort it. `ended` is called when one has ended. */
export class RunningOperations {
  #shown = new Map();
  #timer;

  constructor(signal, ended) {
    this.element = h("div", { class: "operations", "aria-live": "polite" });
    this.ended = ended;
    this.rows = new Keyed(this.element, (operation) => operation.id, (operation) => this.#row(operation));
    this.signal = signal;
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
    get("/v1/ava/operations", { query: { "filter[state]": "running" }, signal }).then(({ data }) => data.forEach((each) => this.add(each))).catch(() => {});
  }

  add(operation) {
    if (operation.state !== "running") return this.#finish(operation);
    this.#shown.set(operation.id, operation);
    this.rows.show([...this.#shown.values()]);
    this.#later();
  }

  #later() {
    clearTimeout(this.#timer);
    if (this.#shown.size && !this.signal.aborted) this.#timer = setTimeout(() => this.#look(), 700);
  }

  async #look() {
    for (const id of [...this.#shown.keys()]) {
      try {
        const { data } = await get(`/v1/ava/operations/${id}`, { signal: this.signal });
        if (data.state === "running") this.#shown.set(id, data);
        else this.#finish(data);
      } catch (error) {
        if (error.status === 404) this.#shown.delete(id);
      }
    }
    this.rows.show([...this.#shown.values()]);
    this.#later();
  }

  #finish(operation) {
    this.#shown.delete(operation.id);
    const { done } = KINDS[operation.kind];
    const asked = operation.result?.signalled ? `, ${number(operation.result.signalled)} of them asked to stop` : "";
    const failed = operation.failed ? `; ${number(operation.failed)} not possible: ${operation.reason ?? ""}` : "";
    const aborted = operation.state === "aborted" ? "Aborted: " : "";
    notify(`${aborted}${jobs(operation.done)} ${done}${asked}${failed}`, operation.failed ? "bad" : "good");
    this.ended();
  }

  #row(first) {
    const bar = h("progress", { max: String(Math.max(1, first.total)), "aria-label": "Progress of the operation" });
    const text = h("span", {});
    const abort = button("Abort", async () => {
      await post(`/v1/ava/operations/${first.id}/abort`);
      await this.#look();
    }, { kind: "quiet" });
    abort.hidden = !session.mayWrite;
    const element = h("div", { class: "row operation", "data-operation": first.id }, bar, text, abort);
    return {
      element,
      update(operation) {
        bar.max = Math.max(1, operation.total);
        bar.value = operation.done + operation.failed;
        say(text, `${number(operation.done + operation.failed)} of ${number(operation.total)} ${KINDS[operation.kind].done}${operation.reason ? ` · ${operation.reason}` : ""}`);
      },
    };
  }
}
