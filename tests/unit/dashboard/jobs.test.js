import assert from "node:assert/strict";
import { test } from "node:test";
import { barsOf, reportOf, sumsOf } from "../dashboard/job_counts.js";
import { askedOf, bulkFilter, chipsOf, inWords, isSearched, suggestions, titleOf } from "../dashboard/job_filters.js";
import { faultsOf, fieldsFor, fieldsOf, parseTags, readInput, textsOf } from "../dashboard/input_model.js";

const NOW = Date.parse("2026-12-01T12:34:56.789Z");
const query = (parameters) => new URLSearchParams(parameters);

test("the API is asked for the filters, and not for the view", () => {
  const asked = askedOf(query({ "filter[status]": "failed", sort: "-duration", columns: "job", job: "job_1", times: "exact" }));
  assert.deepEqual(asked, { "filter[status]": "failed", sort: "-duration" });
});

test("a time preset keeps its address for a whole minute", () => {
  const asked = (now) => askedOf(query({ last: "1h" }), now)["filter[created_after]"];
  assert.equal(asked(NOW), "2026-12-01T11:34:00.000Z");
  assert.equal(asked(NOW + 3000), asked(NOW));
  assert.notEqual(asked(NOW + 60_000), asked(NOW));
  assert.deepEqual(askedOf(query({ last: "century" })), {});
});

test("each filter but the status is a chip, and a pair of times is one", () => {
  const address = query({
    "filter[status]": "failed", "filter[worker_id]": "wkr_a", "filter[tag.team]": "x", "filter[input.account.id]": "7",
    "filter[completed_after]": "2026-12-01T10:00:00Z", "filter[completed_before]": "2026-12-01T11:00:00Z",
    "filter[waits_for]": "retry", sort: "priority",
  });
  assert.deepEqual(chipsOf(address).map(({ label, value, from, names }) => [label, value ?? from, names.length]), [
    ["Worker", "wkr_a", 1], ["Tag team", "x", 1], ["Input account.id", "7", 1], ["Ended", "2026-12-01T10:00:00Z", 2],
    ["Waits for", "its retry delay", 1],
  ]);
  // The end of a span alone is a chip too.
  assert.equal(chipsOf(query({ "filter[created_before]": "2026-12-01T11:00:00Z" }))[0].label, "Created");
});

test("a search is told from a list of an index", () => {
  for (const [name, isSlow] of Object.entries({
    "filter[status]": false, "filter[worker_id]": false, "filter[created_after]": false, page: false, last: false,
    "filter[error]": true, "filter[tag.a]": true, "filter[input.a.b]": true, "filter[completed_before]": true, sort: true,
  })) assert.equal(isSearched(query({ [name]: "x" })), isSlow, name);
});

test("an operation takes the filters, and says why it cannot", () => {
  const failed = query({ "filter[status]": "failed", "filter[priority]": "3", "filter[tag.a]": "b", "filter[tag.c]": "d" });
  const { filter, reason } = bulkFilter(["failed"], failed);
  assert.deepEqual([filter, reason], [{ status: "failed", priority: 3, tags: { a: "b", c: "d" } }, null]);
  assert.equal(inWords(filter), "status failed, priority 3, tags a:b c:d");
  assert.equal(bulkFilter(["queued", "running"], failed).reason, "only queued, running jobs");
  assert.equal(bulkFilter(["failed"], query({ sort: "priority" })).reason, "choose a filter first");
  assert.equal(bulkFilter(["failed"], query({ "filter[tree_id]": "job_1" })).reason, "not with the filter tree_id");
  // A preset is a filter like the times that it means.
  assert.deepEqual(bulkFilter(["failed"], query({ last: "24h" }), NOW).filter, { created_after: "2026-11-30T12:34:00.000Z" });
});

test("the title of the page names the filters", () => {
  assert.equal(titleOf(query({ "filter[error]": "no such thing", sort: "x" })), "Jobs, no such thing · AVA Jobs");
  assert.equal(titleOf(query({})), "Jobs · AVA Jobs");
});

test("the search box offers the values of a filter", () => {
  assert.deepEqual(suggestions("worker:", [{ id: "wkr_echo", name: "Echo" }]), [["worker:echo", "Echo"]]);
  assert.equal(suggestions("priority:").length, 10);
  assert.deepEqual(suggestions("constructor:"), []);
  assert.deepEqual(suggestions("no filter"), []);
});

test("the bars come from the report whose steps fit their time", () => {
  const of = (parameters) => {
    const { path, query: asked, span } = reportOf(query(parameters), NOW);
    return [path.split("/").at(-1), asked?.days, asked?.group_by, span / 60_000];
  };
  assert.deepEqual(of({ last: "15m" }), ["overview", undefined, undefined, 1]);
  assert.deepEqual(of({}), ["analytics", "2", "hour", 60]);
  assert.deepEqual(of({ last: "1h", "filter[worker_id]": "wkr_a" }), ["analytics", "2", "hour", 60]);
  assert.deepEqual(of({ last: "7d" }), ["analytics", "8", "hour", 60]);
  assert.deepEqual(of({ last: "30d" }), ["analytics", "31", "day", 1440]);
  assert.deepEqual(of({ "filter[completed_after]": "2020-01-01T00:00:00Z" }), ["analytics", "90", "day", 1440]);
  // An hour of today is still shown within its day.
  const hour = { "filter[completed_after]": "2026-12-01T10:00:00Z", "filter[completed_before]": "2026-12-01T11:00:00Z" };
  assert.equal(reportOf(query(hour), NOW).from, Date.parse("2026-11-30T11:00:00Z"));
});

test("only the bars within the time are shown", () => {
  const minute = (at, failed) => ({ minute: new Date(NOW - at * 60_000).toISOString(), completed: 1, failed, cancelled: 0 });
  const report = reportOf(query({ last: "15m" }), NOW);
  const bars = barsOf(report, { minutes: [minute(40, 7), minute(10, 2), minute(1, 3)] });
  assert.deepEqual(bars.map(({ failed }) => failed), [2, 3]);
  assert.deepEqual(sumsOf(bars, ["failed", "completed"]), { failed: 5, completed: 2 });
  assert.deepEqual(barsOf(report, null), []);
});

const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string" }, count: { type: "integer" }, price: { anyOf: [{ type: "number" }, { type: "null" }] },
    express: { type: "boolean" }, size: { enum: ["small", 3] }, codes: { type: "array", items: { type: "integer" } },
    address: { $ref: "#/$defs/address" }, anything: {}, old: { type: "string", deprecated: true },
  },
  required: ["name", "address"],
  $defs: { address: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
};

test("a form holds an input, and returns the same", () => {
  const input = { name: "Ada", count: 2, express: false, size: 3, codes: [1, 2], address: { city: "Bonn" }, anything: [null] };
  const fields = fieldsFor(SCHEMA, input);
  assert.deepEqual(readInput(fields, textsOf(fields)), input);
  assert.throws(() => fieldsFor(SCHEMA, { ...input, unknown: 1 }), /cannot show a part/);
  assert.equal(fieldsOf({ type: "object" }), null);
  assert.equal(fieldsOf(null), null);
  // An old name has a field only where the input has it.
  const names = (given) => fieldsOf(SCHEMA, given).map(({ name }) => name).includes("old");
  assert.deepEqual([names({}), names({ old: "x" })], [false, true]);
});

test("empty fields are left out, and unreadable ones are named", () => {
  const fields = fieldsOf(SCHEMA);
  assert.deepEqual(readInput(fields, textsOf(fields)), { address: {} });
  const refused = (texts) => {
    try {
      readInput(fields, texts);
    } catch (error) {
      return error.fields;
    }
    return null;
  };
  assert.deepEqual(refused({ "input.codes": "7\nseven" }), { "input.codes": ["seven is not a number."] });
  assert.match(refused({ "input.count": "9007199254740993" })["input.count"][0], /more digits/);
  assert.match(refused({ "input.anything": "{" })["input.anything"][0], /^Not valid JSON/);
});

test("a fault is shown at the field that holds its place", () => {
  const faults = faultsOf(fieldsOf(SCHEMA), { "input.codes[1]": ["too large"], "input.address.city": "missing", "input.x": "odd" });
  assert.deepEqual(faults, { "input.codes": ["codes[1]: too large"], "input.address.city": ["missing"] });
});

test("tags are read with their spaces, and what is no tag is refused", () => {
  assert.deepEqual(parseTags(" team = sec , a=b=c"), { team: "sec", a: "b=c" });
  assert.throws(() => parseTags("team"), /team is not in the form/);
  assert.throws(() => parseTags("a=b,"), /an empty tag/);
});
