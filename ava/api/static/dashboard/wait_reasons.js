// Why a queued job cannot start yet: the values of `waits_for` in words.

export const REASONS = {
  schedule: "its scheduled time",
  retry: "its retry delay",
  deferred: "the end of its deferral",
  debounce: "the end of a burst of triggers",
  children: "jobs, or the first of several conditions",
  jobs: "its predecessors",
  event: "an event",
  approval: "a person's decision",
  sleep: "the end of a sleep",
  permit: "a permit of its concurrency or rate limit",
  node: "a node with its handler",
  worker: "its worker, which is paused",
  queue: "its queue, which is paused",
  contained: "the end of its containments",
};

/** The state of a job as lists show it. */
export function stateOf(job) {
  if (job.status === "running" && job.cancel_requested_at) return "cancelling";
  return ["schedule", "debounce"].includes(job.waits_for) ? "scheduled" : job.status;
}

/** The reason in words; empty of a job that does not wait. A later release may have others. */
export const reasonOf = (job) => (job.waits_for ? (REASONS[job.waits_for] ?? job.waits_for) : "");
