// The sidebar's counts, computed from API responses.

/** The API counts a list up to this many. */
const MAX_COUNTED = 1000;

/**
 * Return the counts of the responses of the overview, of the paused queues, of the approvals that
 * the caller may decide and of the newest active containment, by the name of the page that shows
 * each: how many, whether there may be more, what it counts, the page that lists them, and whether
 * it is bad.
 * @param {any[]} responses
 */
export function countsOf([{ data: overview }, { data: paused }, approvals, active]) {
  const { queues } = paused;
  const { total } = approvals.pagination;
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
    queues: queues.length && { count: queues.length, what: "paused", href: "#/queues" },
    approvals: total && {
      count: total,
      isMore: total >= MAX_COUNTED,
      what: "to decide",
      href: "#/approvals",
    },
    containments: active.data.length > 0 && {
      count: active.pagination.total,
      what: "active",
      href: "#/containments",
      isBad: true,
      newest: active.data[0],
    },
  };
}
