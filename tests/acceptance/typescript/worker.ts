import { GiveUp, PullWorker, RetryLater } from "ava-jobs";

declare const process: { env: Record<string, string | undefined> };

const worker = new PullWorker({ url: process.env["AVA_URL"] ?? "", apiKey: process.env["AVA_API_KEY"] ?? "" });
const putOff = new Set<string>();

worker.handle<{ width: number }>("resize", async (input, env) => {
  env.log.info("resizes to", input.width);
  env.log.warn({ nested: [1, null] }, 1n, new Error("unlucky").message);
  env.log.error(new RangeError("too wide"));
  env.progress(0.5, "half");
  return { width: input.width * 2, colour: env.config["COLOUR"], attempt: env.attempt };
});
worker.handle("fails", () => {
  throw new TypeError("x is undefined");
});
worker.handle("gives_up", () => {
  throw new GiveUp("no use");
});
worker.handle("later", (_input, env) => {
  const id = env.job.id;
  if (!putOff.has(id)) {
    putOff.add(id);
    throw new RetryLater(0.1, "busy");
  }
  return env.attempt;
});
worker.handle("slow", async (_input, env) => {
  env.log.info("waits");
  await new Promise((resolve) => env.signal.addEventListener("abort", resolve));
  return String(env.signal.reason);
});
worker.handle<{ kind: string }>("unfit", ({ kind }) => {
  const circular: Record<string, unknown> = {};
  circular["itself"] = circular;
  return { large: "x".repeat(2 ** 20), bigint: 1n, circular, nothing: undefined }[kind];
});
worker.handle("branches", (_input, env) =>
  env.gather(
    ["slept", "direct"].map((name) => async () => {
      if (name === "slept") await env.sleep(1);
      // Each runtime knows which branch and which step code belongs to.
      return [name, await env.step(name, async () => (await Promise.resolve(), env.stepKey.split(":")[1]))];
    }),
  ),
);
worker.handle("logs", async (_input, env) => {
  for (let number = 0; number < 300; number += 1) env.log.info(number, "x".repeat(8_000));
  env.progress(Number.NaN);
  const isThere = () => fetch(`${process.env["AVA_URL"]}/livez`).then(() => true, () => false);
  while (await isThere()) await new Promise((resolve) => setTimeout(resolve, 20));
  env.log.info("the last one");
  console.log("logged");
});

console.log("begins");
const { CONCURRENCY = "4", GRACE = "600" } = process.env;
await worker.run({ concurrency: Number(CONCURRENCY), graceSeconds: Number(GRACE), name: "box 1" });
console.log("stopped");
