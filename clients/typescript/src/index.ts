export type { CallOptions, ClientOptions, CreateOptions, WaitOptions } from "./calls.js";
export { Child } from "./children.js";
export { Client } from "./client.js";
export type { Containment, NewContainment, Proofs, Rehearsal, SigningKeys } from "./containments.js";
export type { Delivery } from "./deliveries.js";
export type {
  ApprovalOptions, Branch, ChildOptions, ChildWaitOptions, Decision, Durable, Env, EventWaitOptions, Handler, MapOptions, StepOptions,
} from "./env.js";
export {
  ApiError, CallNotAwaited, ChildFailed, ChildRefused, DuplicateName, GiveUp, RetryLater, RunStopped, StepError,
  StepInterrupted, Suspended, SuspensionSwallowed, TooManyWaiting, WaitInTask, WaitTimeout, WebhookUnverified,
} from "./errors.js";
export type { Event, Hook, SentEvent, Subscription } from "./events.js";
export type { Approval, ErrorGroup, Node, Queue, TenantLimits, Worker } from "./fleet.js";
export type {
  BulkEntry, BulkOptions, Job, JobEvent, JobLine, JobQuery, JobRun, JobWait, JournalEntry, LogChoice, Tree,
  TriggerOptions,
} from "./jobs.js";
export type { CancelFilter, Operation, RetryFilter } from "./operations.js";
export type { PauseOptions } from "./resource.js";
export type { Schedule } from "./schedules.js";
export { verifyWebhook, type WebhookEvent } from "./verification.js";
export type { Notice } from "./notices.js";
export type { Webhook } from "./webhooks.js";
export type { Query, Received, Sent } from "./wire.js";
export { PullWorker, type RunOptions } from "./worker.js";
