// The head of a job: its state, its duration, why it is in that state, and its actions.

import { post } from "../api.js";
import { Contain } from "../contain.js";
import { titled, withLocalTimes } from "../format.js";
import { changeQueued, editAndRunAgain } from "../trigger.js";
import { ask, Button, Duration, html, Id, mayWrite, notify, Pill, Progress } from "../ui/index.js";
import { isFinal } from "./job_states.js";

export function Header({ job, why, reload, isPanel }) {
  const isStopping = job.status === "running" && job.cancel_requested_at;
  const attempts = job.max_attempts;
  const approval = !isFinal(job) && job.waiting_for?.approval;
  const actions = html`<div class="row actions"><${Actions} job=${job} reload=${reload} /></div>`;
  const crumbs = html`<p class="crumbs">
    <a href="#/jobs">Jobs</a> / <${Id} id=${job.id} isWhole=${true} />
  </p>`;
  const Title = isPanel ? "h2" : "h1";
  return html`<header class="job-head">
    <div class="heading">
      <div>
        ${!isPanel && crumbs}
        <${Title} class="row">
          <a href=${`#/workers/${job.worker_id}`}>${job.worker_id}</a>
          <${Pill} state=${isStopping ? "cancelling" : job.status} />
        <//>
        <p class="row job-numbers">
          <strong><${Duration} job=${job} /></strong>
          ${attempts > 1 && html`<span>attempt ${job.attempt} of ${attempts}</span>`}
          <span>priority ${job.priority}</span>
        </p>
      </div>
      ${mayWrite() && actions}
    </div>
    <p class="why">${why ? titled(withLocalTimes(why.sentence)) : ""}</p>
    ${approval && html`<p><a class="button" href=${`#/approvals?id=${approval}`}>Decide</a></p>`}
    <${JobProgress} job=${job} />
  </header>`;
}

function JobProgress({ job: { progress, status } }) {
  if (!progress) return null;
  // A handler need not report that it is done.
  const value = status === "completed" ? 1 : progress.fraction;
  return html`<${Progress} value=${value} message=${progress.message} />`;
}

function Actions({ job, reload }) {
  const change = () => changeQueued(job, reload);
  const cancel = () => askToCancel(job, reload);
  if (!isFinal(job)) {
    const isQueued = job.status === "queued";
    return html`${isQueued && html`<${Button} icon="edit" onclick=${change}>Change …<//>`}
      <${Contain} parts=${partsOf(job)} />
      <${Button} kind="danger" icon="stop" onclick=${cancel}>Cancel<//>`;
  }
  const isPart = job.tree_id && job.parent_id === null && job.status !== "completed";
  const again = () => editAndRunAgain(job);
  const retry = () => askToRetry(job, RETRY);
  const retryFrom = () => askToRetry(job, RETRY_FROM, { from: "failed" }, "/tree");
  return html`<${Button} kind="quiet" icon="edit" onclick=${again}>Run again …<//>
    ${isPart && html`<${Button} onclick=${retryFrom}>Retry from here<//>`}
    <${Button} kind="primary" icon="retry" onclick=${retry}>Retry<//>`;
}

/** What a containment of this job's kind can cover. */
const partsOf = ({ tree_id: tree, worker_id: worker, tags }) => [
  ...(tree ? [{ tree_id: tree }] : []),
  { worker_id: worker },
  ...Object.entries(tags).map(([key, value]) => ({ tag: { key, value } })),
];

function askToCancel(job, reload) {
  const isRunning = job.status === "running";
  ask({
    title: "Cancel this job?",
    action: "Cancel job",
    kind: "danger",
    text: isRunning
      ? "Its process is asked to stop. Its effects so far are not undone."
      : "It will not start.",
    submit: async () => {
      await post(`/v1/ava/jobs/${job.id}/cancel`);
      notify("Cancel requested.");
      reload();
    },
  });
}

const RETRY = {
  title: "Retry this job?",
  action: "Retry job",
  text: "A new job is triggered with the same worker, input and priority.",
};
const RETRY_FROM = {
  title: "Retry this entry and its followers?",
  action: "Retry from here",
  text:
    "This entry and all following entries that did not complete are triggered again as new " +
    "jobs. Completed entries are reused, not rerun.",
};

function askToRetry(job, question, body = {}, tab = "") {
  const submit = async () => {
    const { data } = await post(`/v1/ava/jobs/${job.id}/retry`, body);
    location.hash = `#/jobs/${data.id}${tab}`;
  };
  ask({ ...question, submit });
}
