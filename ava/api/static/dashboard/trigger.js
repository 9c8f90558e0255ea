// The form that triggers a job.

import { call, get, post, session } from "./api.js";
import { h, put } from "./dom.js";
import { typedMoment } from "./format.js";
import { inputEditor, parseInput } from "./input_form.js";
import { ask, button, field, momentField, options } from "./parts.js";
import { allWorkers } from "./worker_list.js";

/** A button that opens the form; the page of the new job follows. */
export function runButton(workerId) {
  if (!session.mayWrite) return null;
  return button(workerId ? "Run" : "New job", () => openTrigger(workerId), { kind: workerId ? "" : "primary" });
}

export async function openTrigger(workerId) {
  const workers = await allWorkers();
  const active = workers.filter((worker) => worker.status !== "deprecated").map((worker) => [worker.id, `${worker.name} (${worker.id})`]);
  if (workerId && !workers.some((worker) => worker.id === workerId)) active.unshift([workerId]);
  const input = workerInput(h("select", { name: "worker", required: true }, options(active, workerId)));
  ask({
    title: "New job",
    action: "Trigger",
    fields: [
      ...input.fields,
      h("div", { class: "row" },
        field("Priority", h("input", { name: "priority", type: "number", min: "1", max: "10", value: "5", required: true }), "1 starts first"),
        momentField("Scheduled for", "scheduled", { hint: "Leave empty to start now" }),
        expiryField(null, "Seconds until the job is cancelled if it has not started")),
      field("Tags", h("input", { name: "tags", autocomplete: "off", spellcheck: "false" }), "To find the job, such as team=security, order=17"),
    ],
    submit: (values) => input.withFaults(async () => {
      const body = { worker_id: values.worker, input: input.value(), priority: Number(values.priority) };
      if (values.scheduled) body.scheduled_at = typedMoment(values.scheduled);
      if (values.expires_in_seconds) body.expires_in_seconds = Number(values.expires_in_seconds);
      if (values.tags.trim()) body.tags = parseTags(values.tags);
      const { data } = await post("/v1/ava/jobs", body);
      location.hash = `#/jobs/${data.id}`;
    }),
  });
}

/** A worker and its input: the schema of the worker that is chosen makes the fields. */
function workerInput(worker) {
  const editor = inputEditor();
  const place = h("div", {});
  let isReady = false;
  const choose = async () => {
    const id = worker.value;
    isReady = false;
    put(place, h("p", { class: "muted", role: "status" }, "The fields of this worker are being read."));
    // Without its schema a worker still takes JSON.
    const found = id ? await get(`/v1/ava/workers/${encodeURIComponent(id)}`).catch(() => null) : null;
    if (worker.value !== id) return;
    editor.take(found?.data.input_schema ?? null);
    put(place, editor.element);
    isReady = true;
  };
  worker.addEventListener("change", choose);
  choose();
  return {
    fields: [field("Worker", worker), place],
    value() {
      if (!isReady) throw new Error("Loading the worker's input fields …");
      return editor.value();
    },
    /** Run `act`, and show what is wrong with the input at its fields. */
    async withFaults(act) {
      editor.show({});
      try {
        await act();
      } catch (error) {
        editor.show(error.fields ?? {});
        throw error;
      }
    },
  };
}

/** The form that triggers a job like a final one, with its input in an editor; the page of the new job follows. */
export function editAndRunAgain(job) {
  // Hidden payloads are left unchanged.
  const before = job.payload_hidden ? "" : JSON.stringify(job.input, null, 2);
  ask({
    title: "Run again with changes",
    action: "Run again",
    text: `A new job of ${job.worker_id} is triggered.`,
    fields: [
      field("Input", h("textarea", { name: "input", rows: "14", spellcheck: "false", class: "editor" }, before), job.payload_hidden ? "A JSON object; empty: as before" : "A JSON object"),
      field("Priority", h("input", { name: "priority", type: "number", min: "1", max: "10", value: String(job.priority), required: true }), "1 starts first"),
    ],
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

/** The form that changes a queued job; `done` follows. */
export function changeQueued(job, done) {
  const tags = Object.entries(job.tags).map(([key, value]) => `${key}=${value}`).join(", ");
  const hasStarted = job.attempt > 0;
  ask({
    title: "Change this job",
    action: "Change",
    text: hasStarted ? "The job has already started, so only its priority and tags can be changed." : "",
    fields: [
      field("Priority", h("input", { name: "priority", type: "number", min: "1", max: "10", value: String(job.priority), required: true }), "1 starts first"),
      hasStarted ? null : h("div", { class: "row" },
        momentField("Scheduled for", "scheduled", { at: job.scheduled_at, hint: "Leave empty to start now" }),
        expiryField(null, job.expires_at ? "Seconds from now; empty: unchanged" : "Seconds from now; empty: never")),
      field("Tags", h("input", { name: "tags", autocomplete: "off", spellcheck: "false", value: tags }), "Such as team=security, order=17"),
    ].filter(Boolean),
    submit: async (values) => {
      const body = {};
      if (Number(values.priority) !== job.priority) body.priority = Number(values.priority);
      const date = values.scheduled ? typedMoment(values.scheduled) : null;
      if (!hasStarted && (date ? new Date(date).getTime() : null) !== (job.scheduled_at ? new Date(job.scheduled_at).getTime() : null)) body.scheduled_at = date;
      if (values.expires_in_seconds) body.expires_in_seconds = Number(values.expires_in_seconds);
      if (values.tags.trim() !== tags) body.tags = values.tags.trim() ? parseTags(values.tags) : {};
      if (Object.keys(body).length) await call("PATCH", `/v1/ava/jobs/${job.id}`, { body });
      done();
    },
  });
}

/** A field for `expires_in_seconds`, which may be empty. */
export function expiryField(seconds, hint) {
  return field("Expires after", h("input", { name: "expires_in_seconds", type: "number", min: "1", max: "31622400", value: seconds ?? "" }), hint);
}

function parseTags(text) {
  return Object.fromEntries(text.split(",").map((tag) => {
    const [, key, value] = /^\s*([^=]+?)\s*=\s*(.+?)\s*$/.exec(tag) ?? [];
    if (!key) throw new Error(`Tags: ${tag.trim() || "an empty tag"} is not in the form team=security.`);
    return [key, value];
  }));
}
