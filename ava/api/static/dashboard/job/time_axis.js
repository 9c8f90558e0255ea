// A time axis: where a time is on it, in percent, and its ticks. No DOM.

/** Milliseconds between two ticks. */
export const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 15000, 30000, 60000, 120000, 300000,
  600000, 1800000, 3600000, 10800000, 21600000, 43200000, 86400000, 259200000, 604800000,
];
const MAX_TICKS = 6;

/**
 * @typedef {{ first: number, last: number, place: (at: number) => number }} Axis
 * Times are in milliseconds since 1970.
 */

/** Milliseconds since 1970 of an ISO time; null of none. */
export const at = (text) => (text ? new Date(text).getTime() : null);

/**
 * Return the axis from `first` to `last`, at least 1 ms long.
 * @param {number} first
 * @param {number} last
 * @returns {Axis}
 */
export function axisOf(first, last) {
  const end = Math.max(last, first + 1);
  const place = (moment) => Math.min(100, Math.max(0, (100 * (moment - first)) / (end - first)));
  return { first, last: end, place };
}

/** Return the milliseconds from the axis's start to each of its ticks, at most `MAX_TICKS` + 1. */
export function ticksOf({ first, last }) {
  const length = last - first;
  const step = STEPS.find((each) => length / each <= MAX_TICKS) ?? length / MAX_TICKS;
  const found = [];
  for (let offset = 0; offset <= length; offset += step) found.push(offset);
  return found;
}

/** Return the place and width of a bar as styles. */
export function barStyle({ place }, from, to) {
  const left = place(from);
  return { left: `${left}%`, width: `${Math.max(0, place(to) - left)}%` };
}
