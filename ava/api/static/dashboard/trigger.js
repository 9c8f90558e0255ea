// The forms that trigger a job, run one again and change a queued one.

import { call, get, post, session } from "./api.js";
import { toTyped, typedMoment, zone } from "./format.js";
import { InputEditor } from "./input_form.js";
import { parseInput, parseTags, writeTags } from "./input_model.js";
import { ask, Button, Field, html, Select, useEffect, useState } from "./ui/index.js";
import { allWorkers } from "./worker_list.js";

/** The longest time in seconds after which a job expires. */
const MAX_EXPIRY = "31622400";

/** The button that opens the form of a new job, of one worker or of any. */
export function RunButton({ workerId }) {
  if (!session.mayWrite) return null;
  const open = () => void openTrigger(workerId);
  return workerId
    ? html`<${Button} icon="play" onclick=${open}>Run<//>`
    : html`<${Button} kind="primary" onclick=${open}>New job<//>`;
}

const Priority = ({ value = 5 }) => html`<${Field} label="Priority" hint="1 starts first">
  <input name="priority" type="number" min="1" max="10" required
    defaultValue=${String(value)} /><//>`;

const Scheduled = ({ at = null }) => html`<${Field} label="Scheduled for"
  hint=${`Leave empty to start now; in ${zone.fullName}`}>
  <input name="scheduled" type="datetime-local" defaultValue=${toTyped(at)} /><//>`;

const Tags = ({ tags = {} }) => html`<${Field} label="Tags"
  hint="To find the job, such as team=security, order=17">
  <input name="tags" autocomplete="off" spellcheck="false" defaultValue=${writeTags(tags)} /><//>`;

/** A field for `expires_in_seconds`, which may be empty. */
const Expiry = ({ seconds = "", hint }) => html`<${Field} label="Expires after" hint=${hint}>
  <input name="expires_in_seconds" type="number" min="1" max=${MAX_EXPIRY}
    defaultValue=${seconds} /><//>`;

/** The input of a worker, by the schema that is read of it. `input.current` is null until then. */
function WorkerInput({ workerId, input }) {
  const [found, setFound] = useState(null);
  useEffect(() => {
    input.current = null;
    const leaving = new AbortController();
    const { signal } = leaving;
    const take = (schema) => signal.aborted || setFound({ workerId, schema });
    const path = `/v1/ava/workers/${encodeURIComponent(workerId)}`;
    // Without its schema a worker still takes JSON.
    const read = ({ data }) => take(data.input_schema);
    if (workerId) get(path, { signal }).then(read, () => take(null));
    return () => leaving.abort();
  }, [workerId]);
  if (found?.workerId === workerId) {
    return html`<${InputEditor} key=${workerId} schema=${found.schema} editor=${input} />`;
  }
  return html`<p class="muted" role="status">Loading the worker's input fields …</p>`;
}

/** Return the workers to choose from; null until they are read. */
function useChoices(workerId) {
  const [choices, setChoices] = useState(null);
  useEffect(() => {
    const take = (found) => {
      const active = found.filter(({ status }) => status !== "deprecated");
      const known = active.map(({ id, name }) => [id, `${name} (${id})`]);
      const isMissing = workerId && !found.some(({ id }) => id === workerId);
      setChoices(isMissing ? [[workerId, workerId], ...known] : known);
    };
    allWorkers().then(take, () => take([]));
  }, []);
  return choices;
}

/** The fields of a new job. */
function JobFields({ workerId, input }) {
  const choices = useChoices(workerId);
  const [chosen, setChosen] = useState(workerId);
  if (!choices) return html`<p class="muted" role="status">Loading the workers …</p>`;
  const worker = chosen ?? choices[0]?.[0] ?? "";
  return html`<${Field} label="Worker">
      <${Select} name="worker" required value=${worker} options=${choices}
        onchange=${setChosen} /><//>
    <${WorkerInput} workerId=${worker} input=${input} />
    <div class="row">
      <${Priority} /><${Scheduled} />
      <${Expiry} hint="Seconds until the job is cancelled if it has not started" />
    </div>
    <${Tags} />`;
}

/** Trigger the job of a form, and open its page. Faults of the input are shown at its fields. */
async function trigger(values, input) {
  if (!input.current) throw new Error("Loading the worker's input fields …");
  input.current.show({});
  try {
    const { worker, priority, scheduled, expires_in_seconds: expiry, tags } = values;
    const body = { worker_id: worker, input: input.current.value(), priority: Number(priority) };
    if (scheduled) body.scheduled_at = typedMoment(scheduled);
    if (expiry) body.expires_in_seconds = Number(expiry);
    if (tags.trim()) body.tags = parseTags(tags);
    const { data } = await post("/v1/ava/jobs", body);
    location.hash = `#/jobs/${data.id}`;
  } catch (error) {
    input.current?.show(error.fields ?? {});
    throw error;
  }
}

/**
 * Open the form of a new job; the page of the new job follows.
 * @param {string} [workerId]
 */
export function openTrigger(workerId) {
  const input = { current: null };
  return ask({
    title: "New job",
    action: "Trigger",
    body: html`<${JobFields} workerId=${workerId} input=${input} />`,
    submit: (values) => trigger(values, input),
  });
}

/** Open the form that runs a final job again with its input in an editor; the new job follows. */
export function editAndRunAgain(job) {
  // Hidden payloads are left unchanged.
  const before = job.payload_hidden ? "" : JSON.stringify(job.input, null, 2);
  const hint = `A JSON object${job.payload_hidden ? "; empty: as before" : ""}`;
  return ask({
    title: "Run again with changes",
    action: "Run again",
    text: `A new job of ${job.worker_id} is triggered.`,
    body: html`<${Field} label="Input" hint=${hint}>
        <textarea name="input" rows="14" spellcheck="false" class="editor"
          defaultValue=${before}></textarea><//>
      <${Priority} value=${job.priority} />`,
    submit: async (values) => {
      const body = {};
      // Omit unchanged values, because large numbers would lose digits in JavaScript.
      if (values.input !== before) body.input = parseInput(values.input);
      if (Number(values.priority) !== job.priority) body.priority = Number(values.priority);
      const { data } = await post(`/v1/ava/jobs/${job.id}/retry`, body);
      location.hash = `#/jobs/${data.id}`;
    },
  });
}

/** Open the form that changes a queued job; `done` follows. */
export function changeQueued(job, done) {
  const hasStarted = job.attempt > 0;
  const limits = "The job has already started, so only its priority and tags can be changed.";
  const hint = `Seconds from now; empty: ${job.expires_at ? "unchanged" : "never"}`;
  return ask({
    title: "Change this job",
    action: "Change",
    text: hasStarted && limits,
    body: html`<${Priority} value=${job.priority} />
      ${
        !hasStarted &&
        html`<div class="row">
          <${Scheduled} at=${job.scheduled_at} /><${Expiry} hint=${hint} />
        </div>`
      }
      <${Tags} tags=${job.tags} />`,
    submit: async (values) => {
      const body = changesOf(job, values, hasStarted);
      if (Object.keys(body).length) await call("PATCH", `/v1/ava/jobs/${job.id}`, { body });
      done();
    },
  });
}

const timeOf = (text) => (text ? Date.parse(text) : null);

/** Return what the values of the form change in a queued job. */
function changesOf(job, values, hasStarted) {
  const body = {};
  if (Number(values.priority) !== job.priority) body.priority = Number(values.priority);
  const date = values.scheduled ? typedMoment(values.scheduled) : null;
  if (!hasStarted && timeOf(date) !== timeOf(job.scheduled_at)) body.scheduled_at = date;
  const expiry = values.expires_in_seconds;
  if (expiry) body.expires_in_seconds = Number(expiry);
  const tags = values.tags.trim();
  if (tags !== writeTags(job.tags)) body.tags = tags ? parseTags(tags) : {};
  return body;
}
