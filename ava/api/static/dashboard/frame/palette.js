// The command palette: Ctrl-K finds jobs, pages and workers, and runs actions.

import { get, session } from "../api.js";
import { ago, short } from "../format.js";
import { find, HINT } from "../search.js";
import { html, Icon, mayWrite, notify, Pill, placeAfter, useEffect } from "../ui/index.js";
import { useLayoutEffect, useMemo, useRead, useRef, useState } from "../ui/index.js";
import { openPages, titleOf } from "./pages.js";
import { fitting } from "./palette_model.js";

/** Milliseconds without a key after which jobs are sought. */
const PAUSE_MS = 180;
const FIELDS = "id,worker_id,status,created_at,error,tags";
const go = (hash) => () => {
  location.hash = hash;
};
const openTrigger = async (id) => (await import("../trigger.js")).openTrigger(id);

const pageEntries = () =>
  openPages(session.get()).map((page) => ({
    key: `page ${page.name}`,
    title: titleOf(page),
    icon: page.icon,
    hint: "Page",
    run: go(`#/${page.name}`),
  }));

const workerEntries = (workers) =>
  workers
    .flatMap(({ id, name }) => [
      {
        key: `worker ${id}`,
        title: name,
        icon: "worker",
        hint: id,
        run: go(`#/workers/${encodeURIComponent(id)}`),
      },
      mayWrite() && {
        key: `trigger ${id}`,
        title: `Trigger ${name}`,
        icon: "play",
        hint: id,
        run: () => openTrigger(id),
      },
    ])
    .filter(Boolean);

const jobEntry = (job) => ({
  key: job.id,
  title: short(job.id),
  icon: "jobs",
  hint: [job.worker_id, ago(job.created_at), job.error].filter(Boolean).join(" · "),
  state: job.status,
  run: go(`#/jobs/${job.id}`),
});

/** Return the jobs that a text finds, and the entry that lists all of them. */
async function soughtJobs(text, signal) {
  const { job, filters } = await find(text);
  if (!job && !Object.keys(filters).length) return [];
  const query = job ? { "filter[id]": job } : filters;
  const { data } = await get("/v1/ava/jobs", {
    query: { ...query, fields: FIELDS, per_page: "6" },
    signal,
  });
  const all = {
    key: "all",
    title: `All jobs for “${text}”`,
    icon: "search",
    run: go(`#/jobs?${new URLSearchParams(query)}`),
  };
  return [...data.map(jobEntry), ...(data.length && !job ? [all] : [])];
}

/** Return the jobs for a text; what is wrong with it is no error here. */
function useJobs(text) {
  const isSought = text.trim().length >= 2;
  const read = async (signal) => ({
    text,
    entries: isSought ? await soughtJobs(text, signal) : [],
  });
  const { value, error } = useRead(read, [text], PAUSE_MS);
  const isCurrent = value?.text === text;
  return {
    entries: isCurrent ? value.entries : [],
    refusal: error?.message ?? "",
    isCurrent: isCurrent || !isSought,
  };
}

/**
 * The palette. `actions` are entries of the frame; `onClose` is called once it is left.
 * @param {{ actions: import("./palette_model.js").Entry[], onClose: () => void }} props
 */
export function Palette({ actions, onClose }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const all = useRead(() => get("/v1/ava/workers", { query: { per_page: "100" } }), []);
  const workers = all.value?.data ?? [];
  const jobs = useJobs(text);
  // An effect runs after the next frame; keys until then would reach the page behind the dialog.
  useLayoutEffect(() => dialog.current.showModal(), []);
  const known = useMemo(() => [...pageEntries(), ...actions], [actions]);
  /** @type {[string, any[]][]} */
  const found = [
    ["Jobs", jobs.entries],
    ["Pages and actions", fitting(text, known, text ? 6 : known.length)],
    ["Workers", text ? fitting(text, workerEntries(workers), 6) : []],
  ];
  const groups = found.filter(([, each]) => each.length);
  const entries = groups.flatMap(([, each]) => each);
  const place = Math.min(at, Math.max(0, entries.length - 1));
  const run = async (entry) => {
    dialog.current.close();
    try {
      await entry.run();
    } catch (error) {
      notify(error.message, "bad");
    }
  };
  const press = (event) => {
    if (entries.length && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      setAt(placeAfter(event.key, place, entries.length));
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (entries[place]) run(entries[place]);
    }
  };
  const outside = (event) => event.target === dialog.current && dialog.current.close();
  return html`<dialog class="palette" aria-label="Find" ref=${dialog} onclose=${onClose}
    onclick=${outside}>
    <div class="palette-box">
      <div class="palette-input" role="search"><${Icon} name="search" />
        <input type="text" name="palette" role="combobox" aria-expanded="true"
          aria-controls="palette-list" aria-autocomplete="list"
          aria-activedescendant=${entries.length ? `palette-${place}` : undefined}
            aria-label="Find jobs, pages and actions"
          placeholder="Find a job, a page or an action" title=${HINT} value=${text}
            autocomplete="off" spellcheck=${false}
          autofocus onkeydown=${press} oninput=${(event) => {
            setText(event.currentTarget.value);
            setAt(0);
          }} /></div>
      <div class="palette-list" id="palette-list" role="listbox" aria-label="Found">
        ${groups.map(
          ([title, each]) => html`<div role="group" aria-label=${title} key=${title}>
          <div class="palette-title" aria-hidden="true">${title}</div>
          ${each.map(
            (entry) => html`<${Option} key=${entry.key} entry=${entry}
            at=${entries.indexOf(entry)}
            isCurrent=${entries[place] === entry} onRun=${run} />`,
          )}
        </div>`,
        )}
      </div>
      <p class="palette-note" role="status">${
        jobs.refusal || (entries.length ? "" : jobs.isCurrent ? "Nothing found." : "Searching …")
      }</p>
      <p class="palette-help"
        aria-hidden="true">An id, a tag (tag:team=billing), an input field (input.customer:ada),
        error: user: worker: status:</p>
    </div>
  </dialog>`;
}

function Option({ entry, at, isCurrent, onRun }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (isCurrent) element.current.scrollIntoView({ block: "nearest" });
  }, [isCurrent]);
  return html`<div role="option" id=${`palette-${at}`} aria-selected=${isCurrent} ref=${element}
    onclick=${() => onRun(entry)}>
    <${Icon} name=${entry.icon} /><span class="palette-name">${entry.title}</span>
    ${entry.hint && html`<small>${entry.hint}</small>`}${
      entry.state &&
      html`<${Pill}
      state=${entry.state} />`
    }
  </div>`;
}
