import { PullWorker } from "ava-jobs";

declare const process: { env: Record<string, string | undefined> };

const worker = new PullWorker({ url: process.env.AVA_URL!, apiKey: process.env.AVA_API_KEY! });

worker.handle<{ image: string }>("thumbnail", async ({ image }, env) => {
  env.log.info("resizing", image);
  return { file: `${image}-128.png`, width: 128 };
});
await worker.run({ concurrency: 4 });
