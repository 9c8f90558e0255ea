// Bulk actions on the selected jobs, or on all that match, as an operation with its progress.

import { get, post, session } from "./api.js";
import { counted, number } from "./format.js";
import { bulkFilter, FINAL, filtersOf, inWords, OPEN } from "./job_filters.js";
import { ask, Button, html, Input, Menu, notify, useEffect, useRef, useState } from "./ui/index.js";

/** More jobs than this are only taken once their number was typed. */
const TYPED = 1000;
/** Calls for selected jobs that are under way at once. */
const AT_ONCE = 8;
/** Milliseconds between two reads of a running operation. */
const POLL_MS = 700;

const KINDS = {
  cancel: {
    states: OPEN,
    one: "cancel requested",
    done: "cancelled",
    verb: "Cancel",
    style: "danger",
    text: "Queued jobs are cancelled now, running jobs are asked to stop. This cannot be undone.",
  },
  retry: {
    states: FINAL,
    one: "retried",
    done: "retried",
    verb: "Retry",
    style: "primary",
    text: "Each job is triggered again as a new job with the same input and priority.",
  },
};

const jobs = (count) => counted(count, "job");
const ofStates = (chosen, states) =>
  [...chosen.values()].filter((job) => states.includes(job.status));

/** The selected jobs by their id, over the pages of one filter; they outlive the page. */
const selection = { of: "", jobs: new Map() };

/**
 * Return the selection for an address: the `chosen` jobs, and what changes them. Another filter or
 * another tenant begins with none. `shown` are the jobs of the list, in their present state.
 * @param {URLSearchParams} query
 * @param {any[]} shown
 */
export function useSelection(query, shown) {
  const [, redraw] = useState(0);
  const key = JSON.stringify([session.get()?.tenant, filtersOf(query).sort()]);
  if (key !== selection.of) Object.assign(selection, { of: key, jobs: new Map() });
  const chosen = selection.jobs;
  const take = (jobs) => {
    for (const job of jobs) chosen.set(job.id, job);
  };
  take(shown.filter(({ id }) => chosen.has(id)));
  const change = (act) => {
    act();
    redraw((count) => count + 1);
  };
  return {
    chosen,
    clear: () => change(() => chosen.clear()),
    select: (id, isChosen, job) =>
      change(() => (isChosen ? chosen.set(id, job) : chosen.delete(id))),
    selectAll: () => change(() => take(shown)),
  };
}

/** The bar above the rows: what can be done with the selected jobs, and with all that match. */
export function BulkBar({ selected, query, reload, onStart }) {
  const { chosen, clear, selectAll } = selected;
  if (!session.mayWrite) return null;
  const done = () => {
    clear();
    reload();
  };
  const matching = Object.entries(KINDS).map(([kind, { verb, states, style }]) => {
    const { filter, reason } = bulkFilter(states, query);
    return {
      label: `${verb} all matching …${reason ? ` (${reason})` : ""}`,
      kind: style,
      disabled: reason !== null,
      action: () => askMatching(kind, filter, onStart),
    };
  });
  const ofSelected = ([kind, { verb, states, style }]) => html`<${Button} key=${kind} kind=${style}
    disabled=${!ofStates(chosen, states).length}
    onclick=${() => void askSelected(kind, chosen, done)}>${verb} selected<//>`;
  return html`<div class=${chosen.size ? "row bulk chosen" : "row bulk"} role="group"
    aria-label="Bulk actions">
    <span role="status">${chosen.size ? `${number(chosen.size)} selected` : "None selected"}</span>
    ${chosen.size > 0 && Object.entries(KINDS).map(ofSelected)}
    ${
      chosen.size
        ? html`<${Button} kind="quiet" onclick=${clear}>Clear selection<//>`
        : html`<${Button} kind="quiet" onclick=${selectAll}>Select page<//>`
    }
    <${Menu} label="All matching" icon="jobs" items=${matching} />
  </div>`;
}

function askSelected(kind, chosen, done) {
  const { states, one, verb, style, text } = KINDS[kind];
  const wanted = ofStates(chosen, states);
  const submit = async () => {
    const results = [];
    for (let first = 0; first < wanted.length; first += AT_ONCE) {
      const few = wanted.slice(first, first + AT_ONCE);
      const calls = few.map((job) => post(`/v1/ava/jobs/${job.id}/${kind}`));
      results.push(...(await Promise.allSettled(calls)));
    }
    const refused = results.filter((result) => result.status === "rejected");
    const why = refused.length ? `; ${refused[0].reason.message}` : "";
    const message = `${number(results.length - refused.length)} ${one}${why}`;
    notify(message, refused.length ? "bad" : "good");
    done();
  };
  const title = `${verb} ${jobs(wanted.length)}`;
  return ask({ title: `${title}?`, action: title, kind: style, text, submit });
}

const countOf = async (kind, filter) =>
  (await post(`/v1/ava/jobs/${kind}`, { filter, dry_run: true })).data;

/** Count first, so that the question says how many there are and how many of them run. */
async function askMatching(kind, filter, onStart) {
  const { verb, style, text } = KINDS[kind];
  const { total, is_exact: isExact } = await countOf(kind, filter);
  if (!total) return notify("No matching job allows this action.");
  const isOfAll = kind === "cancel" && !filter.status;
  const others = isOfAll ? (await countOf(kind, { ...filter, status: "running" })).total : 0;
  const running = kind === "cancel" && filter.status === "running" ? total : others;
  const isTyped = total > TYPED;
  const found = `${isExact ? "" : "At least "}${jobs(total)} match ${inWords(filter)}`;
  return ask({
    title: `${verb} all ${number(total)} matching jobs?`,
    action: `${verb} ${jobs(total)}`,
    kind: style,
    text: `${found}${running ? `; ${number(running)} of them are running` : ""}. ${text}`,
    body:
      isTyped &&
      html`<${Input} label=${`Type ${total} to confirm`} name="typed" inputmode="numeric"
        required />`,
    submit: async ({ typed = "" }) => {
      if (isTyped && typed.replace(/\D/g, "") !== String(total)) {
        throw new Error(`Type ${total}, the number of jobs.`);
      }
      onStart((await post(`/v1/ava/jobs/${kind}`, { filter })).data);
    },
  });
}

/** Tell how an operation ended. */
function tell({ kind, state, done, failed, reason, result }) {
  const parts = [
    state === "aborted" ? "Aborted: " : "",
    `${jobs(done)} ${KINDS[kind].done}`,
    result?.signalled ? `, ${number(result.signalled)} of them asked to stop` : "",
    failed ? `; ${number(failed)} not possible: ${reason ?? ""}` : "",
  ];
  notify(parts.join(""), failed ? "bad" : "good");
}

/**
 * Return the running operations, `add`, which takes one that was started, and `look`, which reads
 * one now. `onEnd` is called when one has ended.
 * @param {() => void} onEnd
 */
export function useOperations(onEnd) {
  const [running, setRunning] = useState(/** @type {any[]} */ ([]));
  const ended = useRef(new Set());
  const forget = (id) => setRunning((before) => before.filter((each) => each.id !== id));
  const add = (operation) => {
    const isRunning = operation.state === "running";
    forget(operation.id);
    if (isRunning) setRunning((before) => [...before, operation]);
    if (isRunning || ended.current.has(operation.id)) return;
    ended.current.add(operation.id);
    tell(operation);
    onEnd();
  };
  const look = async (id, signal) => {
    try {
      add((await get(`/v1/ava/operations/${id}`, { signal })).data);
    } catch (error) {
      if (error.status === 404) forget(id);
    }
  };
  const ids = running
    .map(({ id }) => id)
    .sort()
    .join();
  useEffect(() => {
    const { signal, leave } = leaving();
    const query = { "filter[state]": "running" };
    const take = ({ data }) => {
      for (const operation of data) add(operation);
    };
    get("/v1/ava/operations", { query, signal }).then(take, () => {});
    return leave;
  }, []);
  useEffect(() => {
    const { signal, leave } = leaving();
    const poll = async () => {
      await Promise.all(ids.split(",").map((id) => look(id, signal)));
      if (!signal.aborted) timer = setTimeout(poll, POLL_MS);
    };
    let timer = ids ? setTimeout(poll, POLL_MS) : 0;
    return () => {
      leave();
      clearTimeout(timer);
    };
  }, [ids]);
  return { running, add, look };
}

function leaving() {
  const controller = new AbortController();
  return { signal: controller.signal, leave: () => controller.abort() };
}

/** The running operations, each with its progress and a way to abort it. */
export const Operations = ({ running, look }) => html`<div class="operations" aria-live="polite">
  ${running.map((each) => html`<${Operation} key=${each.id} operation=${each} look=${look} />`)}
</div>`;

function Operation({ operation, look }) {
  const { id, kind, total, done, failed, reason } = operation;
  const handled = done + failed;
  const abort = async () => {
    await post(`/v1/ava/operations/${id}/abort`);
    await look(id);
  };
  return html`<div class="row operation" data-operation=${id}>
    <progress max=${Math.max(1, total)} value=${handled}
      aria-label="Progress of the operation"></progress>
    <span>${`${number(handled)} of ${number(total)} ${KINDS[kind].done}`}
      ${reason && ` · ${reason}`}</span>
    ${session.mayWrite && html`<${Button} kind="quiet" onclick=${abort}>Abort<//>`}
  </div>`;
}
