// One job: its record, its log, why it is in its state, and the buttons that cancel or retry it.

import { follow, get, list, post, session } from "../api.js";
import { h, put, say } from "../dom.js";
import { full, short, span, withLocalTimes } from "../format.js";
import { journalCard } from "../journal.js";
import { LogView } from "../log.js";
import { ask, button, card, empty, json, notify, pill, repeat, when } from "../parts.js";
import { runsCard, usageOf } from "../runs.js";
import { changeQueued, editAndRunAgain } from "../trigger.js";
import { reasonOf } from "../wait_reasons.js";
import { open as openTree } from "./tree.js";

const HIDDEN = "Your role or API key may not see payloads.";
const FINAL = ["completed", "failed", "cancelled"];
/** Pages of the runs that are shown. */
const RUN_PAGES = 2;
const CHANGING = "status,started_at,completed_at,duration_ms,usage,error,attempt,cancel_requested_at,cancelled_by,progress,priority,scheduled_at,expires_at,tags,tree_id,waiting_for,deadline_at,waits_for";

export async function open(main, { signal, rest }) {
  const [id, part] = rest;
  if (part === "tree") return openTree(main, { signal, rest });
  let job;
  try {
    job = (await get(`/v1/ava/jobs/${encodeURIComponent(id)}`, { signal })).data;
  } catch (error) {
    if (error.status !== 404) throw error;
    return put(main, h("h1", {}, "No such job"), h("p", {}, error.message));
  }
  const view = jobView(job, () => reload().catch(() => {}));
  const journal = journalCard(job.id, { signal });
  const log = new LogView(job.id, { signal });
  const update = () => {
    document.title = `${job.status} · ${job.worker_id} · ${short(job.id)} · AVA Jobs`;
    view.update(job);
    log.update(job);
  };
  put(main, view.element, h("div", { class: "columns job" }, h("div", {}, view.facts, view.runs.element), view.timeline), journal.element, log.element, view.payloads);
  update();

  const showRuns = async () => {
    view.showRuns((await list(`/v1/ava/jobs/${job.id}/runs`, { pages: RUN_PAGES, signal })).entries);
    await journal.load();
  };
  // The input never changes, and there is no output before the end: neither is read again while the job runs.
  const reload = async () => {
    const { data } = await get(`/v1/ava/jobs/${job.id}`, { query: { fields: CHANGING }, signal });
    job = FINAL.includes(data.status) ? (await get(`/v1/ava/jobs/${job.id}`, { signal })).data : { ...job, ...data };
    update();
    await showRuns();
  };
  showRuns().catch(() => {});
  repeat(signal, 3, async () => {
    if (!FINAL.includes(job.status)) await reload();
    if (!FINAL.includes(job.status) || !view.explained) view.explain((await get(`/v1/ava/jobs/${job.id}/why`, { signal })).data);
  });
  listen(job, { signal, log, view, reload });
  return undefined;
}

/** Follow the stream; after an interruption, resume it after the last line. */
async function listen(job, { signal, log, view, reload }) {
  let isOver = false;
  let lastId = await log.open().catch((error) => signal.aborted || notify(error.message, "bad"));
  const onEvent = (event) => {
    if (event.name === "log") log.add(event.data, event.id, lastId);
    else if (event.name === "progress") view.progress(event.data);
    else if (event.name === "hidden") log.hide();
    else if (event.name === "end") isOver = true;
    if (event.id) lastId = event.id;
  };
  while (!signal.aborted && !isOver) {
    try {
      await follow(`/v1/ava/jobs/${job.id}/stream`, { signal, lastId, onEvent: (event) => {
        onEvent(event);
        if (event.name === "status" || event.name === "end") reload().catch(() => {});
      } });
    } catch (error) {
      if (signal.aborted || error.status === 404) return;
    }
    if (!isOver) await new Promise((resolve) => setTimeout(resolve, 1500));
  }
}

function jobView(first, onChange) {
  const status = pill();
  const why = h("p", { class: "why" });
  const bar = h("progress", { max: "1", "aria-label": "Progress" });
  const barText = h("span", {});
  const progress = h("div", { class: "progress" }, bar, barText);
  const cancel = button("Cancel", () => ask({
    title: "Cancel this job?", action: "Cancel job", kind: "danger",
    text: current.status === "running" ? "Its process is asked to stop. Its effects so far are not undone." : "It will not start.",
    submit: async () => {
      await post(`/v1/ava/jobs/${first.id}/cancel`);
      notify("Cancel requested.");
    },
  }), { kind: "danger" });
  const retry = button("Retry", () => ask({
    title: "Retry this job?", action: "Retry job",
    text: "A new job is triggered with the same worker, input and priority.",
    submit: async () => {
      const { data } = await post(`/v1/ava/jobs/${first.id}/retry`);
      location.hash = `#/jobs/${data.id}`;
    },
  }), { kind: "primary" });
  const fromHere = button("Retry from here", () => ask({
    title: "Retry this entry and its followers?", action: "Retry from here",
    text: "This entry and all following entries that did not complete are triggered again as new jobs. Completed entries are reused, not rerun.",
    submit: async () => {
      const { data } = await post(`/v1/ava/jobs/${first.id}/retry`, { from: "failed" });
      location.hash = `#/jobs/${data.id}/tree`;
    },
  }));
  const again = button("Run again …", () => editAndRunAgain(current), { kind: "quiet" });
  const change = button("Change …", () => changeQueued(current, () => onChange()), { kind: "quiet" });
  const copy = button("Copy id", () => navigator.clipboard.writeText(first.id).then(() => notify("Copied.")), { kind: "quiet" });
  const facts = h("dl", {});
  const timeline = h("ol", { class: "timeline", tabindex: "0", "aria-label": "Timeline" });
  const runs = runsCard();
  let marks = [];
  const input = h("div", {});
  const output = h("div", {});
  let shownOutput;
  let current = first;
  put(input, first.payload_hidden ? empty(HIDDEN) : json(first.input));

  const drawTimeline = () => put(timeline, [
    moment("created", "Triggered", first.created_at, `by ${first.triggered_by}, ${first.trigger}`),
    first.scheduled_at ? moment("queued", "Scheduled for", first.scheduled_at) : null,
    first.expires_at && current.status === "queued" && !marks.length ? moment("queued", "Cancelled if not started by", first.expires_at) : null,
    ...marks.filter(({ isEnd }) => !isEnd || !FINAL.includes(current.status)).map(({ kind, text, ts, more }) => moment(kind, text, ts, more)),
    current.cancel_requested_at ? moment("cancelling", "Cancel requested", current.cancel_requested_at, current.cancelled_by ? `by ${current.cancelled_by}` : "") : null,
    current.completed_at ? moment(current.status, current.status[0].toUpperCase() + current.status.slice(1), current.completed_at, current.error ?? "") : null,
  ].filter(Boolean).sort((one, other) => one.at - other.at).map((part) => part.element));

  return {
    element: h("div", {},
      h("div", { class: "heading" },
        h("div", {}, h("p", { class: "crumbs" }, h("a", { href: "#/jobs" }, "Jobs"), " / ", h("span", { class: "mono" }, first.id)),
          h("h1", {}, first.worker_id, " ", status.element)),
        h("div", { class: "row" }, copy, again, change, cancel, fromHere, retry)),
      why, progress),
    facts: card("Record", {}, facts),
    runs,
    timeline: card("Timeline", {}, timeline),
    payloads: h("div", { class: "columns payloads" }, card("Input", {}, input), card("Output", {}, output)),
    explained: false,
    explain(explanation) {
      const sentence = withLocalTimes(explanation.sentence);
      say(why, sentence[0].toUpperCase() + sentence.slice(1));
      this.explained = true;
    },
    /** The runs are shown in the timeline too; the end of the last one may be that of the job. */
    showRuns(found) {
      runs.update(current, found);
      marks = found.flatMap((run, place) => marksOf(run, place, place === found.length - 1));
      drawTimeline();
    },
    progress(value) {
      progress.hidden = !value;
      if (!value) return;
      bar.value = value.fraction;
      say(barText, `${Math.round(value.fraction * 100)} % ${value.message ?? ""}`);
    },
    update(job) {
      const wasFinal = FINAL.includes(current.status);
      current = job;
      const isFinal = FINAL.includes(job.status);
      if (isFinal && !wasFinal) this.explained = false;
      status.update(job.status === "running" && job.cancel_requested_at ? "cancelling" : job.status);
      cancel.hidden = isFinal || !session.mayWrite;
      change.hidden = job.status !== "queued" || !session.mayWrite;
      retry.hidden = again.hidden = !isFinal || !session.mayWrite;
      fromHere.hidden = retry.hidden || !job.tree_id || job.parent_id !== null || job.status === "completed";
      // A handler need not report that it is done.
      this.progress(job.status === "completed" && job.progress ? { ...job.progress, fraction: 1 } : job.progress);
      showFacts(facts, job);
      drawTimeline();
      const text = JSON.stringify([isFinal, job.output, job.error]);
      if (text !== shownOutput) {
        shownOutput = text;
        put(output, job.error ? h("p", { class: "error" }, job.error) : null, isFinal ? (job.payload_hidden ? empty(HIDDEN) : json(job.output)) : empty("No output yet."));
      }
    },
  };
}

function marksOf(run, place, isLast) {
  const begin = { kind: "running", text: `Run ${place + 1} started`, ts: run.started_at };
  if (!run.ended_at) return [begin];
  const kind = { lost: "failed", interrupted: "failed", deferred: "queued" }[run.outcome] ?? run.outcome ?? "queued";
  const text = `Run ${place + 1} ${{ waits: "waits", deferred: "deferred its job", lost: "was lost", interrupted: "was interrupted" }[run.outcome] ?? run.outcome ?? "ended"}`;
  return [begin, { kind, text, ts: run.ended_at, more: `after ${span(run.duration_ms)}`, isEnd: isLast && FINAL.includes(run.outcome) }];
}

function moment(kind, title, ts, more = "") {
  const element = h("li", { "data-state": kind }, h("strong", {}, title), h("time", { title: ts }, full(ts)), more ? h("span", {}, more) : null);
  return { element, at: new Date(ts).getTime() };
}

function showFacts(list, job) {
  const facts = [
    ["Priority", `${job.priority} of 10`],
    ["Attempt", job.attempt ? `${job.attempt} of ${job.max_attempts}` : `0 of ${job.max_attempts}`],
    ["Created", when(job.created_at).element],
    ["Used", job.usage ? usageOf(job.usage) : null],
    ["Expires", job.expires_at ? when(job.expires_at).element : null],
    ["Tags", Object.keys(job.tags).length ? h("span", { class: "tags" }, Object.entries(job.tags).map(([key, value]) =>
      h("a", { class: "tag", href: `#/jobs?${new URLSearchParams({ [`filter[tag.${key}]`]: value })}` }, `${key}=${value}`))) : null],
    ["Deadline", job.deadline_at ? when(job.deadline_at).element : null],
    ["Waits for", job.waits_for ? h("span", {}, reasonOf(job), job.waiting_for ? [": ", waitsFor(job.waiting_for)] : null) : null],
    ["Parent", job.parent_id ? h("a", { href: `#/jobs/${job.parent_id}`, class: "mono" }, job.parent_id) : null],
    ["Tree", job.tree_id ? h("a", { href: `#/jobs/${job.id}/tree` }, "The tree of this job") : null],
    ["Retry of", job.retry_of ? h("a", { href: `#/jobs/${job.retry_of}`, class: "mono" }, job.retry_of) : null],
  ];
  put(list, facts.filter(([, value]) => value !== null).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function waitsFor({ jobs, event, until }) {
  const first = jobs.slice(0, 3).map((id, place) => [place ? ", " : "", h("a", { href: `#/jobs/${id}`, class: "mono" }, short(id))]);
  return h("span", {}, first, jobs.length > 3 ? ` and ${jobs.length - 3} more` : "", event ? `event ${event.type ?? ""}` : "",
    until ? [jobs.length || event ? ", at most until " : "", full(until)] : "");
}
