// Durable handlers of the package, with a server that is a function here, or in tests of `ava-jobs/testing`.
// `node durable.mjs CASE` prints what the case finds.
import { payloadHash } from "./dist/journal.js";
import { PullWorker, Suspended } from "./dist/index.js";
import { run } from "./dist/testing.js";

const answer = (data, more = {}) => Response.json({ data, ...more });
const refuse = (status, code, message) => Response.json({ error: { code, message } }, { status });

/** Runs a handler in one run over HTTP. Returns its calls with their bodies. `answers` has those of the journal's calls. */
async function overHttp(handler, answers, { hasJournal = false, attempt = 1 } = {}) {
  const calls = [];
  let isClaimed = false;
  let worker;
  const fetch = async (address, { body: text, signal }) => {
    const url = new URL(address);
    const call = url.pathname.split("/").at(-1);
    const body = text === undefined ? url.search : JSON.parse(text);
    if (call === "claim" && !isClaimed) {
      isClaimed = true;
      const job = { id: "job_1", worker_id: "wkr_one", attempt, started_at: "2026-01-01T00:00:00Z" };
      const timeout_at = "2026-01-01T00:05:00Z";
      return answer([{ run: "token", job, input: { n: 1 }, config: {}, timeout_at, has_journal: hasJournal }]);
    }
    if (call === "claim") return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    if (call === "heartbeat") return answer(answers.heartbeat ?? { stop: [], lost: [] });
    calls.push([call, body]);
    const given = answers[call];
    if (call === "end") {
      const found = Array.isArray(given) && given.length > 0 ? given.shift() : { status: "completed", suspended: true };
      if (found.suspended !== false) worker.stop();
      return answer(found);
    }
    return typeof given === "function" ? given(body) : answer(given ?? { stop: false });
  };
  worker = new PullWorker({ url: "http://api", apiKey: "ava_00.x", fetch });
  worker.handle("one", handler);
  await worker.run({ handlesSignals: false });
  return calls;
}

const entry = (kind, name, more = {}) => ({ kind, name, state: "done", value: null, child: null, ...more });
const child = (id, status = "completed") => ({ id, worker_id: "wkr_a", status, error: null });
const kindOf = (call) => call.then((found) => found, (error) => {
  if (error instanceof Suspended) throw error;
  return error.name;
});
const testRun = async (handler, options) => {
  const { status, output, error, waits, steps, logs } = await run(handler, { n: 1 }, options);
  return { status, output, error, waits, steps: Object.keys(steps), logs: logs.map(({ msg }) => msg) };
};

const cases = {
  /** Requests of steps, children and a wait in a first run. */
  requests: () =>
    overHttp(
      async (_input, env) => {
        const a = await env.step("a", () => ({ key: env.stepKey, at: new Date(0) }));
        const b = await env.step("b", async () => undefined, { key: "1", once: "at_most" });
        const part = await env.trigger("part", { a, b });
        await env.wait(part, { timeoutSeconds: 60 });
      },
      { children: () => answer([child("job_2", "queued")]) },
    ),

  /** A replay reads the journal in pages, and drops lines and progress until it has caught up. */
  replay: () =>
    overHttp(
      async (input, env) => {
        env.log.info("dropped");
        env.progress(0.1);
        const a = await env.step("a", () => "not called");
        const part = await env.trigger("part");
        env.log.info("caught up");
        env.progress(0.5);
        return [a, await env.wait(part), await env.waitEvent("paid").then((event) => event.createdAt), input.n];
      },
      {
        journal: (query) =>
          query === ""
            ? answer([entry("step", "a", { value: 7 })], { pagination: { has_more: true, next_cursor: "c" } })
            : answer([
                entry("event", "paid", { value: { created_at: "now" } }),
                entry("child", "wkr_part", { child: child("job_2") }),
              ]),
        outputs: [{ ...child("job_2"), output: { a_b: 1 } }],
      },
      { hasJournal: true },
    ),

  /** A wait that is already satisfied: the handler is entered again in the same run. */
  async continues() {
    let entries = 0;
    const calls = await overHttp(
      async (input, env) => {
        entries += 1;
        input.n += 1;
        await env.sleep(5);
        return input.n;
      },
      { end: [{ status: "running", suspended: false }], journal: [entry("sleep", "sleep")] },
    );
    return { calls, entries };
  },

  /** Handlers that catch `Suspended`. */
  async swallowed() {
    const ends = [];
    for (const after of [() => 1, () => { throw new TypeError("other"); }]) {
      const handler = (_input, env) => env.sleep(5).then(() => undefined, after);
      ends.push((await overHttp(handler, {})).filter(([call]) => call === "end").map(([, { error }]) => error));
    }
    return ends;
  },

  /** What refusals become: a step that an earlier run began, a full journal, a refused child, and a stop. */
  async refused() {
    const found = [];
    const steps = ({ name }) =>
      name === "began" ? refuse(409, "step_interrupted", "began") : refuse(422, "invalid_fields", "too many steps");
    const children = () => refuse(403, "forbidden", "no triggers");
    await overHttp(
      async (_input, env) => {
        found.push(await kindOf(env.step("began", () => 1, { once: "at_most" })));
        found.push(await kindOf(env.step("full", () => 1)));
        found.push(await kindOf(env.trigger("part")));
      },
      { steps, children },
    );
    const stopped = { children: () => refuse(409, "resource_conflict", "stop"), heartbeat: { stop: ["token"], lost: [] } };
    await overHttp(async (_input, env) => found.push(await kindOf(env.trigger("part"))), stopped);
    return found;
  },

  /** A new attempt's run reads its steps again; the wait for any is chosen by the service. */
  any: () =>
    overHttp(
      async (_input, env) => {
        const [a, b] = await env.triggerMany("part", [{}, {}], { key: "p" });
        const first = await env.waitAny([a, b], { key: "first" });
        const again = await env.waitAny([a, b], { key: "again", timeoutSeconds: 9 });
        return [first === b, first.output, again === a];
      },
      {
        journal: (() => {
          const children = [entry("child", "p.0", { child: child("job_2") }), entry("child", "p.1", { child: child("job_3") })];
          const again = entry("wait", "again", { child: child("job_2") });
          const journals = [[...children, again], [...children, again, entry("wait", "first", { child: child("job_3") })]];
          return () => answer(journals.shift());
        })(),
        end: [{ status: "running", suspended: false }],
        outputs: ({ jobs }) => answer(jobs.map((id) => ({ ...child(id), output: id }))),
      },
      { hasJournal: true },
    ),

  /** Rules of names and of calls. */
  rules: () =>
    testRun(async (_input, env) => {
      const found = [];
      await env.step("a", () => 1);
      found.push(await kindOf(env.step("a", () => 1)));
      found.push(await kindOf(env.step("outer", () => env.step("inner", () => 1))));
      found.push(await kindOf(env.step("", () => 1)));
      found.push(await kindOf(env.step("big", () => 1n)));
      found.push(await kindOf(env.sleep(-1)));
      found.push(await kindOf(Promise.all([env.step("slow", () => new Promise((end) => setTimeout(end, 9))), env.sleep(5)])));
      found.push(await env.step("new", () => "called", { was: ["old"] }));
      try {
        env.stepKey;
      } catch (error) {
        found.push(error.name);
      }
      return found;
    }),

  /** Code that the handler does not await makes a call after the handler was left. */
  async behind() {
    let behind;
    const found = await testRun(async (_input, env) => {
      behind = new Promise((resolve) => setTimeout(resolve, 20)).then(() => env.step("late", () => 1));
      await env.sleep(60);
      return "done";
    });
    const later = new Promise((resolve) => setTimeout(() => resolve("no process has ended"), 60));
    return [found.output, await Promise.race([behind, later])];
  },

  async unawaited() {
    const found = await testRun((_input, env) => {
      env.step("a", () => 1);
    });
    return found.error;
  },

  /** Branches wait at the same time, and each continues when its own wait ends. */
  branches: () =>
    testRun(
      async (_input, env) => {
        const part = await env.trigger("part");
        const branch = async (name, wait) => {
          const found = await wait();
          return env.step(name, () => found ?? name);
        };
        env.log.info("waits");
        return env.gather([
          () => branch("slept", () => env.sleep(60, { key: "s" })),
          () => branch("waited", () => env.wait(part)),
          () => env.gather([() => branch("event", () => env.waitEvent("e").then(({ data }) => data)), env.step("direct", () => 1)]),
        ]);
      },
      { children: { part: "output" }, events: [{ type: "other" }, { type: "e", data: 5 }] },
    ),

  /** A branch that throws abandons the waiting ones, in later runs too. */
  async abandoned() {
    const effects = [];
    const found = await testRun(
      async (_input, env) => {
        const [good, bad] = [await env.trigger("good"), await env.trigger("bad")];
        const failed = await kindOf(
          env.gather([
            () => env.wait(bad),
            async () => {
              await env.sleep(60, { key: "long" });
              effects.push("continued");
            },
          ]),
        );
        await env.sleep(3_600, { key: "after" });
        return [failed, await env.wait(good)];
      },
      { children: { good: 1, bad: new RangeError("no") } },
    );
    return { ...found, effects };
  },

  /** Timeouts, and the pattern of an event. */
  waits: () =>
    testRun(
      async (_input, env) => {
        const slow = await env.trigger("slow");
        const late = await kindOf(env.wait(slow, { timeoutSeconds: 60 }));
        const never = await kindOf(env.waitEvent("e", { match: { data: { n: [{ numeric: [">", 5] }] } }, timeoutSeconds: 9 }));
        const event = await env.waitEvent("e", { match: { data: { ip: [{ cidr: "10.0.0.0/8" }], n: [3] } }, key: "second" });
        await env.sleep(0.5);
        return [late, never, event.data.n];
      },
      { events: [{ type: "e", data: { n: 4, ip: "10.0.0.1" } }, { type: "e", data: { n: 3, ip: "10.2.0.1" } }] },
    ),

  /** Decisions of persons, and the hash of their content. */
  async approvals() {
    const payload = { "é": [1.5, 1e21, null], b: { z: true, a: "\u20ac" }, 10: 0 };
    const found = await testRun(
      async (_input, env) => {
        const size = await env.approve("size", "Resize?", { payload, schema: { type: "object" } });
        await env.sleep(60);
        const [one, other] = await env.gather([() => env.approve("a", "A?"), () => env.approve("b", "B?")]);
        const late = await kindOf(env.approve("late", "Late?", { timeoutSeconds: 60, onTimeout: "fail" }));
        return [size.approved, size.data, one.approved, other.approved, late];
      },
      { approvals: { size: { approved: true, data: { n: 2 } }, a: true, b: false, late: null } },
    );
    return { ...found, hash: await payloadHash({ title: "Resize?", payload, schema: { type: "object" } }) };
  },

  async map() {
    let most = 0;
    const found = await run(
      async (_input, env) => {
        const outputs = await env.map("part", [1, 2, 3].map((n) => ({ n })), { maxConcurrency: 2 });
        most = Math.max(most, outputs.length);
        return [outputs, await kindOf(env.map("bad", [{}])), await env.map("bad", [{}], { key: "b", returnExceptions: true })];
      },
      {},
      { children: { part: ({ n }) => n * 10, bad: new RangeError("no") } },
    );
    return { output: found.output, waits: found.waits, children: found.children.map(({ name }) => name) };
  },

  async nothing_ends() {
    const never = (wait) => run(async (_input, env) => wait(env), {}).then(() => "ended", (error) => error.message);
    return [await never(async (env) => env.wait(await env.trigger("part"))), await never((env) => env.waitEvent("paid"))];
  },
};

console.log(JSON.stringify(await cases[process.argv[2]]()));
