// Descriptions of records (hooks, webhooks, nodes, errors, audit trail) in words and numbers.

import { ago, number, short, span } from "./format.js";

/** Days that the page of errors shows. */
export const DAYS = 30;
const DAY_MS = 24 * 3600 * 1000;

/**
 * Return the failed jobs of each of the last 30 days and of today; the API lists only days with
 * failures.
 * @param {{ day: string, jobs: number }[]} daily
 * @param {number} [now]
 */
export function perDay(daily, now = Date.now()) {
  const values = new Array(DAYS + 1).fill(0);
  for (const { day, jobs } of daily) {
    const place = DAYS - (Math.floor(now / DAY_MS) - Math.floor(Date.parse(day) / DAY_MS));
    if (place >= 0 && place <= DAYS) values[place] = jobs;
  }
  return values;
}

const PAUSED = "No events are sent to it while it is paused.";
const DEGRADED = "A delivery was abandoned, and none has succeeded since; events are still sent.";

/**
 * Return what an endpoint's status and its newest deliveries mean.
 * @param {{ paused: any, status: string }} webhook
 * @param {{ status: string }[]} deliveries
 */
export function healthOf(webhook, deliveries) {
  const ended = deliveries.filter(({ status }) => status !== "pending");
  const delivered = ended.filter(({ status }) => status === "delivered").length;
  const percent = Math.round((100 * delivered) / ended.length);
  const ratio = `${percent} % of the last ${number(ended.length)} deliveries succeeded.`;
  const degraded = webhook.status === "degraded" && DEGRADED;
  const about = webhook.paused ? PAUSED : degraded;
  return [about, ended.length > 0 && ratio].filter(Boolean).join(" ");
}

/**
 * Return why a received delivery was not processed, and which one it repeats.
 * @param {Record<"reason" | "duplicate_of" | "replay_of", string | null>} delivery
 */
export function aboutReceived({ reason, duplicate_of: first, replay_of: original }) {
  const repeats = first && `Repeats ${short(first)}.`;
  return [reason, repeats, original && `Replays ${short(original)}.`].filter(Boolean).join(" ");
}

/** Return the type of a delivery's event as lists show it. */
export const eventName = (type) => (type ?? "–").replace(/^ava\./, "");

/**
 * Return the outcome of the newest request of a sent delivery, and when the next one is due.
 * @param {{ attempts: any[] | null, next_attempt_at: string | null }} delivery
 */
export function lastRequest({ attempts, next_attempt_at: at }) {
  const attempt = attempts?.at(-1);
  const isDue = new Date(at) <= new Date();
  const next = at && (isDue ? "due now" : `next request ${ago(at)}`);
  if (!attempt) return next || "not sent yet";
  const count = attempts.length > 1 ? `${number(attempts.length)} requests, last: ` : "";
  const took = attempt.duration_ms === undefined ? "" : `, ${span(attempt.duration_ms)}`;
  const outcome = `${count}${attempt.error ?? `status ${attempt.status}`}${took}`;
  return next ? `${outcome}; ${next}` : outcome;
}

/**
 * Return how many of a node's processes, or of the slots of its one process, are busy. A process
 * that works through a group of brief jobs has several jobs.
 * @param {{ busy: number, processes: number, has_slots: boolean }} node
 * @param {boolean} isOperator the numbers of others are of the tenant's own jobs
 */
export function aboutBusy({ busy, processes, has_slots: hasSlots }, isOperator) {
  const unit = hasSlots ? "slots" : "processes";
  const whose = isOperator ? "" : " with your jobs";
  return `${number(Math.min(busy, processes))} of ${number(processes)} ${unit}${whose}`;
}

/**
 * Return why a live node refuses messages of the broker; null if it does not.
 * @param {{ state: string, refused_messages: string[] }} node
 */
export function refusalOf({ state, refused_messages: reasons }) {
  if (state !== "live" || reasons.length === 0) return null;
  const cause = reasons.includes("unsigned")
    ? "the node's AVA_MESSAGE_KEY lacks the signing key, so their jobs wait."
    : "another program writes them.";
  return `This node refuses messages of the broker (${reasons.join(", ")}): ${cause}`;
}

/** The page of the record with an id, by the id's prefix. */
const PAGES = {
  job: "jobs/",
  wkr: "workers/",
  sch: "schedules?id=",
  wh: "webhooks?id=",
  hk: "hooks?id=",
  sub: "subscriptions?id=",
  evt: "events?id=",
  err: "errors?id=",
  ntc: "notices?id=",
  apr: "approvals?id=",
  con: "containments?id=",
};

/**
 * Return the address of a record by its id; undefined if it has none.
 * @param {string} target
 */
export function pageOf(target) {
  const page = PAGES[target.slice(0, target.indexOf("_"))];
  return page && `#/${page}${encodeURIComponent(target)}`;
}

/**
 * Return the changed fields in words.
 * @param {Record<string, [any, any]>} changes
 */
export const describeChanges = (changes) =>
  Object.entries(changes)
    .map(([name, [old, now]]) => `${name}: ${JSON.stringify(old)} → ${JSON.stringify(now)}`)
    .join("; ");
