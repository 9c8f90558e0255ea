// What the package does with an API that is a function here. `node package.mjs CASE` prints what the case finds.
import { createServer } from "node:http";

import { Calls } from "./dist/calls.js";
import { Client, PullWorker, verifyWebhook } from "./dist/index.js";
import { fromWire, toWire } from "./dist/wire.js";

const answer = (data, status = 200) => Response.json(status < 300 ? { data } : { error: data }, { status });
const never = (signal) =>
  new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));

const claimed = (run) => ({
  run,
  job: { id: "job_1", worker_id: "wkr_one", attempt: 1, started_at: "2026-01-01T00:00:00Z" },
  input: {},
  config: {},
  timeout_at: "2026-01-01T00:05:00Z",
});

/** A worker whose first claim gets these runs. `answers` has the answer of a call by the last part of its path. */
function puller(runs, answers) {
  const calls = [];
  const fetch = async (address, { body: text, signal }) => {
    const call = new URL(address).pathname.split("/").at(-1);
    const body = JSON.parse(text);
    calls.push(call);
    if (answers[call] !== undefined) return answers[call](body, signal);
    if (call === "claim") return runs.length > 0 ? answer(runs.splice(0)) : never(signal);
    return answer({ heartbeat: { stop: [], lost: [] }, end: { status: "completed" } }[call] ?? { stop: false });
  };
  return { worker: new PullWorker({ url: "http://api", apiKey: "ava_00.x", fetch }), calls };
}

/** A client of an API that gives these responses in turn, the last one for ever; its calls are recorded. */
function clientOf(responses, options = {}) {
  const calls = [];
  const fetch = async (address, { method, headers, body, signal }) => {
    const url = new URL(address);
    const query = Object.fromEntries(url.searchParams);
    calls.push({ method, path: url.pathname, query, headers, body: body && JSON.parse(body) });
    const next = responses.length > 1 ? responses.shift() : responses[0];
    return next === undefined ? never(signal) : next(signal);
  };
  return { client: new Client({ url: "http://api", apiKey: "ava_00.x", fetch, ...options }), calls };
}

async function all(list) {
  const found = [];
  for await (const each of list) found.push(each);
  return found;
}

/** Names of the methods of a resource, with those of its base. */
function methodsOf(resource) {
  const prototype = Object.getPrototypeOf(resource);
  if (prototype === Object.prototype) return [];
  return [...Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor"), ...methodsOf(prototype)];
}

/** Returns what a call throws. */
const thrown = (call) => call.then((value) => ["nothing", value], (error) => [error.name, error.status ?? null]);

/** The resources of a client, and those of resources: `hooks` and `hooks.deliveries`. */
const resourcesOf = (parent, prefix = "") => Object.entries(parent).flatMap(([name, each]) =>
  each?.calls ? [[`${prefix}${name}`, each], ...resourcesOf(each, `${prefix}${name}.`)] : []);

const cases = {
  async begins() {
    let failures = 1;
    const heartbeats = [];
    const { worker, calls } = puller([claimed("a"), claimed("b"), claimed("c")], {
      heartbeat: ({ runs }) => {
        heartbeats.push(runs);
        return failures-- > 0 ? answer({}, 503) : answer({ stop: ["b"], lost: ["c"] });
      },
    });
    const began = [];
    worker.handle("one", (_input, env) => {
      began.push([calls.filter((call) => call === "heartbeat").length, env.signal.aborted]);
      if (began.length === 2) worker.stop();
    });
    await worker.run({ concurrency: 3, onProblem: () => undefined });
    return { heartbeats, began };
  },

  /** Calls of a server that does not answer, and of one whose answer has no end. Garbage is collected meanwhile. */
  async times_out() {
    const ended = [];
    let isAsked = () => undefined;
    const server = createServer((request, response) => {
      if (request.url.endsWith("half")) response.writeHead(200, { "content-type": "application/json" }).write("{");
      isAsked();
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${server.address().port}`;
    const client = new Client({ url, apiKey: "ava_00.x", retries: 0, timeoutSeconds: 2 });
    for (const job of ["silent", "half"]) {
      const asked = new Promise((resolve) => (isAsked = resolve));
      const found = client.jobs.get(job).then(() => "answered", (error) => error.code);
      await asked;
      for (let turn = 0; turn < 5; turn += 1) {
        await new Promise((resolve) => setImmediate(resolve));
        globalThis.gc();
      }
      ended.push(await Promise.race([found, new Promise((resolve) => setTimeout(resolve, 20_000, "never").unref())]));
    }
    server.closeAllConnections();
    server.close();
    return ended;
  },

  /** Bodies that are read, that fail, and that are not wanted. Each would keep the process alive for an hour. */
  async leaves_no_timer() {
    const failing = new ReadableStream({ pull: (out) => out.error(new Error("reset")) });
    const lines = new Response('{"id": "job_1"}\n{"id": "job_2"}\n');
    const responses = [answer({ id: "job_1" }), new Response(failing), lines, new Response(null, { status: 204 })];
    const { client } = clientOf([() => responses.shift()], { retries: 0, timeoutSeconds: 3_600 });
    const shown = (await client.jobs.get("job_1")).id;
    const failed = await thrown(client.jobs.get("job_1"));
    for await (const job of client.jobs.export()) {
      if (job.id === "job_1") break;
    }
    return [shown, failed, await thrown(client.jobs.get("job_1"))];
  },

  /** The keys of each try of a POST that fails, by path, and those of a caller's own key. */
  async repeats() {
    const keys = {};
    const post = async (path, options) => {
      const fetch = async (_, { headers }) => {
        (keys[path] ??= []).push(headers["Idempotency-Key"] ?? null);
        return answer({}, 503);
      };
      const calls = new Calls({ url: "http://api", apiKey: "ava_00.x", retries: 1, fetch });
      await thrown(calls.data("post", path, ["a", "b"], { body: {}, ...options }));
    };
    for (const path of JSON.parse(process.argv[3])) await post(path);
    await post("/own", { idempotencyKey: "mine" });
    return keys;
  },

  /** A handler that never ends: its job is given back, and its time-out of an hour keeps nothing alive. */
  async gives_back() {
    const ends = [];
    const long = { ...claimed("a"), timeout_at: "2026-01-01T01:00:00Z" };
    const { worker } = puller([long], { end: (body) => (ends.push(body), answer({ status: "queued" })) });
    worker.handle("one", (_input, env) => {
      worker.stop();
      return new Promise(() => undefined);
    });
    await worker.run({ graceSeconds: 0 });
    return ends;
  },

  /** What is said of keys that no header can have. */
  async keys() {
    const said = [];
    for (const apiKey of ["ava_00.x\n", "ava\r\n00", " ava", "av\u00e9"]) {
      try {
        new Client({ url: "http://api", apiKey });
      } catch (error) {
        said.push([error.constructor.name, String(error), error.stack.includes(apiKey)]);
      }
    }
    return said;
  },

  /** The paths that are called for ids, and what is thrown. */
  async ids() {
    const { client, calls } = clientOf([() => answer({ status: "completed" })]);
    const { jobs, schedules, hooks, webhooks, workers } = client;
    const methods = [
      (id) => jobs.get(id), (id) => jobs.wait(id), (id) => jobs.cancel(id), (id) => jobs.tree(id),
      (id) => jobs.update(id, {}), (id) => jobs.retry(id), (id) => jobs.events(id).next(), (id) => jobs.logs(id).next(), (id) => workers.get(id),
      (id) => schedules.firings(id).next(), (id) => hooks.deliveries.get("hk_1", id),
      (id) => webhooks.deliveries.redeliver(id, "del_1"),
    ];
    const refusals = new Set();
    const texts = [".", "..", "", "a/b", "../keys", "job_1/logs", "job_1\\logs", "job_1%2Flogs", "job_1?x", "job_1#x"];
    for (const id of [...texts, "a\nb", "\ud800", undefined, null, 7, { id: "job_1" }]) {
      for (const method of methods) await method(id).catch((error) => refusals.add(`${error.code} ${error.status}`));
    }
    const refused = calls.splice(0);
    await workers.get("wkr_1 @x");
    return { refused, thrown: [...refusals], paths: calls.map(({ path }) => path) };
  },

  /** A job that the API cannot read: how often `wait` and `events` ask, and what they throw. */
  async gives_up() {
    const found = {};
    for (const name of ["wait", "events"]) {
      const { client, calls } = clientOf([() => answer({ code: "internal_error" }, 500)], { retries: 2 });
      const { jobs } = client;
      found[name] = [await thrown(name === "wait" ? jobs.wait("job_1") : jobs.events("job_1").next()), calls.length];
    }
    // A failure between two responses begins anew, and an outage is waited out.
    const states = [500, 503, 500].map((status) => () => answer({}, status));
    const running = () => answer({ status: "running" });
    const turns = [...states, running, ...states, () => answer({ status: "completed" })];
    const { client } = clientOf(turns, { retries: 3 });
    found.status = (await client.jobs.wait("job_1")).status;
    const late = clientOf([running]).client;
    found.late = await thrown(late.jobs.wait("job_1", { timeoutSeconds: 0.05 }));
    return found;
  },

  /** What each call throws, and how soon, whose signal is aborted before it, during it, and in its pause. */
  async aborts() {
    const ended = [];
    const options = () => ({ signal: AbortSignal.timeout(50) });
    const methods = [
      (jobs, end) => jobs.get("job_1", end), (jobs, end) => jobs.trigger("wkr_1", {}, end),
      (jobs, end) => jobs.wait("job_1", end), (jobs, end) => jobs.list({}, end).next(),
      (jobs, end) => jobs.events("job_1", end).next(), (jobs, end) => jobs.export({}, end).next(),
      (jobs, end) => jobs.logs("job_1", {}, end).next(), (jobs, end) => jobs.triggerAndWait("wkr_1", {}, end),
    ];
    const unending = (signal) => {
      const start = (out) => signal.addEventListener("abort", () => out.error(signal.reason));
      return new Response(new ReadableStream({ start }));
    };
    for (const response of [undefined, () => answer({}, 503), unending]) {
      for (const method of methods) {
        const began = performance.now();
        const what = await thrown(method(clientOf([response]).client.jobs, options()));
        ended.push([...what.slice(0, 1), performance.now() - began < 5_000]);
      }
    }
    const { client, calls } = clientOf([() => answer({ id: "job_1" })]);
    for (const method of methods) await thrown(method(client.jobs, { signal: AbortSignal.abort() }));
    return { ended: [...new Set(ended.map(String))], calls: calls.length };
  },

  /** What is sent and received, in the names of the API and in camelCase. */
  async names() {
    const input = { user_id: 1, nestedField: [{ a_b: 2 }] };
    const job = {
      id: "job_1", status: "hibernating", worker_id: "wkr_1", input, output: { ok_1: { c_d: 3 } }, tags: { a_b: "c" },
      waiting_for: { job_ids: ["job_2"], event: { type: "x", match: { e_f: [1] } } }, payload_hidden: true,
    };
    const page = (data, cursor) => () =>
      Response.json({ data, pagination: { page: 1, per_page: 2, has_more: cursor !== null, next_cursor: cursor } });
    const statistics = () => answer({ by_worker: { wkr_a_b: { avg_ms: 1 } } });
    const { client, calls } = clientOf([() => answer(job, 201), page([job], "c1"), page([job], null), statistics]);
    const tags = { a_b: "c" };
    const dedupe = { key: "k", mode: "return" };
    const sent = await client.jobs.trigger("wkr_1", input, { scheduledAt: "2026-01-01T00:00:00Z", dedupe, tags });
    const filters = { workerId: "wkr_1", tags, input: { "account.user_id": 17 } };
    const listed = await all(client.jobs.list({ ...filters, perPage: 2, sort: "-duration" }));
    const { byWorker } = await client.reports.analytics({ groupBy: "day" });
    return { sent, listed: listed.length, byWorker, calls: calls.map(({ query: asked, body }) => body ?? asked) };
  },

  /** Each list over two pages: those with cursors, those with numbers, and one that has no pages. */
  async pages() {
    const page = (place) => () => Response.json({ data: [{ id: "a" }], ...(place && { pagination: place }) });
    const lists = {
      cursor: [page({ has_more: true, next_cursor: "c" }), page({ has_more: false, next_cursor: null })],
      number: [page({ page: 1, has_more: true, next_cursor: null }), page({ page: 2, has_more: false })],
      none: [page()],
    };
    const found = {};
    for (const [name, responses] of Object.entries(lists)) {
      const { client, calls } = clientOf(responses);
      found[name] = [(await all(client.nodes.list())).length, calls.map(({ query }) => query)];
    }
    return found;
  },

  /** The operations that the resources call; `process.argv[3]` has the paths whose data is an array. */
  async operations() {
    const arrays = new Set(JSON.parse(process.argv[3]));
    const called = new Set();
    const record = { id: "id1", status: "completed", state: "done", logs: [], entries: [], next_cursor: null, path: "/x" };
    const fetch = async (address, { method }) => {
      const path = new URL(address).pathname.replace(/id(\d)/g, "{}");
      called.add(`${method} ${path}`);
      if (path.endsWith("/stream")) return new Response('event: end\ndata: {}\n\n');
      if (path.endsWith("/export")) return new Response("{}\n");
      return Response.json({ data: method === "GET" && arrays.has(path) ? [] : record });
    };
    const client = new Client({ url: "http://api", apiKey: "ava_00.x", fetch });
    const own = { count: ["retry"], triggerMany: [[]] };
    for (const [, resource] of resourcesOf(client)) {
      for (const name of methodsOf(resource)) {
        const result = resource[name](...(own[name] ?? ["id1", "id2"]));
        if (Symbol.asyncIterator in result) await all(result);
        else await result;
      }
    }
    return [...called];
  },

  /** The methods of each resource. */
  async methods() {
    const { client } = clientOf([]);
    return Object.fromEntries(resourcesOf(client).map(([name, resource]) => [name, methodsOf(resource)]));
  },

  /** A value in the names of the API, and one of the API in camelCase. */
  async wire() {
    const { sent, received } = JSON.parse(process.argv[3]);
    return { sent: toWire(sent), received: fromWire(received) };
  },

  /** How webhooks are refused that nothing can verify. */
  async unverified() {
    const at = String(Math.floor(Date.now() / 1000));
    const headers = { "webhook-id": "evt_1", "webhook-timestamp": at, "webhook-signature": "v1,AAAA" };
    const refused = [];
    for (const secret of ["", "whsec_", [""], ["a-secret", ""], []]) {
      await verifyWebhook("{}", headers, secret).catch((error) => refused.push(error.constructor.name));
    }
    return refused;
  },
};

console.log(JSON.stringify(await cases[process.argv[2]]()));
