import assert from "node:assert/strict";
import { test } from "node:test";
import { findJson, jsonLines, marked } from "../dashboard/ui/json_lines.js";

const textOf = (value, chosen = new Map(), max = 1000) =>
  jsonLines(value, chosen, max).lines.map(({ depth, name, text, end }) =>
    `${"  ".repeat(depth)}${name === null ? "" : `${name}: `}${text}${end}`).join("\n");

test("what is not folded reads as JSON.stringify writes it", () => {
  const value = { a: 1, b: [true, null, "x\n\"y\""], c: {}, d: [], "e/~": { f: -1.5e3 } };
  assert.equal(textOf(value), JSON.stringify(value, null, 2));
  for (const each of [null, 7, "text", false]) assert.equal(textOf(each), JSON.stringify(each));
});

test("deep and long values are folded until the reader unfolds them", () => {
  const value = { a: { b: { c: { d: 1 } } }, long: "x".repeat(3000), many: Array.from({ length: 200 }, (_, at) => at) };
  const lines = textOf(value);
  assert.match(lines, /"c": \{ 1 … \},?$/m);
  assert.match(lines, /"many": \[ 200 … \]/);
  assert.match(lines, /… 3,000 characters"/);
  const unfolded = textOf(value, new Map([["/a/b/c", false], ["/long", false], ["/many", false]]));
  assert.equal(unfolded, JSON.stringify(value, null, 2));
  assert.equal(textOf(value, new Map([["", true]])), "{ 3 … }");
});

test("a huge value has a bounded number of lines", () => {
  const { lines, isCut } = jsonLines(Array.from({ length: 100_000 }, () => ({ a: 1 })), new Map(), 500);
  assert.equal(lines.length, 500);
  assert.ok(isCut);
});

test("a search finds names and values, and unfolds what they are in", () => {
  const value = { order: { lines: [{ sku: "Abc" }, { sku: "x" }] }, abcd: 1 };
  const { count, paths } = findJson(value, "ABC");
  assert.equal(count, 2);
  assert.deepEqual([...paths].sort(), ["", "/order", "/order/lines", "/order/lines/0"]);
  assert.equal(findJson(value, "").count, 0);
});

test("what is searched for is marked", () => {
  assert.deepEqual(marked("A row, a Row", "row"), [["A ", false], ["row", true], [", a ", false], ["Row", true]]);
  assert.equal(marked("x".repeat(5000), "x").filter(([, isWanted]) => isWanted).length, 200);
});
