import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.localStorage = { getItem: () => "utc", setItem() {} };
const { ago, bytes, full, lasted, localTime, number, ran, short, shortCount, span, toTyped, typedMoment, withLocalTimes } =
  await import("../dashboard/format.js");

test("a duration has at most two units", () => {
  const texts = [[0.04, "0 ms"], [9.96, "10 ms"], [340, "340 ms"], [9_940, "9.9 s"], [12_400, "12 s"]];
  const long = [[200_000, "3 min 20 s"], [7_500_000, "2 h 5 min"], [273_600_000, "3 d 4 h"], [3_600_000, "1 h"]];
  for (const [milliseconds, text] of [...texts, ...long]) assert.equal(span(milliseconds), text);
  assert.equal(span(null), "–");
});

test("an ended job shows the time that it ran, and its total time if it waited between", () => {
  const job = { started_at: "2026-12-01T10:00:00.000Z", completed_at: "2026-12-01T10:01:00.000Z" };
  assert.equal(ran({ ...job, duration_ms: 60_000 }), "1 min");
  assert.equal(ran({ ...job, duration_ms: 12_000 }), "12 s of 1 min");
});

test("a running job's duration grows with the clock, and a queued job has none", () => {
  const job = { started_at: "2026-12-01T10:00:00Z", completed_at: null, duration_ms: null };
  const started = Date.parse(job.started_at);
  assert.equal(lasted(job, started + 61_900), "1 min 1 s");
  // The clock of the browser may be behind that of PostgreSQL.
  assert.equal(lasted(job, started - 5_000), "0 ms");
  assert.equal(lasted({ started_at: null }, started), "–");
});

test("a time is shown as how long ago, and as in how long", () => {
  const at = (milliseconds) => new Date(Date.now() + milliseconds).toISOString();
  assert.equal(ago(at(0)), "now");
  assert.equal(ago(at(-5_200)), "5 s ago");
  assert.match(ago(at(65_000)), /^in 1 min [45] s$/);
  assert.equal(ago(null), "–");
});

test("a typed time is read in the zone that is shown", () => {
  assert.equal(typedMoment("2027-06-01T09:00"), "2027-06-01T09:00:00.000Z");
  assert.equal(toTyped("2027-06-01T09:00:00Z"), "2027-06-01T09:00");
  assert.equal(typedMoment(""), null);
  assert.equal(toTyped("nonsense"), "");
});

test("the API's own times in a sentence are shown as the page's, and those of an error stay", () => {
  const sentence = "Failed at 2026-12-01T10:00:00Z in attempt 2 of 2: it said 2026-12-01T10:00:00Z";
  assert.equal(withLocalTimes(sentence), `Failed at ${full("2026-12-01T10:00:00Z")} in attempt 2 of 2: it said 2026-12-01T10:00:00Z`);
});

test("sizes, numbers, counts and ids are short", () => {
  assert.deepEqual([0, 1023, 1536, 5e6].map(bytes), ["0 B", "1023 B", "1.5 KiB", "4.8 MiB"]);
  assert.deepEqual([0, 1234567, null].map(number), ["0", "1,234,567", "–"]);
  assert.deepEqual([7, 999, 1290, 34_900, 2_100_000].map(shortCount), ["7", "999", "1.2k", "34k", "2.1M"]);
  assert.equal(short("job_01k3v9m8h6e7x2c4b5n6m7q8r9"), "job_…n6m7q8r9");
});

test("a firing has seconds where several are in a minute", () => {
  assert.equal(localTime("2026-12-01T21:13:20"), "Tue, 1 Dec 2026, 21:13");
  assert.equal(localTime("2026-12-01T21:13:20", true), "Tue, 1 Dec 2026, 21:13:20");
});
