export type { CallOptions, ClientOptions, CreateOptions, WaitOptions } from "./calls.js";
export { Child } from "./children.js";
export { Client } from "./client.js";
export type { NewContainment, SigningKeys } from "./containments.js";
export type {
  ApprovalOptions, Branch, ChildOptions, ChildWaitOptions, Decision, Durable, Env, EventWaitOptions, Handler, MapOptions, StepOptions,
} from "./env.js";
export {
  ApiError, CallNotAwaited, ChildFailed, ChildRefused, DuplicateName, GiveUp, RetryLater, RunStopped, StepError,
  StepInterrupted, Suspended, SuspensionSwallowed, TooManyWaiting, WaitInTask, WaitTimeout, WebhookUnverified,
} from "./errors.js";
export type {
  BulkEntry, BulkOptions, Job, JobEvent, JobLine, JobQuery, LogChoice, TriggerOptions,
} from "./jobs.js";
export type {
  Approval, Containment, Delivery, ErrorGroup, Event, Hook, JobRun, JobWait, JournalEntry, Node, Notice, Operation, Proofs, Queue,
  Rehearsal, Schedule, SentEvent, Subscription, TenantLimits, Tree, Webhook, Worker,
} from "./methods.js";
export type { CancelFilter, RetryFilter } from "./operations.js";
export type { PauseOptions } from "./resource.js";
export { verifyWebhook, type WebhookEvent } from "./verification.js";
export type { Query, Received, Sent } from "./wire.js";
export { PullWorker, type RunOptions } from "./worker.js";
