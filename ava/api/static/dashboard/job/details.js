// A job's tabs except its log and its tree: input and output, runs, record and deliveries.

import { actorOf, full, number, ran, short, span } from "../format.js";
import { Empty, html, Pill, Table, useApi, useState, When } from "../ui/index.js";
import { Json } from "../ui/json.js";
import { eventName, lastRequest } from "../record_facts.js";
import { column, Facts, numeric, state, when } from "../records_page.js";
import { reasonOf } from "../wait_reasons.js";
import { pathOf } from "./data.js";
import { isFinal, outcomeOf } from "./job_states.js";

/** Input and output, beside those of the job that it retries. */
export function Payloads({ job }) {
  const { data: before } = useApi(job.retry_of ? pathOf(job.retry_of) : null);
  return html`<div class="payloads" data-count=${before ? 2 : 1}>
    <${PayloadsOf} job=${job} title=${before && "This job"} />
    ${
      before &&
      html`<${PayloadsOf} job=${before} other=${job} title=${html`<a href=${`#/jobs/${before.id}`}>
        The job that it retries, ${short(before.id)}</a>`} />`
    }
  </div>`;
}

function PayloadsOf({ job, other, title }) {
  const Title = title ? "h3" : "h2";
  const shared = { job, other, Title };
  return html`<section aria-label=${other ? "The job that it retries" : "Input and output"}>
    ${title && html`<h2>${title}</h2>`}
    <${Payload} ...${shared} name="Input" field="input" />
    ${isFinal(job) && html`<${Payload} ...${shared} name="Output" field="output" />`}
    ${!isFinal(job) && html`<div><${Title}>Output<//><${Empty} title="No output yet." /></div>`}
  </section>`;
}

function Payload({ job, other, name, field, Title }) {
  const value = job[field];
  const isSame = other && value !== null && JSON.stringify(value) === JSON.stringify(other[field]);
  return html`<div>
    <${Title}>${name} ${isSame && html`<small>the same</small>`}<//>
    ${field === "output" && job.error && html`<p class="error">${job.error}</p>`}
    <${Json} value=${value} isHidden=${job.payload_hidden} name=${name} />
  </div>`;
}

/** How long a job waited and ran, and each of its runs. */
export function Runs({ job, runs }) {
  const pill = (run) =>
    html`<${Pill} state=${outcomeOf(run, job)[0]}>${run.outcome ?? "running"}<//>`;
  const memory = ({ peak_memory_mb: peak }) => (peak === null ? "–" : `${number(peak)} MiB`);
  const columns = [
    numeric("Run", (run) => run.place, "3rem"),
    numeric("Attempt", (run) => run.attempt, "4.5rem"),
    column("Outcome", "9rem", pill),
    column("Started", "minmax(0, 1fr)", (run) => full(run.started_at)),
    numeric("Waited", (run) => span(run.wait_ms), "6rem"),
    numeric("Ran", (run) => span(run.duration_ms), "6rem"),
    numeric("Processor", (run) => span(run.cpu_ms), "6rem"),
    numeric("Peak memory", memory, "7rem"),
  ];
  const rows = runs.map((run, place) => ({ ...run, place: place + 1 }));
  const facts = [
    ["Waited to start", span(job.usage?.wait_ms)],
    ["Ran", ran(job)],
  ];
  return html`<${Facts} class="facts-line" items=${facts} />
    <${Table} label="Runs" columns=${columns} rows=${rows} keyOf=${(run) => String(run.place)}
      attributes=${(run) => ({ "data-run": run.place })}
      empty=${html`<${Empty} title="It has not started yet." />`} />`;
}

/** The fields of the record, and the record as JSON. */
export function Record({ job }) {
  const [isRaw, setRaw] = useState(false);
  const facts = [
    ["ID", html`<span class="mono">${job.id}</span>`],
    ["Trigger", `${job.trigger}, by ${job.triggered_by}`],
    ["Origin", job.origin.id !== job.triggered_by && actorOf(job.origin)],
    ["Priority", `${job.priority} of 10`],
    ["Attempt", `${job.attempt} of ${job.max_attempts}`],
    ["Triggered", timeOf(job.created_at)],
    ["Scheduled for", timeOf(job.scheduled_at)],
    ["Started", timeOf(job.started_at)],
    ["Ended", timeOf(job.completed_at)],
    ["Expires", timeOf(job.expires_at)],
    ["Deadline", timeOf(job.deadline_at)],
    ["Cancel requested", timeOf(job.cancel_requested_at)],
    ["Cancelled by", job.cancelled_by],
    ["Waits for", job.waits_for && waitOf(job)],
    ["Used", job.usage && usageOf(job.usage)],
    ["Tags", Object.keys(job.tags).length > 0 && tagsOf(job.tags)],
    ["Parent", linkOf(job.parent_id)],
    ["Tree", job.tree_id && html`<a href=${`#/jobs/${job.id}/tree`}>The tree of this job</a>`],
    ["Retry of", linkOf(job.retry_of)],
  ];
  const raw = isRaw && html`<${Json} value=${job} name="Record" />`;
  return html`<${Facts} class="record" items=${facts} />
    <details ontoggle=${(event) => setRaw(event.target.open)}>
      <summary>As JSON</summary>${raw}
    </details>`;
}

/** The known resource usage of a run, or of all runs of a job. */
export function usageOf({ cpu_ms: cpu, peak_memory_mb: peak, wait_ms: waited }) {
  const parts = [
    cpu === null ? null : `${span(cpu)} of processor time`,
    peak === null ? null : `peak ${peak} MiB`,
    waited === null ? null : `waited ${span(waited)}`,
  ];
  return html`<small>${parts.filter(Boolean).join(", ")}</small>`;
}

const timeOf = (text) => text && html`${full(text)}, <${When} ts=${text} />`;
const linkOf = (id) => id && html`<a class="mono" href=${`#/jobs/${id}`}>${id}</a>`;

const tagsOf = (tags) =>
  html`<span class="tags">${Object.entries(tags).map(([key, value]) => {
    const query = new URLSearchParams({ [`filter[tag.${key}]`]: value });
    return html`<a key=${key} class="tag" href=${`#/jobs?${query}`}>${key}=${value}</a>`;
  })}</span>`;

function waitOf(job) {
  if (!job.waiting_for) return reasonOf(job);
  const { jobs, event, until } = job.waiting_for;
  const links = jobs.slice(0, 3).map((id, place) => html`${place ? ", " : ""}${shortLink(id)}`);
  const more = jobs.length > 3 ? ` and ${jobs.length - 3} more` : "";
  const end = until && `${jobs.length || event ? ", at most until " : ""}${full(until)}`;
  return html`${reasonOf(job)}: ${links}${more}${event && `event ${event.type ?? ""}`}${end}`;
}

/** A link to a job by its short id. */
export const shortLink = (id) => html`<a class="mono" href=${`#/jobs/${id}`}>${short(id)}</a>`;

/** The deliveries of all webhooks about this job. */
export function Deliveries({ path }) {
  const { data, pagination } = useApi(`${path}/deliveries`, {
    query: { per_page: "100" },
    every: 5,
  });
  const webhookOf = ({ webhook_id: id }) =>
    html`<a class="mono" href="#/webhooks" title=${id}>${id ? short(id) : "–"}</a>`;
  const columns = [
    state("8rem", ({ status }) => status),
    column("Event", "minmax(0, 1fr)", ({ event_type: type }) => eventName(type)),
    column("Webhook", "minmax(0, 1fr)", webhookOf),
    column("Created", "9rem", ({ created_at: at }) => when(at)),
    column("Response", "minmax(0, 2fr)", lastRequest),
  ];
  const empty = html`<${Empty} title="No webhook was sent an event of this job.">
    A <a href="#/webhooks">webhook</a> sends the events to which it subscribes.
  <//>`;
  return html`<${Table} label="Deliveries" columns=${columns} rows=${data} empty=${empty} />
    ${pagination?.has_more && html`<p class="muted">These are the newest ${data.length}.</p>`}`;
}
