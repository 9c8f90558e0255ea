// A worker in TypeScript's package whose handler returns when it began, as the handler `mark` of bench/handlers.py does.
import { Ava } from "../clients/typescript/dist/index.js";

const ava = new Ava({ url: process.env["AVA_URL"], key: process.env["AVA_KEY"] });
ava.worker(process.env["AVA_SLUG"], async (_input, env) => {
  const began = (performance.timeOrigin + performance.now()) / 1000;
  env.log.info("one");
  env.log.info("two");
  return { began };
});
await ava.run({ concurrency: 1, name: "bench" });
