import { Ava, AvaError, verifyWebhook, WebhookUnverified, type Job } from "ava-jobs";

/** Does what a client does, in any runtime, and returns what it found. `name` is that of the runtime. */
export async function flow(url: string, key: string, name: string): Promise<Record<string, unknown>> {
  const ava = new Ava({ url, key });
  const found: Record<string, unknown> = {};
  const tags = { runtime: name };
  const ended = async (slug: string, input: Record<string, unknown> = {}): Promise<Job> =>
    await ava.wait((await ava.trigger(`wkr_${slug}`, input, { tags })).id);

  const job = await ava.trigger("wkr_resize", { width: 3 }, { idempotencyKey: name, tags });
  const again = await ava.trigger("wkr_resize", { width: 3 }, { idempotencyKey: name, tags });
  found["once"] = job.id === again.id;
  found["resized"] = (await ava.wait(job.id)).output;
  const lines: string[] = [];
  for await (const update of ava.stream(job.id)) if (update.kind === "log") lines.push(update.line.msg);
  found["lines"] = lines.slice(0, 4);

  const failed = await ended("fails");
  found["failed"] = [failed.status, failed.error, failed.attempt];
  const givenUp = await ended("gives_up");
  found["gave up"] = [givenUp.error, givenUp.attempt];
  found["later"] = (await ended("later")).output;
  found["unfit"] = [];
  for (const kind of ["large", "bigint", "circular", "nothing"]) {
    const { error, output } = await ended("unfit", { kind });
    (found["unfit"] as unknown[]).push(error?.split(":")[0] ?? output);
  }

  const slow = await ava.trigger("wkr_slow", {}, { tags });
  for await (const update of ava.stream(slow.id)) if (update.kind === "log" && update.line.msg === "waits") break;
  await ava.cancel(slow.id);
  found["cancelled"] = (await ava.wait(slow.id)).status;

  const later = new Date(Date.now() + 3_600_000).toISOString();
  const waiting = await ava.trigger("wkr_slow", {}, { scheduled_at: later, expires_in: 60, max_retries: 0 });
  const changed = await ava.change(waiting.id, { priority: 2, tags: { team: "a" }, expires_in: null });
  found["changed"] = [changed.priority, changed.tags, waiting.expires_at !== null, changed.expires_at];
  found["payload hidden"] = changed.payload_hidden ?? false;
  await ava.cancel(waiting.id);

  const listed: string[] = [];
  const query = { per_page: 2, "filter[tag.runtime]": name } as NonNullable<Parameters<typeof ava.jobs>[0]>;
  for await (const each of ava.jobs(query)) listed.push(each.id ?? "");
  found["listed"] = [listed.length, new Set(listed).size, listed.at(-1) === job.id];
  try {
    await ava.job("job_00000000000000000000000000");
  } catch (error) {
    found["refused"] = error instanceof AvaError && error.code;
  }
  try {
    await new Ava({ url: "http://127.0.0.1:1", key, retries: 0 }).trigger("wkr_resize");
  } catch (error) {
    found["unreachable"] = error instanceof AvaError && [error.status, error.code];
  }

  const secret = "a-secret-of-16-characters";
  const body = JSON.stringify({ id: "evt_1", type: "ava.job.completed" });
  const at = Math.floor(Date.now() / 1000);
  const bytes = new TextEncoder();
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const signer = await crypto.subtle.importKey("raw", bytes.encode(secret), hmac, false, ["sign"]);
  const signed = new Uint8Array(await crypto.subtle.sign("HMAC", signer, bytes.encode(`evt_1.${at}.${body}`)));
  const headers = {
    "webhook-id": "evt_1",
    "webhook-timestamp": String(at),
    "webhook-signature": `v1,${btoa(String.fromCharCode(...signed))}`,
  };
  found["verified"] = (await verifyWebhook(body, headers, ["another", secret])).type;
  const isRefused = (tried: Promise<unknown>) =>
    tried.then(() => false, (error: unknown) => error instanceof WebhookUnverified);
  found["forged"] = await isRefused(verifyWebhook(`${body} `, headers, secret));
  found["old"] = await isRefused(verifyWebhook(body, headers, secret, { now: at + 301 }));
  return found;
}
