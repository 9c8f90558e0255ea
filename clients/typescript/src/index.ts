export { Ava, type Job, type JobChange, type JobInList, type JobQuery, type JobUpdate, type Tree, type TriggerOptions } from "./client.js";
export type { CallOptions } from "./calls.js";
export { AvaError, GiveUp, RetryLater, RunStopped, WebhookUnverified } from "./errors.js";
export type { components, paths } from "./openapi.js";
export { verifyWebhook, type WebhookEvent } from "./webhooks.js";
export type { Env, Handler, RunOptions } from "./worker.js";
