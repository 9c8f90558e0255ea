import { Ava, GiveUp, RetryLater } from "ava-jobs";

declare const process: { env: Record<string, string | undefined> };

const ava = new Ava({ url: process.env["AVA_URL"] ?? "", key: process.env["AVA_KEY"] ?? "" });
let hasPutOff = false;

ava.worker<{ width: number }>("resize", async (input, env) => {
  env.log.info("resizes to", input.width);
  env.log.warn({ nested: [1, null] });
  env.progress(0.5, "half");
  return { width: input.width * 2, colour: env.config["COLOUR"], attempt: env.attempt };
});
ava.worker("fails", () => {
  throw new TypeError("x is undefined");
});
ava.worker("gives_up", () => {
  throw new GiveUp("no use");
});
ava.worker("later", (_input, env) => {
  if (!hasPutOff) {
    hasPutOff = true;
    throw new RetryLater(0.1, "busy");
  }
  return env.attempt;
});
ava.worker("slow", async (_input, env) => {
  env.log.info("waits");
  await new Promise((resolve) => env.signal.addEventListener("abort", resolve));
  return String(env.signal.reason);
});
ava.worker("large", () => "x".repeat(2 ** 20));

console.log("begins");
await ava.run({ concurrency: 4, graceSeconds: 0.5, name: "box 1" });
console.log("stopped");
