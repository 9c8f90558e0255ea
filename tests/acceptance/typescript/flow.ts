import { ApiError, Client, verifyWebhook, WebhookUnverified, type Job, type LogChoice } from "ava-jobs";

/** Does what a client does, in any runtime, and returns what it found. `name` is that of the runtime. */
export async function flow(url: string, key: string, name: string): Promise<Record<string, unknown>> {
  const client = new Client({ url, apiKey: key });
  const { jobs } = client;
  const found: Record<string, unknown> = {};
  const tags = { runtime: name };
  const ended = async (slug: string, input: Record<string, unknown> = {}): Promise<Job> =>
    await jobs.triggerAndWait(`wkr_${slug}`, input, { tags });

  const job = await jobs.trigger("wkr_resize", { width: 3 }, { idempotencyKey: name, tags });
  const again = await jobs.trigger("wkr_resize", { width: 3 }, { idempotencyKey: name, tags });
  found["once"] = job.id === again.id;
  found["resized"] = (await jobs.wait(job.id)).output;
  const lines: string[] = [];
  for await (const update of jobs.events(job.id)) if (update.kind === "log") lines.push(update.line.msg);
  found["lines"] = lines.slice(0, 4);

  const followed = async (choice: LogChoice): Promise<string[]> => {
    const messages: string[] = [];
    for await (const line of jobs.logs(job.id, choice)) messages.push(line.msg.slice(0, 14));
    return messages;
  };
  const choices: LogChoice[] = [{ tail: 1 }, { level: "error", follow: true }, { text: "RESIZES" }];
  found["logs"] = await Promise.all(choices.map(followed));
  found["exported"] = [];
  for await (const each of jobs.export({ id: job.id })) (found["exported"] as unknown[]).push(each.output);
  const [why, tree] = await Promise.all([jobs.why(job.id), jobs.tree(job.id)]);
  const runs: number[] = [];
  for await (const run of jobs.runs(job.id)) runs.push(run.attempt);
  found["explained"] = [why.status, runs.length, tree.treeId === job.id];

  const failed = await ended("fails");
  found["failed"] = [failed.status, failed.error, failed.attempt];
  const givenUp = await ended("gives_up");
  found["gave up"] = [givenUp.error, givenUp.attempt];
  found["later"] = (await ended("later")).output;
  const branches = await jobs.triggerAndWait("wkr_branches", {});
  let journalled = 0;
  for await (const _ of jobs.journal(branches.id)) journalled += 1;
  found["branches"] = [...(branches.output as unknown as string[][]), journalled - 1];
  found["unfit"] = [];
  for (const kind of ["large", "bigint", "circular", "nothing"]) {
    const { error, output } = await ended("unfit", { kind });
    (found["unfit"] as unknown[]).push(error?.split(":")[0] ?? output);
  }

  const slow = await jobs.trigger("wkr_slow", {}, { tags });
  for await (const update of jobs.events(slow.id)) if (update.kind === "log" && update.line.msg === "waits") break;
  await jobs.cancel(slow.id);
  found["cancelled"] = (await jobs.wait(slow.id)).status;

  const later = new Date(Date.now() + 3_600_000).toISOString();
  const waiting = await jobs.trigger("wkr_slow", {}, { scheduledAt: later, expiresInSeconds: 60, maxRetries: 0 });
  const changed = await jobs.update(waiting.id, { priority: 2, tags: { team: "a" }, expiresInSeconds: null });
  found["changed"] = [changed.priority, changed.tags, waiting.expiresAt !== null, changed.expiresAt];
  found["payload hidden"] = changed.payloadHidden ?? false;
  await jobs.cancel(waiting.id);

  const { workers, schedules, webhooks, events, subscriptions, operations } = client;
  const paused = await workers.pause("wkr_slow");
  const held = await jobs.trigger("wkr_slow", {}, { tags: { held: name } });
  const filter = { tags: { held: name } };
  found["paused"] = [paused.status, await operations.count("cancel", filter), await jobs.cancelAll(filter)];
  found["held"] = (await jobs.get(held.id)).status;
  found["resumed"] = (await workers.resume("wkr_slow")).status;
  const input = { user_id: 7 };
  const nightly = await schedules.create({ workerId: "wkr_slow", cron: "0 3 * * *", timezone: "Europe/Berlin", input });
  const { enabled, paused: pause } = await schedules.pause(nightly.id, { reason: "holidays" });
  found["scheduled"] = [nightly.input, enabled, pause?.reason, (await schedules.resume(nightly.id)).paused, (await schedules.next(nightly.id, 2)).length];
  await schedules.delete(nightly.id);
  const secret = "a-secret-of-16-characters";
  const webhook = await webhooks.create({ url: "https://example.com/", events: ["ava.job.failed"], secret });
  const stopped = await webhooks.pause(webhook.id, { reason: "moving" });
  const pausedNow: string[] = [];
  for await (const each of webhooks.list({ paused: true })) pausedNow.push(each.id);
  found["webhook"] = [stopped.paused?.reason, pausedNow.includes(webhook.id), (await webhooks.resume(webhook.id)).paused];
  await webhooks.delete(webhook.id);
  const paid = await subscriptions.create({ eventType: `paid.${name}`, workerId: "wkr_resize" });
  const sent = await events.send({ type: `paid.${name}`, data: { user_width: 4 } });
  found["event"] = ((await events.get(sent.id)).data as { user_width: number }).user_width;
  await subscriptions.delete(paid.id);

  const listed: string[] = [];
  for await (const each of jobs.list({ perPage: 2, tags: { runtime: name } })) listed.push(each.id);
  found["listed"] = [listed.length, new Set(listed).size, listed.at(-1) === job.id];
  try {
    await jobs.get("job_00000000000000000000000000");
  } catch (error) {
    found["refused"] = error instanceof ApiError && error.code;
  }
  try {
    await new Client({ url: "http://127.0.0.1:1", apiKey: key, retries: 0 }).jobs.trigger("wkr_resize");
  } catch (error) {
    found["unreachable"] = error instanceof ApiError && [error.status, error.code];
  }

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
