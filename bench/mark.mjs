// A worker in TypeScript's package whose handler returns when it began, as the handler `mark` of bench/handlers.py does.
import { PullWorker } from "../clients/typescript/dist/index.js";

const worker = new PullWorker({ url: process.env["AVA_URL"], apiKey: process.env["AVA_API_KEY"] });
worker.handle(process.env["AVA_SLUG"], async (_input, env) => {
  const began = (performance.timeOrigin + performance.now()) / 1000;
  env.log.info("one");
  env.log.info("two");
  return { began };
});
await worker.run({ concurrency: 1, name: "bench" });
