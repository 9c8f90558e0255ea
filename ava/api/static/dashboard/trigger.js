// The forms that trigger a job, run one again and change a queued one.

import { call, get, post, session } from "./api.js";
import { typedMoment } from "./format.js";
import { InputEditor } from "./input_form.js";
import { parseInput, parseTags, writeTags } from "./input_model.js";
import { ApprovalField, ask, Button, Choice, html, Input, MomentField } from "./ui/index.js";
import { changedApproval, TextArea, useRead, useState } from "./ui/index.js";
import { workerOptions } from "./worker_list.js";

/** The longest time in seconds after which a job expires. */
const MAX_EXPIRY = "31622400";

/** The button that opens the form of a new job, of one worker or of any. */
export function RunButton({ workerId }) {
  if (!session.mayWrite) return null;
  const open = () => void openTrigger(workerId);
  return workerId
    ? html`<${Button} icon="play" onclick=${open}>Run<//>`
    : html`<${Button} kind="primary" icon="plus" onclick=${open}>New job<//>`;
}

const Priority = ({ value = 5 }) => html`<${Input} label="Priority" name="priority" type="number"
  min="1" max="10" required value=${value} hint="1 starts first" />`;

const Scheduled = ({ at = null }) => html`<${MomentField} label="Scheduled for" name="scheduled"
  value=${at} hint="Leave empty to start now" />`;

const Tags = ({ tags = {} }) => html`<${Input} label="Tags" name="tags" spellcheck=${false}
  value=${writeTags(tags)} hint="To find the job, such as team=security, order=17" />`;

/** A field for `expires_in_seconds`, which may be empty. */
const Expiry = ({ hint }) => html`<${Input} label="Expires after" name="expires_in_seconds"
  type="number" min="1" max=${MAX_EXPIRY} hint=${hint} />`;

/** The input of a worker, by the schema that is read of it. `input.current` is null until then. */
function WorkerInput({ workerId, input }) {
  const read = async (signal) => {
    const path = `/v1/ava/workers/${encodeURIComponent(workerId)}`;
    // Without its schema a worker still takes JSON.
    const { data } = await get(path, { signal }).catch(() => ({ data: { input_schema: null } }));
    return { workerId, schema: data.input_schema };
  };
  const { value: found } = useRead(read, [workerId]);
  if (found?.workerId === workerId) {
    return html`<${InputEditor} key=${workerId} schema=${found.schema} editor=${input}
      workerId=${workerId} />`;
  }
  input.current = null;
  return html`<p class="muted" role="status">Loading the worker's input fields …</p>`;
}

/** The fields of a new job. */
function JobFields({ workerId, input }) {
  const isOffered = ({ status }) => status !== "deprecated";
  const known = useRead(() => workerOptions(workerId, isOffered), []);
  const choices = known.error ? [[workerId, workerId]] : known.value;
  const [chosen, setChosen] = useState(workerId);
  if (!choices) return html`<p class="muted" role="status">Loading the workers …</p>`;
  const worker = chosen ?? choices[0]?.[0] ?? "";
  return html`<${Choice} label="Worker" name="worker" required value=${worker} options=${choices}
      onchange=${setChosen} />
    <${WorkerInput} workerId=${worker} input=${input} />
    <div class="row">
      <${Priority} /><${Scheduled} />
      <${Expiry} hint="Seconds until the job is cancelled if it has not started" />
    </div>
    <${Tags} />
    <details><summary>More options</summary><${ApprovalField} /></details>`;
}

/**
 * Trigger a job with the input of an editor, and open its page. Faults are shown at their fields.
 * @param {{ current: any }} editor
 * @param {(input: any) => any} bodyOf
 */
export async function trigger(editor, bodyOf) {
  if (!editor.current) throw new Error("Loading the worker's input fields …");
  editor.current.show({});
  try {
    const { data } = await post("/v1/ava/jobs", bodyOf(editor.current.value()));
    location.hash = `#/jobs/${data.id}`;
  } catch (error) {
    editor.current?.show(error.fields ?? {});
    throw error;
  }
}

function bodyOf(values, input) {
  const { worker, priority, scheduled, expires_in_seconds: expiry, tags } = values;
  const body = { worker_id: worker, input, priority: Number(priority) };
  if (scheduled) body.scheduled_at = typedMoment(scheduled);
  if (expiry) body.expires_in_seconds = Number(expiry);
  if (tags.trim()) body.tags = parseTags(tags);
  return { ...body, ...changedApproval(values) };
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
    submit: (values) => trigger(input, (value) => bodyOf(values, value)),
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
    body: html`<${TextArea} label="Input" name="input" rows="14" class="editor" value=${before}
        hint=${hint} />
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
