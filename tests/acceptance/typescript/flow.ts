import { Ava, AvaError, verifyWebhook, WebhookUnverified, type Job } from "ava-jobs";

declare const process: { env: Record<string, string | undefined> };

const ava = new Ava({ url: process.env["AVA_URL"] ?? "", key: process.env["AVA_KEY"] ?? "" });
const found: Record<string, unknown> = {};

async function ended(slug: string, input: Record<string, unknown> = {}): Promise<Job> {
  return await ava.wait((await ava.trigger(`wkr_${slug}`, input)).id);
}

const job = await ava.trigger("wkr_resize", { width: 3 }, { idempotencyKey: "one", tags: { team: "a" } });
const again = await ava.trigger("wkr_resize", { width: 3 }, { idempotencyKey: "one", tags: { team: "a" } });
found["once"] = job.id === again.id;
found["resized"] = (await ava.wait(job.id)).output;
const lines: string[] = [];
for await (const update of ava.stream(job.id)) if (update.kind === "log") lines.push(update.line.msg);
found["lines"] = lines.slice(0, 3);

const failed = await ended("fails");
found["failed"] = [failed.status, failed.error, failed.attempt];
const givenUp = await ended("gives_up");
found["gave up"] = [givenUp.error, givenUp.attempt];
found["later"] = (await ended("later")).output;
found["large"] = (await ended("large")).error?.split(":")[0];

const slow = await ava.trigger("wkr_slow");
for await (const update of ava.stream(slow.id)) if (update.kind === "log" && update.line.msg === "waits") break;
await ava.cancel(slow.id);
found["cancelled"] = (await ava.wait(slow.id)).status;

const listed: string[] = [];
for await (const each of ava.jobs({ per_page: 2 })) listed.push(each.id ?? "");
found["listed"] = [listed.length, new Set(listed).size, listed.at(-1) === job.id];
try {
  await ava.job("job_00000000000000000000000000");
} catch (error) {
  found["refused"] = error instanceof AvaError && error.code;
}

const secret = "a-secret-of-16-characters";
const body = JSON.stringify({ id: "evt_1", type: "ava.job.completed" });
const at = Math.floor(Date.now() / 1000);
const bytes = new TextEncoder();
const key = await crypto.subtle.importKey("raw", bytes.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
const signed = new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes.encode(`evt_1.${at}.${body}`)));
const headers = {
  "webhook-id": "evt_1",
  "webhook-timestamp": String(at),
  "webhook-signature": `v1,${btoa(String.fromCharCode(...signed))}`,
};
found["verified"] = (await verifyWebhook(body, headers, ["another", secret])).type;
const isRefused = (tried: Promise<unknown>) => tried.then(() => false, (error: unknown) => error instanceof WebhookUnverified);
found["forged"] = await isRefused(verifyWebhook(`${body} `, headers, secret));
found["old"] = await isRefused(verifyWebhook(body, headers, secret, { now: at + 301 }));
console.log(JSON.stringify(found));
