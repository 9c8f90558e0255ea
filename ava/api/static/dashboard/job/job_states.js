// The states of jobs and runs, as the page of a job and the tree show them. No DOM.

import { FINAL } from "../job_filters.js";

const STATES = ["running", "cancelling", "waits", "queued", "completed", "failed", "cancelled"];
/** How a run ended: the state whose colour it has, and its verb. */
const OUTCOMES = {
  lost: ["failed", "was lost"],
  interrupted: ["failed", "was interrupted"],
  deferred: ["queued", "deferred its job"],
  waits: ["waits", "waits"],
};

export const isFinal = ({ status }) => FINAL.includes(status);

/** The state of a job as it is shown: a queued one that waits for others `waits`. */
export function stateOf(job) {
  if (job.status === "queued" && job.waiting_for) return "waits";
  return !isFinal(job) && job.cancel_requested_at ? "cancelling" : job.status;
}

/** The name of a job in its tree. */
export const nameOf = (job) => (job.name ?? job.worker_id).replace(/^wkr_/, "");

/** The state whose colour a run has, and what happened, as a verb. */
export function outcomeOf(run, job) {
  if (!run.outcome && job.cancel_requested_at) return ["cancelling", "is asked to stop"];
  if (!run.outcome) return ["running", "is running"];
  return OUTCOMES[run.outcome] ?? [run.outcome, run.outcome];
}

/** How many jobs are in each state, those that are under way first. */
export function countsOf(jobs) {
  const counts = new Map();
  for (const job of jobs) counts.set(stateOf(job), (counts.get(stateOf(job)) ?? 0) + 1);
  return STATES.filter((state) => counts.has(state)).map((state) => [state, counts.get(state)]);
}

/** The jobs, each after its parent, with how many are above it. */
export function inOrder(jobs) {
  const known = new Set(jobs.map(({ id }) => id));
  const below = new Map();
  for (const job of jobs) {
    const parent = known.has(job.parent_id) ? job.parent_id : null;
    if (!below.has(parent)) below.set(parent, []);
    below.get(parent).push(job);
  }
  const found = [];
  const visit = (parent, depth) => {
    for (const job of below.get(parent) ?? []) {
      found.push({ job, depth });
      visit(job.id, depth + 1);
    }
  };
  visit(null, 0);
  return found;
}
