// The rows of the list of jobs: one line each, and a second one for an error or a progress.

import { short, span } from "./format.js";
import { widthOf } from "./job_view.js";
import { addressWith, Duration, html, Pill, Progress, Table, When } from "./ui/index.js";
import { reasonOf, stateOf } from "./wait_reasons.js";

const FIELDS = [
  "id,worker_id,status,trigger,priority,triggered_by,created_at,started_at,completed_at",
  "duration_ms,error,scheduled_at,attempt,max_attempts,cancel_requested_at,tags,waits_for,progress",
];

/** Return the fields that the rows of a view show; inputs are read only for their column. */
export const fieldsOf = ({ columns }) =>
  [...FIELDS, ...(columns.some(([name]) => name === "input") ? ["input"] : [])].join();

function waitOf(job) {
  if (!job.started_at) return "–";
  const due = Date.parse(job.scheduled_at ?? job.created_at);
  return span(Math.max(0, Date.parse(job.started_at) - due));
}

/** The tags of a job, each a link that adds it to the filters. */
function Tags({ tags }) {
  const added = (key, value) =>
    addressWith({ [`filter[tag.${key}]`]: value, cursor: "", page: "" });
  const link = ([key, value]) =>
    html`<a class="tag" key=${key} href=${added(key, value)}>${`${key}=${value}`}</a>`;
  return html`<span class="tags">${Object.entries(tags ?? {}).map(link)}</span>`;
}

/** The second line of a row: the error, or the progress of a running job. */
function noteOf({ error, status, progress }) {
  if (error) return html`<span class="error">${error}</span>`;
  if (status !== "running" || !progress) return null;
  return html`<${Progress} class="note" value=${progress.fraction} message=${progress.message} />`;
}

function Status({ job }) {
  const why = job.waits_for ? `Waits for ${reasonOf(job)}` : undefined;
  return html`<${Pill} state=${stateOf(job)} title=${why} />`;
}

/** The content of each column. */
const CELLS = {
  status: (job) => html`<${Status} job=${job} />`,
  job: (job) => html`<span class="mono" title=${job.id}>${short(job.id)}</span>`,
  worker: (job) => job.worker_id,
  priority: (job) => job.priority,
  trigger: (job) => job.trigger,
  user: (job) => job.triggered_by,
  tags: (job) => html`<${Tags} tags=${job.tags} />`,
  // A large or hidden input is null.
  input: ({ input }) => (input ? html`<span class="mono">${JSON.stringify(input)}</span>` : "–"),
  created: (job, isExact) => html`<${When} ts=${job.created_at} isExact=${isExact} />`,
  waited: waitOf,
  duration: (job) => html`<${Duration} job=${job} />`,
  ended: (job, isExact) => html`<${When} ts=${job.completed_at} isExact=${isExact} />`,
  attempt: (job) => `${job.attempt} of ${job.max_attempts}`,
};
/** The columns of numbers, which end at one line. */
const NUMERIC = ["priority", "waited", "duration", "attempt"];

/** The table of jobs in a view; the rest are the selection and the open job, as of a `Table`. */
export function JobTable({ jobs, view, ...rest }) {
  const columns = view.columns.map(([key, title]) => ({
    key,
    title,
    width: widthOf(key, view),
    numeric: NUMERIC.includes(key),
    isLink: key === "job",
    cell: (job) => CELLS[key](job, view.isExact),
  }));
  return html`<${Table} label="Jobs" class=${`jobs ${view.density}`} columns=${columns}
    rows=${jobs} href=${(job) => `#/jobs/${job.id}`} after=${noteOf}
    attributes=${(job) => ({ "data-job": job.id })} ...${rest} />`;
}
