// Schedules: when each fires next, how its last job ended, and its last firings.

import { get, post } from "../api.js";
import { full, localTime } from "../format.js";
import { isFinal } from "../job/job_states.js";
import { column, jobLink, minor, recordsPage, state, when } from "../records_page.js";
import { openForm, Preview, timingOf } from "../schedule_form.js";
import { addressWith, Button, Empty, html, notify, Pill, useApi } from "../ui/index.js";
import { useEffect, useRead, useState } from "../ui/index.js";

const PATH = "/v1/ava/schedules";
/** Firings in a row's strip and in the panel. */
const STRIP = "30";
/** Milliseconds between two reads of a last job that has not ended. */
const JOB_MS = 3000;
const pathOf = (schedule) => `${PATH}/${encodeURIComponent(schedule.id)}`;
const nameOf = (schedule) => schedule.name ?? schedule.worker_id;
const stateOf = (schedule) => (schedule.paused ? "paused" : "enabled");
const COMMAND = 'ava schedules create wkr_report "0 9 * * 1-5" Europe/Berlin';

const COLUMNS = [
  column(
    "Schedule",
    "minmax(12rem, 2fr)",
    (found) => html`
      <a href=${addressWith({ id: found.id })} data-schedule=${found.id}>${nameOf(found)}</a>
      <small class="mono">${`${found.worker_id} · ${timingOf(found)}`}</small>`,
  ),
  state("7rem", stateOf),
  column("Next", "8rem", (schedule) => when(schedule.next_run_at)),
  minor("Last", "minmax(13rem, 1.2fr)", ({ last_run_at: last, last_job_id: job }) => {
    return html`<div class="row">${when(last)}<${LastJob} id=${job} key=${job} /></div>`;
  }),
  minor("Firings", "minmax(8rem, 1fr)", (schedule) => html`<${Strip} schedule=${schedule} />`),
];

export const open = recordsPage({
  title: "Schedules",
  path: PATH,
  noun: ["schedule", "schedules"],
  perPage: 20,
  columns: () => COLUMNS,
  empty: html`<${Empty} title="No schedules yet." command=${COMMAND}>
    A schedule triggers jobs by a cron pattern, or by an interval below a minute.
  <//>`,
  create: (done) => openForm(null, done),
  describe: (schedule) => ({
    title: nameOf(schedule),
    state: stateOf(schedule),
    pause: "Firings are skipped until it is resumed, and not caught up. Its jobs continue.",
    remove: `${nameOf(schedule)} triggers no more jobs. Its existing jobs continue.`,
  }),
  actions: (schedule, changed) => html`
    <${Button} icon="play" onclick=${() => run(schedule)}>Run now<//>
    <${Button} onclick=${() => openForm(schedule, changed)}>Edit<//>
  `,
  content: (schedule) => html`<${Firings} schedule=${schedule} />`,
});

async function run(schedule) {
  const { data: job } = await post(`${pathOf(schedule)}/run`);
  notify(`Triggered ${job.id}.`);
  location.hash = `#/jobs/${job.id}`;
}

/** The newest firings of a schedule, read again once another one was decided. */
function useFirings(schedule) {
  const { data, reload } = useApi(`${pathOf(schedule)}/firings`, { query: { per_page: STRIP } });
  useEffect(() => {
    if (data) reload();
  }, [schedule.next_run_at, schedule.last_run_at]);
  return data ?? [];
}

/** How the last job ended, read until it has. An old job may be past its retention. */
function LastJob({ id }) {
  const [round, setRound] = useState(0);
  const query = { fields: "id,status" };
  const read = async (signal) => id && (await get(`/v1/ava/jobs/${id}`, { query, signal })).data;
  const { value: job } = useRead(read, [id, round], round && JOB_MS);
  useEffect(() => {
    if (job && !isFinal(job)) setRound(round + 1);
  }, [job]);
  return job && html`<${Pill} state=${job.status} />${jobLink(job.id)}`;
}

const aboutFiring = ({ slot, outcome, reason }, every) =>
  `${localTime(slot, Boolean(every))}: ${outcome}${reason ? `, ${reason}` : ""}`;

/** The last firings as small boxes, the oldest first; the label says what the colours show. */
function Strip({ schedule }) {
  const firings = useFirings(schedule);
  if (!firings.length) return html`<span class="muted">none yet</span>`;
  const words = ["fired", "skipped", "missed"]
    .map((outcome) => [firings.filter((each) => each.outcome === outcome).length, outcome])
    .filter(([count]) => count)
    .map(([count, outcome]) => `${count} ${outcome}`);
  const label = `The last ${firings.length} firings: ${words.join(", ")}`;
  const box = (firing) =>
    html`<i key=${firing.slot} data-outcome=${firing.outcome} 
      title=${aboutFiring(firing, schedule.every_seconds)}></i>`;
  return html`<div class="strip" role="img" aria-label=${label}>
    ${firings.toReversed().map(box)}
  </div>`;
}

/** The pattern in words, the next firings and the last ones. */
function Firings({ schedule }) {
  const { cron, timezone, every_seconds: every, next_run_at: next } = schedule;
  const past = useFirings(schedule);
  const line = ({ slot, at, outcome, job_id: job, reason }) => html`<li key=${slot}>
    <span title=${full(at)}>${localTime(slot, Boolean(every))}</span>
    <${Pill} state=${outcome} />${job ? jobLink(job) : html`<small>${reason ?? ""}</small>`}
  </li>`;
  return html`
    <p class="mono">${timingOf(schedule)}</p>
    <h3>Next</h3>
    <${Preview} cron=${cron} timezone=${timezone} every=${every} after=${next} />
    <h3>Last</h3>
    ${past.length === 0 && html`<p class="muted">No firings yet</p>`}
    <ol class="plain past">${past.map(line)}</ol>
  `;
}
