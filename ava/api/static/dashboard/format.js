// Numbers, times and sizes as people read them.

/** Characters that turn the direction of the text around them, so that it reads as another one. */
const TURNING = /[\u202a-\u202e\u2066-\u2069]/g;

/** A text with the characters that turn its direction written as JSON does. */
export const plain = (text) =>
  text.replace(TURNING, (found) => `\\u${found.charCodeAt(0).toString(16)}`);

/** A text with its first letter as a capital. */
export const titled = (text) => text[0].toUpperCase() + text.slice(1);

/** A time in milliseconds since 1970 as the API writes it. */
export const iso = (milliseconds) => new Date(milliseconds).toISOString();

const whole = new Intl.NumberFormat("en");
const ZONE = "ava.zone";

/** One clock for every time on a page: the browser's zone, or UTC. */
export const zone = {
  get isUtc() {
    return localStorage.getItem(ZONE) === "utc";
  },
  /** The zone's short name at this moment, such as `CET`. */
  get name() {
    return formats()
      .zone.formatToParts(new Date())
      .find((part) => part.type === "timeZoneName").value;
  },
  /** The zone's full name, such as `Europe/Berlin`, which holds on every day of the year. */
  get fullName() {
    return formats().zone.resolvedOptions().timeZone;
  },
  toggle() {
    localStorage.setItem(ZONE, this.isUtc ? "local" : "utc");
    made = null;
  },
};

let made = null;

function formats() {
  if (made) return made;
  const timeZone = zone.isUtc ? "UTC" : undefined;
  const make = (parts) => new Intl.DateTimeFormat("en-GB", { timeZone, ...parts });
  const day = { day: "numeric", month: "short", year: "numeric" };
  const time = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
  made = {
    zone: make({ timeZoneName: "short" }),
    moment: make({ ...day, ...time, timeZoneName: "short" }),
    short: make({ day: "numeric", month: "short", ...time }),
    hour: make({ hour: "2-digit", minute: "2-digit" }),
    precise: make({ ...time, fractionalSecondDigits: 3 }),
  };
  return made;
}

export const number = (value) =>
  value === null || value === undefined ? "–" : whole.format(value);

/** A count with its noun: `1 job`, `1,200 jobs`. */
export const counted = (count, noun, several = `${noun}s`) =>
  `${number(count)} ${count === 1 ? noun : several}`;

/** A count in at most five characters: `950`, `1.2k`, `34k`, `2M`. */
export function shortCount(count) {
  if (count < 1000) return String(count);
  const [size, unit] = count < 1e6 ? [1e3, "k"] : [1e6, "M"];
  const value = count / size;
  return `${value < 10 ? Math.floor(value * 10) / 10 : Math.floor(value)}${unit}`;
}

export const full = (text) => (text ? formats().moment.format(new Date(text)) : "–");
/**
 * A sentence of the API with its times as the page shows them. What follows a colon is another's
 * words, and stays.
 */
export function withLocalTimes(sentence) {
  const [, status, own, others] = sentence.match(/^(queued: )?(.*?)(: .*)?$/s);
  return `${status ?? ""}${own.replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, full)}${others ?? ""}`;
}

/** A time as a list shows it, without its year. */
export const moment = (text) => (text ? formats().short.format(new Date(text)) : "–");
export const hour = (text) => formats().hour.format(new Date(text));

/** A time of a day to the millisecond, as a log shows it. */
export const precise = (text) => formats().precise.format(new Date(text));

const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

/** The day of a midnight UTC. */
export const dayOf = (text) => date.format(new Date(text));

/**
 * A moment as the value of an input of type `datetime-local`: in the zone in which the page shows
 * its times.
 */
export function toTyped(text) {
  const moment = new Date(text ?? "");
  if (Number.isNaN(moment.getTime())) return "";
  const offset = zone.isUtc ? 0 : moment.getTimezoneOffset();
  return new Date(moment.getTime() - offset * 60000).toISOString().slice(0, 16);
}

/** The moment that was typed into such an input, in ISO 8601; null if it is empty. */
export const typedMoment = (text) =>
  text ? new Date(zone.isUtc ? `${text}Z` : text).toISOString() : null;

const DAY_AND_TIME = /** @type {const} */ ({
  weekday: "short",
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  timeZone: "UTC",
});
const wall = new Intl.DateTimeFormat("en-GB", DAY_AND_TIME);
const wallWithSeconds = new Intl.DateTimeFormat("en-GB", { ...DAY_AND_TIME, second: "2-digit" });

/** A local time without a zone, as people read it; with seconds for what fires within a minute. */
export const localTime = (slot, hasSeconds = false) =>
  (hasSeconds ? wallWithSeconds : wall).format(new Date(`${slot}Z`));

/** A duration: `340 ms`, `12.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function span(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "–";
  if (milliseconds < 1000)
    return `${milliseconds < 10 ? Number(milliseconds.toFixed(1)) : Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return pair(Math.round(seconds), [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ]);
}

/** How long a job ran, and its total time if its handler waited. */
export function ran({ duration_ms: duration, started_at: started, completed_at: completed }) {
  const total = Date.parse(completed) - Date.parse(started);
  // The times are truncated to milliseconds.
  return duration !== null && completed && total - duration > 1
    ? `${span(duration)} of ${span(total)}`
    : span(duration);
}

/** How long a job ran, or has run at a time in milliseconds; "–" before it starts. */
export function lasted(job, now) {
  if (!job.started_at) return "–";
  return job.completed_at
    ? ran(job)
    : span(Math.max(0, Math.floor((now - Date.parse(job.started_at)) / 1000) * 1000));
}

function pair(seconds, units) {
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, name] = units[first];
  const [nextSize, nextName] = units[first + 1] ?? [1, ""];
  const rest = Math.floor((seconds % size) / nextSize);
  return `${Math.floor(seconds / size)} ${name}${rest && nextName ? ` ${rest} ${nextName}` : ""}`;
}

/** A time as how long ago, or in how long. */
export function ago(text) {
  if (!text) return "–";
  const milliseconds = Date.now() - new Date(text).getTime();
  if (Math.abs(milliseconds) < 1500) return "now";
  return milliseconds < 0
    ? `in ${span(Math.ceil(-milliseconds / 1000) * 1000)}`
    : `${span(Math.floor(milliseconds / 1000) * 1000).replace(".0", "")} ago`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  let size = value;
  for (; size >= 1024 && step < units.length - 1; step += 1) size /= 1024;
  return `${size >= 100 || step === 0 ? Math.round(size) : size.toFixed(1)} ${units[step]}`;
}

/** An id shortened to its prefix and its last characters, which differ between neighbours. */
export const short = (id) =>
  id.length > 14 ? `${id.slice(0, id.indexOf("_") + 1)}…${id.slice(-8)}` : id;

/** An actor in words: its identity, and the name that a key's holder chose as a label. */
export const actorOf = ({ id, label }) =>
  `${id ?? "the system"}${label ? ` (labelled ${label})` : ""}`;
