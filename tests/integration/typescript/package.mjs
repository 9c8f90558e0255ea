// What the package does with an API that is a function here. `node package.mjs CASE` prints what the case finds.
import { Ava } from "./dist/index.js";

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
};

console.log(JSON.stringify(await cases[process.argv[2]]()));
