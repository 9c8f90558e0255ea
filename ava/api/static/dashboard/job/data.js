// Read a job for its page: its record while it changes, its parts, and its stream.

import { follow, get, list } from "../api.js";
import { notify, useApi, useEffect, useMemo, useRef, useState } from "../ui/index.js";
import { isFinal } from "./job_states.js";
import { LogReader } from "./log_reader.js";

const SECONDS = 3;
/** Milliseconds after which an interrupted stream is opened again. */
const RETRY_MS = 1500;
/** Pages of 100 runs that are shown. */
const RUN_PAGES = 2;
const CHANGING =
  "status,started_at,completed_at,duration_ms,usage,error,attempt,cancel_requested_at," +
  "cancelled_by,progress,priority,scheduled_at,expires_at,tags,tree_id,waiting_for," +
  "deadline_at,waits_for";
const OF_CHILDREN =
  "id,worker_id,status,created_at,started_at,completed_at,duration_ms,error," +
  "cancel_requested_at,waiting_for";
const NO_PARTS = {
  runs: [],
  entries: [],
  hasMoreEntries: false,
  waits: [],
  children: [],
  childCount: 0,
};

export const pathOf = (id) => `/v1/ava/jobs/${encodeURIComponent(id)}`;

/**
 * The record, the parts and the log of a job, which are read again while it changes. The input
 * never changes, and there is no output before the end, so neither is read meanwhile.
 * @param {any} first  its record
 */
export function useJob(first) {
  const [job, setJob] = useState(first);
  const [parts, setParts] = useState(NO_PARTS);
  const hasEnded = isFinal(job);
  const path = pathOf(first.id);
  const log = useMemo(() => new LogReader(first.id), [first.id]);
  const changing = useApi(hasEnded ? null : path, { query: { fields: CHANGING }, every: SECONDS });
  const why = useApi(`${path}/why`, { every: hasEnded ? null : SECONDS });
  const readParts = useLatest((signal) => partsOf(path, job.tree_id, signal).then(setParts));
  useEffect(() => {
    const next = changing.data;
    if (!next || hasEnded) return undefined;
    if (!isFinal(next)) return setJob((known) => ({ ...known, ...next }));
    get(path).then(
      ({ data }) => setJob(data),
      () => changing.reload(),
    );
    return undefined;
  }, [changing.data]);
  useEffect(() => readParts(), [changing.data, job.status]);
  useEffect(() => {
    if (why.data) why.reload();
  }, [job.status, job.attempt]);
  useStream(first.id, log, {
    onChange: () => changing.reload(),
    onProgress: (progress) => setJob((known) => (isFinal(known) ? known : { ...known, progress })),
  });
  return { job, parts, why: why.data, log, reload: changing.reload };
}

/** Return a function that runs `act(signal)`, and once more if it is called during a run. */
function useLatest(act) {
  const latest = useRef(act);
  const state = useRef(null);
  latest.current = act;
  useEffect(() => () => state.current?.leaving.abort(), []);
  return () => {
    state.current ??= { leaving: new AbortController(), isRunning: false, isAsked: false };
    const { signal } = state.current.leaving;
    const turn = async () => {
      state.current.isAsked = true;
      if (state.current.isRunning) return;
      state.current.isRunning = true;
      while (state.current.isAsked && !signal.aborted) {
        state.current.isAsked = false;
        // The reads of the record, in the same rhythm, show the banner of a failure.
        await latest.current(signal).catch(() => {});
      }
      state.current.isRunning = false;
    };
    turn();
  };
}

async function partsOf(path, treeId, signal) {
  const [runs, journal, waits, children] = await Promise.all([
    list(`${path}/runs`, { pages: RUN_PAGES, signal }),
    list(`${path}/journal`, { pages: 1, signal }),
    list(`${path}/waits`, { pages: 1, signal }),
    treeId ? childrenOf(path, signal) : { data: [], pagination: { total: 0 } },
  ]);
  return {
    runs: runs.entries,
    entries: journal.entries,
    hasMoreEntries: journal.hasMore,
    waits: waits.entries,
    children: children.data.reverse(),
    childCount: children.pagination.total,
  };
}

const childrenOf = (path, signal) =>
  get("/v1/ava/jobs", {
    query: { "filter[parent_id]": path.split("/").at(-1), per_page: "100", fields: OF_CHILDREN },
    signal,
  });

/** Follow the stream of a job; after an interruption, resume it after the last line. */
function useStream(id, log, { onChange, onProgress }) {
  const acts = useRef({});
  acts.current = { onChange, onProgress };
  useEffect(() => {
    const leaving = new AbortController();
    listen(id, log, acts, leaving.signal);
    return () => leaving.abort();
  }, [id]);
}

async function listen(id, log, acts, signal) {
  let isOver = false;
  let lastId = await log.start().catch((error) => {
    if (!signal.aborted) notify(error.message, "bad");
  });
  const onEvent = ({ name, data, id: place }) => {
    if (name === "log") log.add({ ...data, before: lastId, place });
    else if (name === "progress") acts.current.onProgress(data);
    else if (name === "hidden") log.hide();
    else if (name === "end") isOver = true;
    if (name === "status" || name === "end") acts.current.onChange();
    if (place) lastId = place;
  };
  while (!signal.aborted && !isOver) {
    try {
      await follow(`${pathOf(id)}/stream`, { signal, lastId, onEvent });
    } catch (error) {
      if (signal.aborted || error.status === 404) return;
    }
    if (!isOver) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
