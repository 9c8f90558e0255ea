// Values that charts compute from series: sums, ranges, steps, units.

import { number, span } from "../format.js";

/**
 * @typedef {{ label: string, values: (number | null)[], isStacked?: boolean }} Series
 */

/**
 * Return the values as they are drawn: those that are stacked are sums with all that follow them,
 * so that the first is the highest and the later ones are drawn over it.
 * @param {Series[]} series
 */
export function stacked(series) {
  const drawn = series.map(({ values }) => values);
  let above = null;
  for (let n = series.length - 1; n >= 0; n -= 1) {
    if (!series[n].isStacked) continue;
    const below = above;
    above = series[n].values.map((value, at) => {
      const sum = below?.[at] ?? null;
      return value === null && sum === null ? null : (value ?? 0) + (sum ?? 0);
    });
    drawn[n] = above;
  }
  return drawn;
}

/**
 * Return the places of the values without a neighbour, which a line does not show.
 * @param {(number | null)[]} values
 */
export const lonePlaces = (values) =>
  values.flatMap((value, at) => {
    const isLone = [values[at - 1], values[at + 1]].every((near) => (near ?? null) === null);
    return value !== null && isLone ? [at] : [];
  });

/**
 * Return the range of an axis of times: from the first step to the end of the last.
 * @param {{ times: number[], step: number }} chart
 */
export const domain = ({ times, step }) =>
  /** @type {[number, number]} */ ([times[0] ?? 0, (times.at(-1) ?? 0) + step]);

/**
 * Return the step to which a key moves; null for another key.
 * @param {string} key
 * @param {number | null} place
 * @param {number} count
 */
export function atX(key, place, count) {
  const last = count - 1;
  const [before, after] = [(place ?? count) - 1, (place ?? last - 1) + 1];
  const next = { ArrowLeft: before, ArrowRight: after, Home: 0, End: last }[key];
  return next === undefined || count === 0 ? null : Math.max(0, Math.min(last, next));
}

/**
 * Return the steps that have a value above 0, the newest first.
 * @param {number[]} times
 * @param {Series[]} series
 */
export function rowsOf(times, series) {
  return times
    .map((at, place) => ({ at, values: series.map(({ values }) => values[place] ?? null) }))
    .filter(({ values }) => values.some(Boolean))
    .reverse();
}

/** Return a duration in milliseconds for an axis. @param {number} value */
export const time = (value) => (value === 0 ? "0" : span(value).replace(".0 ", " "));

/** Return a number of jobs for an axis: `12k`, `1.2M`. @param {number} value */
export function count(value) {
  if (value >= 1e6) return `${number(Math.round(value / 1e5) / 10)}M`;
  if (value >= 1e4) return `${number(Math.round(value / 1e3))}k`;
  return Number.isInteger(value) ? number(value) : String(Math.round(value * 10) / 10);
}

/**
 * Return counts per step as counts per minute. The last step may still be counted: `until` is the
 * time in seconds until which it is.
 * @param {(number | null)[]} values
 * @param {number[]} times
 * @param {number} step
 * @param {number} until
 */
export function perMinute(values, times, step, until) {
  return values.map((value, at) => {
    const seconds = Math.min(step, until - times[at]);
    // A step that has just begun would make one job a high rate.
    return value === null || seconds < Math.min(step, 30) ? null : (60 * value) / seconds;
  });
}

/** The ranges to choose from, by their names in the address: seconds. */
export const RANGES = /** @type {const} */ ({
  "15m": 900,
  "1h": 3_600,
  "6h": 21_600,
  "24h": 86_400,
  "2d": 172_800,
  "7d": 604_800,
  "30d": 2_592_000,
  "90d": 7_776_000,
});

/**
 * Return the range that the address names, and its query of series: a time until now, the standard
 * one if it names none, or two times.
 * @param {URLSearchParams} query
 * @param {keyof typeof RANGES} [standard]
 */
export function rangeOf(query, standard = "1h") {
  const [since, until] = [query.get("since"), query.get("until")];
  if (since && until && Date.parse(since) < Date.parse(until)) {
    const seconds = (Date.parse(until) - Date.parse(since)) / 1000;
    return { name: null, seconds, query: { since, until } };
  }
  const chosen = query.get("range") ?? standard;
  const name = /** @type {keyof typeof RANGES} */ (
    Object.hasOwn(RANGES, chosen) ? chosen : standard
  );
  const seconds = RANGES[name];
  return { name, seconds, query: { range_seconds: String(seconds) } };
}
