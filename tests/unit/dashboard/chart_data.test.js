// What charts compute from series.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  atX,
  count,
  domain,
  lonePlaces,
  perMinute,
  rangeOf,
  rowsOf,
  stacked,
} from "../dashboard/ui/chart_data.js";

const series = (values, isStacked = false) => ({ label: "x", values, isStacked });

test("the first of the stacked series is drawn as the sum of all", () => {
  const found = stacked([series([1, 2], true), series([9, 9]), series([10, null], true)]);
  assert.deepEqual(found, [
    [11, 2],
    [9, 9],
    [10, null],
  ]);
});

test("a step without any value of a stack has none", () => {
  assert.deepEqual(stacked([series([null], true), series([null], true)]), [[null], [null]]);
});

test("the axis ends with the end of the last step", () => {
  assert.deepEqual(domain({ times: [60, 120], step: 60 }), [60, 180]);
});

test("keys move within the steps", () => {
  assert.equal(atX("ArrowLeft", null, 5), 4);
  assert.equal(atX("ArrowLeft", 0, 5), 0);
  assert.equal(atX("ArrowRight", 4, 5), 4);
  assert.equal(atX("Home", 3, 5), 0);
  assert.equal(atX("x", 3, 5), null);
  assert.equal(atX("Home", null, 0), null);
});

test("the table has the steps with jobs, the newest first", () => {
  const rows = rowsOf([1, 2, 3], [series([0, 4, null]), series([5, 0, 0])]);
  assert.deepEqual(rows, [
    { at: 2, values: [4, 0] },
    { at: 1, values: [0, 5] },
  ]);
});

test("a step that is not over counts as far as it is counted", () => {
  assert.deepEqual(perMinute([300, 10, 1], [0, 300, 600], 300, 420), [60, 5, null]);
  assert.deepEqual(perMinute([null], [0], 60, 60), [null]);
});

test("numbers of an axis are short", () => {
  assert.deepEqual([0, 999, 12_000, 1_250_000, 0.25].map(count), [
    "0",
    "999",
    "12k",
    "1.3M",
    "0.3",
  ]);
});

test("the range is that of the address, or the standard one", () => {
  assert.equal(rangeOf(new URLSearchParams()).name, "1h");
  assert.equal(rangeOf(new URLSearchParams("range=7d")).seconds, 604_800);
  assert.equal(rangeOf(new URLSearchParams("range=toString"), "24h").name, "24h");
  const times = "since=2026-01-01T00:00:00.000Z&until=2026-01-01T00:10:00.000Z";
  assert.deepEqual(rangeOf(new URLSearchParams(times)).query, {
    since: "2026-01-01T00:00:00.000Z",
    until: "2026-01-01T00:10:00.000Z",
  });
});

test("a value without neighbours is a point", () => {
  assert.deepEqual(lonePlaces([1, null, 2, 3, null, 0]), [0, 5]);
  assert.deepEqual(lonePlaces([1, 2]), []);
});
