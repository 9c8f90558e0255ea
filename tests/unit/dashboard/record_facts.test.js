import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.localStorage = { getItem: () => "utc", setItem() {} };
const facts = await import("../dashboard/record_facts.js");

test("the failures of an error have a place for each of 30 days and today", () => {
  const now = Date.parse("2026-12-01T10:00:00Z");
  const daily = [
    { day: "2026-12-01T00:00:00Z", jobs: 3 },
    { day: "2026-11-30T00:00:00Z", jobs: 2 },
    { day: "2026-11-01T00:00:00Z", jobs: 1 },
    { day: "2026-10-31T00:00:00Z", jobs: 9 },
  ];
  const values = facts.perDay(daily, now);
  assert.deepEqual([values.length, values[30], values[29], values[0]], [31, 3, 2, 1]);
  assert.equal(values.reduce((sum, jobs) => sum + jobs), 6);
});

test("a webhook's health counts ended deliveries, and says what a pause and a failure mean", () => {
  const deliveries = ["delivered", "abandoned", "pending"].map((status) => ({ status }));
  const active = { paused: null, status: "active" };
  const ratio = "50 % of the last 2 deliveries succeeded.";
  assert.equal(facts.healthOf(active, deliveries), ratio);
  assert.equal(facts.healthOf(active, []), "");
  assert.match(facts.healthOf({ ...active, paused: {} }, deliveries), /while it is paused\. 50 %/);
  assert.match(facts.healthOf({ ...active, status: "degraded" }, []), /^A delivery was abandoned.*sent\.$/);
});

test("the newest request of a delivery is told with its number, its time and the next one", () => {
  const attempt = { status: 500, error: null, duration_ms: 120 };
  const last = (attempts, at = null) => facts.lastRequest({ attempts, next_attempt_at: at });
  assert.equal(last([]), "not sent yet");
  assert.equal(last([], "2020-01-01T00:00:00Z"), "due now");
  assert.equal(last([attempt]), "status 500, 120 ms");
  assert.equal(last([attempt, { error: "timeout" }], "2020-01-01T00:00:00Z"), "2 requests, last: timeout; due now");
});

test("a received delivery names its reason and what it repeats", () => {
  const about = { reason: "The signature is wrong.", duplicate_of: null, replay_of: null };
  assert.equal(facts.aboutReceived(about), "The signature is wrong.");
  const again = { ...about, reason: null, duplicate_of: "del_0123456789abcdef" };
  assert.equal(facts.aboutReceived(again), "Repeats del_…89abcdef.");
});

test("a node's busy processes are at most its processes, and others see only their own jobs", () => {
  const node = { busy: 7, processes: 4, has_slots: false };
  assert.equal(facts.aboutBusy(node, true), "4 of 4 processes");
  assert.equal(facts.aboutBusy({ ...node, busy: 1, has_slots: true }, false), "1 of 4 slots with your jobs");
});

test("only a live node refuses messages", () => {
  const node = { state: "live", refused_messages: ["unsigned"] };
  assert.match(facts.refusalOf(node), /\(unsigned\): the node's AVA_MESSAGE_KEY lacks/);
  assert.equal(facts.refusalOf({ ...node, state: "stopped" }), null);
  assert.equal(facts.refusalOf({ ...node, refused_messages: [] }), null);
});

test("an audited change is told in words, and its target is a link if it has a page", () => {
  const changes = { priority: [5, 1], name: [null, "a"] };
  assert.equal(facts.describeChanges(changes), 'priority: 5 → 1; name: null → "a"');
  assert.equal(facts.pageOf("job_1"), "#/jobs/job_1");
  assert.equal(facts.pageOf("hk_1/x"), "#/hooks?id=hk_1%2Fx");
  assert.equal(facts.pageOf("default"), undefined);
});
