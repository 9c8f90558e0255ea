// The bars above the list of jobs: the report that has their numbers. Pure functions.

import { presetOf } from "./job_filters.js";

const MINUTE = 60000;
const HOUR = 3600000;
const DAY = 86400000;
/** The longest period of the API's analytics. */
const MAX_DAYS = 90;
/** The longest period with a bar for each hour. */
const MAX_HOURLY = 8 * DAY;

/** Return the times from and until which the list has jobs; the last day if it has no limit. */
function rangeOf(query, now) {
  const preset = presetOf(query);
  if (preset) return [now - preset, now];
  const time = (end) => {
    const [ended, created] = ["completed", "created"].map((name) => `filter[${name}_${end}]`);
    return Date.parse(query.get(ended) ?? query.get(created) ?? "");
  };
  const until = Math.min(time("before") || now, now);
  const from = time("after");
  return [Number.isNaN(from) ? until - DAY : Math.min(from, until - MINUTE), until];
}

/**
 * Return the report of the ended jobs of a list: its path and query, the `span` of a bar in
 * milliseconds, and the range `from` and `until`. Minutes are known of the last hour, and only of
 * all workers together.
 * @param {URLSearchParams} query
 */
export function reportOf(query, now = Date.now()) {
  const worker = query.get("filter[worker_id]") ?? "";
  const [from, until] = rangeOf(query, now);
  if (from >= now - HOUR && !worker) {
    return { path: "/v1/ava/overview", span: MINUTE, from, until };
  }
  const isHourly = until - from <= MAX_HOURLY;
  // A single hour would be a single bar.
  const first = isHourly ? Math.min(from, until - DAY) : from;
  const days = Math.min(MAX_DAYS, Math.floor(now / DAY) - Math.floor(first / DAY) + 1);
  return {
    path: "/v1/ava/analytics",
    query: {
      days: String(days),
      group_by: isHourly ? "hour" : "day",
      "filter[worker_id]": worker,
    },
    span: isHourly ? HOUR : DAY,
    from: first,
    until,
  };
}

/** Return the bars of a report within its range: the time `at`, and the jobs by outcome. */
export function barsOf({ span, from, until }, data) {
  return (data?.minutes ?? data?.series ?? [])
    .map(({ minute, starts_at: start, completed, failed, cancelled }) => {
      return { at: Date.parse(minute ?? start), completed, failed, cancelled };
    })
    .filter(({ at }) => at + span > from && at < until);
}

/** Return the sums of bars by outcome. */
export function sumsOf(bars, kinds) {
  const sum = (kind) => bars.reduce((total, bar) => total + bar[kind], 0);
  return Object.fromEntries(kinds.map((kind) => [kind, sum(kind)]));
}
