import assert from "node:assert/strict";
import { test } from "node:test";
import { countsOf } from "../dashboard/frame/count_model.js";
import { fit, fitting } from "../dashboard/frame/palette_model.js";
import { changeQuery, parseAddress } from "../dashboard/ui/hash.js";

test("an address is the page, the rest of the path and the query", () => {
  const { name, rest, query } = parseAddress("#/jobs/job_%C3%A9/tree?tab=log&filter%5Bstatus%5D=failed");
  assert.deepEqual([name, rest], ["jobs", ["job_é", "tree"]]);
  assert.deepEqual([...query], [["tab", "log"], ["filter[status]", "failed"]]);
  assert.deepEqual(parseAddress("").rest, []);
  // A `%` that encodes nothing stays.
  assert.deepEqual(parseAddress("#/jobs/100%").rest, ["100%"]);
});

test("a change of the query keeps the rest, and an empty value removes a parameter", () => {
  assert.equal(changeQuery("#/jobs?a=1&b=2", { b: "", c: 3 }), "#/jobs?a=1&c=3");
  assert.equal(changeQuery("#/jobs?a=1", { a: null }), "#/jobs");
  assert.equal(changeQuery("", { x: "ü&" }), "#/?x=%C3%BC%26");
});

test("the palette prefers titles that begin with the text, then words, then parts", () => {
  const entries = ["Webhooks", "Hooks", "Trigger webhook sender"].map((title) => ({ key: title, title, icon: "", run() {} }));
  const titles = (text) => fitting(text, entries, 9).map(({ title }) => title);
  assert.deepEqual(titles("hook"), ["Hooks", "Webhooks", "Trigger webhook sender"]);
  assert.deepEqual(titles("trig send"), ["Trigger webhook sender"]);
  assert.deepEqual(titles("zzz"), []);
  assert.deepEqual(fitting("", entries, 2).length, 2);
  assert.equal(fit("night", { title: "Toggle theme", words: "dark light night" }), 2);
});

test("the counts are of open errors, waiting jobs, paused queues, decisions and containments", () => {
  const overview = { queued: 12, scheduled: 4, queued_is_exact: false };
  const responses = (data, errors, queues, total, active) => [
    { data },
    { pagination: { total: errors } },
    { data: { queues } },
    { pagination: { total } },
    { data: active, pagination: { total: active.length } },
  ];
  const counts = countsOf(responses(overview, 5, [{ queue: "default" }], 1000, [{ id: "con_1" }]));
  assert.deepEqual([counts.errors.count, counts.jobs.count, counts.jobs.isMore, counts.queues.count], [5, 8, true, 1]);
  assert.deepEqual([counts.approvals.count, counts.approvals.isMore], [1000, true]);
  assert.deepEqual([counts.containments.count, counts.containments.newest.id], [1, "con_1"]);
  const none = countsOf(responses({ ...overview, queued: 4 }, 0, [], 0, []));
  assert.deepEqual(Object.values(none), [false, false, false, false, false]);
});

test("a refused response hides its own counts alone", () => {
  const active = { data: [{ id: "con_1" }], pagination: { total: 1 } };
  const counts = countsOf([null, null, { data: { queues: [{}] } }, null, active]);
  assert.deepEqual([counts.queues.count, counts.containments.newest.id], [1, "con_1"]);
  assert.deepEqual([counts.errors, counts.jobs, counts.approvals], [undefined, undefined, undefined]);
});
