// The sidebar's counts, computed from API responses.

/**
 * Return the counts of an overview and of the paused queues, by the name of the page that shows
 * each: how many, whether there may be more, what it counts, the page that lists them, and whether
 * it is bad.
 * @param {any} overview
 * @param {any[]} pausedQueues
 */
export function countsOf(overview, pausedQueues) {
  const failed = overview.minutes.reduce((sum, minute) => sum + minute.failed, 0);
  const waiting = overview.queued - overview.scheduled;
  return {
    errors: failed && {
      count: failed,
      what: "failed in the last hour",
      href: "#/jobs?filter%5Bstatus%5D=failed",
      isBad: true,
    },
    jobs: waiting > 0 && {
      count: waiting,
      isMore: !overview.queued_is_exact,
      what: "waiting",
      href: "#/jobs?filter%5Bstatus%5D=queued",
    },
    queues: pausedQueues.length && { count: pausedQueues.length, what: "paused", href: "#/queues" },
  };
}
