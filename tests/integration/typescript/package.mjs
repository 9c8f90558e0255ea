// What the package does with an API that is a function here. `node package.mjs CASE` prints what the case finds.
import { createServer } from "node:http";

import { Ava, verifyWebhook } from "./dist/index.js";

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
function worker(runs, answers) {
  const calls = [];
  const send = async (request, { signal } = {}) => {
    const call = new URL(request.url).pathname.split("/").at(-1);
    const body = await request.clone().json();
    calls.push(call);
    if (answers[call] !== undefined) return answers[call](body, signal ?? request.signal);
    if (call === "claim") return runs.length > 0 ? answer(runs.splice(0)) : never(signal);
    return answer({ heartbeat: { stop: [], lost: [] }, end: { status: "completed" } }[call] ?? { stop: false });
  };
  return { ava: new Ava({ url: "http://api", key: "ava_00.x", fetch: send }), calls };
}

const cases = {
  async begins() {
    let failures = 1;
    const heartbeats = [];
    const { ava, calls } = worker([claimed("a"), claimed("b"), claimed("c")], {
      heartbeat: ({ runs }) => {
        heartbeats.push(runs);
        return failures-- > 0 ? answer({}, 503) : answer({ stop: ["b"], lost: ["c"] });
      },
    });
    const began = [];
    ava.worker("one", (_input, env) => {
      began.push([calls.filter((call) => call === "heartbeat").length, env.signal.aborted]);
      if (began.length === 2) ava.stop();
    });
    await ava.run({ concurrency: 3, onProblem: () => undefined });
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
    const ava = new Ava({ url, key: "ava_00.x", retries: 0, timeoutSeconds: 2 });
    for (const job of ["silent", "half"]) {
      const asked = new Promise((resolve) => (isAsked = resolve));
      const found = ava.job(job).then(() => "answered", (error) => error.code);
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
    const answers = [answer({ id: "job_1" }), new Response(failing), answer({ id: "job_1" }), new Response(null, { status: 204 })];
    const fetch = async () => answers.shift();
    const ava = new Ava({ url: "http://api", key: "ava_00.x", retries: 0, timeoutSeconds: 3_600, fetch });
    const shown = (await ava.job("job_1")).id;
    const failed = await ava.job("job_1").catch((error) => error.code);
    const params = { path: { job_id: "job_1" } };
    const { data } = await ava.api.GET("/v1/ava/jobs/{job_id}", { params, parseAs: "stream" });
    await data.cancel();
    const { response } = await ava.api.GET("/v1/ava/jobs/{job_id}", { params });
    return [shown, failed, response.status];
  },

  /** The keys of each try of a POST that fails, by path, and those of a caller's own key. */
  async repeats() {
    const keys = {};
    const fetch = async (request) => {
      const path = new URL(request.url).pathname;
      (keys[path] ??= []).push(request.headers.get("idempotency-key"));
      return answer({}, 503);
    };
    const ava = new Ava({ url: "http://api", key: "ava_00.x", retries: 1, fetch });
    for (const path of JSON.parse(process.argv[3])) await ava.api.POST(path, { body: {} });
    const params = { header: { "Idempotency-Key": "mine" } };
    await ava.api.POST("/own", { body: {}, params });
    return keys;
  },

  /** A handler that never ends: its job is given back, and its time-out of an hour keeps nothing alive. */
  async gives_back() {
    const ends = [];
    const long = { ...claimed("a"), timeout_at: "2026-01-01T01:00:00Z" };
    const { ava } = worker([long], { end: (body) => (ends.push(body), answer({ status: "queued" })) });
    ava.worker("one", (_input, env) => {
      ava.stop();
      return new Promise(() => undefined);
    });
    await ava.run({ graceSeconds: 0 });
    return ends;
  },

  /** What is said of keys that no header can have. */
  async keys() {
    const said = [];
    for (const key of ["ava_00.x\n", "ava\r\n00", " ava", "av\u00e9"]) {
      try {
        new Ava({ url: "http://api", key });
      } catch (error) {
        said.push([error.constructor.name, String(error), error.stack.includes(key)]);
      }
    }
    return said;
  },

  /** The paths that are called for ids, and what is thrown. */
  async ids() {
    const paths = [];
    const fetch = async (asked) => {
      paths.push(new URL(asked.url ?? asked).pathname);
      return answer({ status: "completed" });
    };
    const ava = new Ava({ url: "http://api", key: "ava_00.x", fetch });
    const calls = [
      (id) => ava.job(id), (id) => ava.wait(id), (id) => ava.cancel(id), (id) => ava.tree(id), (id) => ava.change(id, {}),
      (id) => ava.retry(id), (id) => ava.stream(id).next(),
      (id) => ava.api.GET("/v1/ava/workers/{worker_id}", { params: { path: { worker_id: id } } }),
    ];
    const thrown = new Set();
    for (const id of [".", "..", "", "a/b", "../keys"]) {
      for (const call of calls) await call(id).catch((error) => thrown.add(`${error.code} ${error.status}`));
    }
    const refused = paths.splice(0);
    await ava.job("job_1?x#..");
    return { refused, thrown: [...thrown], paths };
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
