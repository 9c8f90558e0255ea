import assert from "node:assert/strict";
import { test } from "node:test";
import { inOrder, outcomeOf, stateOf } from "../dashboard/job/job_states.js";
import * as held from "../dashboard/job/log_lines.js";
import { axisOf, barStyle, ticksOf } from "../dashboard/job/time_axis.js";
import { barsOf, layout } from "../dashboard/job/tree_layout.js";
import { axisOfRows, rowsOf } from "../dashboard/job/waterfall_rows.js";

const START = Date.UTC(2026, 11, 1, 12);
const at = (seconds) => new Date(START + 1000 * seconds).toISOString();
const job = (fields) => ({ status: "completed", attempt: 1, created_at: at(0), completed_at: null, cancel_requested_at: null, scheduled_at: null, ...fields });
const run = (attempt, from, to, outcome, wait = 0) =>
  ({ attempt, started_at: at(from), ended_at: to === null ? null : at(to), outcome, wait_ms: 1000 * wait });
const NOTHING = { runs: [], entries: [], waits: [], children: [] };
const rows = (parts, now) => rowsOf({ ...NOTHING, ...parts }, START + 1000 * now)
  .map(({ kind, label, state, from, bars }) => [kind, label, state, (from - START) / 1000,
    bars.filter((bar) => bar.to > bar.from).map(({ part, from: one, to }) => `${part} ${(to - one) / 1000}`).join(", ")]);

test("each attempt has a row with its queue time and the delay before it", () => {
  const runs = [run(1, 1, 2, "failed", 1), run(2, 8, 9, "failed", 0.5)];
  assert.deepEqual(rows({ job: job({ status: "failed", attempt: 2, completed_at: at(9) }), runs }, 9), [
    ["run", "Attempt 1", "failed", 0, "queued 1, runs 1"],
    ["run", "Attempt 2", "failed", 2, "delay 5.5, queued 0.5, runs 1"],
  ]);
});

test("steps, children and waits lie between the runs that a wait divides", () => {
  const found = rows({
    job: job({ completed_at: at(9) }),
    runs: [run(1, 1, 3, "waits"), run(1, 7, 9, "completed")],
    entries: [
      { kind: "step", name: "list", state: "done", written_at: at(2) },
      { kind: "child", name: "wkr_fetch[0]", child: { id: "job_1" }, state: "done", written_at: at(2.5) },
    ],
    waits: [{ condition: "ended", jobs: ["job_1"], began_at: at(3), ended_at: at(7) }],
    children: [{ id: "job_1", worker_id: "wkr_fetch", status: "failed", created_at: at(2.5), started_at: at(4), completed_at: at(6) }],
  }, 9);
  assert.deepEqual(found, [
    ["run", "Run 1", "waits", 1, "runs 2"],
    ["step", "list", "completed", 1, "runs 1"],
    ["child", "fetch[0]", "failed", 2.5, "queued 1.5, runs 2"],
    ["wait", "Wait: 1 job", "waits", 3, "waits 4"],
    ["run", "Run 2", "completed", 7, "runs 2"],
  ]);
});

test("a wait has the name of its own sleep or event, also after another wait", () => {
  const labels = (entries, waits) => rows({ job: job({ completed_at: at(9) }), entries, waits }, 9).map(([, label]) => label);
  const sleep = (name, written) => ({ kind: "sleep", name, state: "done", written_at: at(written) });
  const event = (name, written, state = "done") => ({ kind: "event", name, state, written_at: at(written) });
  const wait = (condition, from, to) => ({ condition, jobs: [], began_at: at(from), ended_at: to === null ? null : at(to) });
  assert.deepEqual(
    labels(
      [sleep("sleep", 1), event("order.approved", 4.1), event("order.paid", 4.2), sleep("an hour", 4.4), event("order.sent", 6.1, "timed_out"), event("order.closed", 6.9, "waits")],
      [wait("event", 7, null), wait("event", 5.5, 6), wait("time", 4.4, 5), wait("event", 2.1, 4), wait("time", 1, 2)],
    ),
    ["Wait: sleep", "Wait: event order.approved", "Wait: sleep an hour", "Wait: event order.sent", "Wait: event order.closed"],
  );
  assert.deepEqual(labels([], [wait("event", 1, 2)]), ["Wait: event"]);
});

test("what has not ended lasts until now, and a queued job has a row of its own", () => {
  const running = job({ status: "running" });
  assert.deepEqual(rows({ job: running, runs: [run(1, 1, null, null)] }, 5), [["run", "Run", "running", 1, "runs 4"]]);
  const stopping = { ...running, cancel_requested_at: at(4) };
  assert.equal(rows({ job: stopping, runs: [run(1, 1, null, null)] }, 5)[0][2], "cancelling");
  assert.deepEqual(rows({ job: job({ status: "queued" }) }, 5), [["queue", "Queue", "queued", 0, "queued 5"]]);
  assert.deepEqual(axisOfRows([], START).last - axisOfRows([], START).first, 1000);
});

test("more than six children of one worker share a row", () => {
  const children = Array.from({ length: 7 }, (_, n) => ({ id: `job_${n}`, worker_id: "wkr_fetch", status: n ? "completed" : "failed", created_at: at(n), started_at: at(n), completed_at: at(n + 1) }));
  assert.deepEqual(rows({ job: job({}), children }, 9), [["children", "7 × fetch", "failed", 0, "runs 7"]]);
});

test("a run has the colour of its outcome", () => {
  assert.deepEqual(outcomeOf(run(1, 0, 1, "lost"), job({})), ["failed", "was lost"]);
  assert.deepEqual(outcomeOf(run(1, 0, 1, "cancelled"), job({})), ["cancelled", "cancelled"]);
  assert.equal(stateOf({ status: "queued", waiting_for: { jobs: [] } }), "waits");
});

test("lines are held in blocks, and those that can be read again are dropped while the log is followed", () => {
  const lines = (count, more) => Array.from({ length: count }, (_, n) => ({ ts: at(n), level: "info", msg: `line ${n}`, ...more?.(n) }));
  let log = held.prepend(held.NO_LINES, lines(250), "c");
  assert.deepEqual(log.blocks.map((block) => block.lines.length), [100, 100, 50]);
  assert.equal(held.beforeOf(log), "c");
  log = held.append(log, lines(12_000, (n) => ({ before: `p${n}` })));
  assert.equal(held.countOf(log), 12_250);
  const trimmed = held.trim(log);
  assert.ok(held.countOf(trimmed) <= held.MAX_LINES);
  assert.equal(held.beforeOf(trimmed), trimmed.blocks[0].lines[0].before);
  assert.equal(new Set(log.blocks.map(({ n }) => n)).size, log.blocks.length);
});

test("a search that has found nothing yet keeps its place", () => {
  const log = held.prepend(held.NO_LINES, [], "c1");
  assert.deepEqual([held.countOf(log), held.beforeOf(log)], [0, "c1"]);
  const found = held.prepend(log, [{ ts: at(0), level: "info", msg: "x" }], null);
  assert.deepEqual([held.countOf(found), found.blocks.length, held.beforeOf(found)], [1, 1, null]);
});

test("the address of a line tells lines of the same time apart", () => {
  const [one, other] = ["a", "b"].map((msg) => held.keyOf({ ts: at(0), msg }));
  assert.notEqual(one, other);
  assert.equal(held.timeOfKey(one), at(0));
});

test("an axis has at most seven ticks and clips its bars", () => {
  for (const length of [0, 7, 999, 61_000, 86_400_000 * 300]) {
    const ticks = ticksOf(axisOf(0, length));
    assert.ok(ticks.length >= 1 && ticks.length <= 7, `${length}: ${ticks}`);
  }
  assert.deepEqual(barStyle(axisOf(0, 100), -50, 50), { left: "0%", width: "50%" });
});

test("a graph has a column for each step after its first job, and one box for many alike", () => {
  const names = ["a", "b", ...Array.from({ length: 9 }, (_, n) => `c${n}`)];
  const jobs = names.map((id) => ({ id, worker_id: `wkr_${id[0]}`, parent_id: null, status: "completed" }));
  const edges = [["a", "b"], ...names.slice(2).map((id) => ["b", id])].map(([from, to]) => ({ from, to, kind: "completed" }));
  const { nodes, left } = layout({ jobs, edges });
  assert.deepEqual(nodes.map((node) => [node.jobs.length, node.rank]), [[1, 0], [1, 1], [9, 2]]);
  assert.equal(left, 0);
  assert.deepEqual(inOrder([{ id: "1", parent_id: "0" }, { id: "2", parent_id: "1" }]).map(({ depth }) => depth), [0, 1]);
});

test("the bars of a job in a tree are its queue time, its runs and its waits", () => {
  const found = barsOf({ status: "completed", created_at: at(0), first_run_at: at(1), completed_at: at(9), waits: [{ began_at: at(2), ended_at: at(5) }] }, START);
  assert.deepEqual(found.map(({ part, from, to }) => [part, (to - from) / 1000]), [["queued", 1], ["waits", 3], ["runs", 1], ["runs", 4]]);
});
