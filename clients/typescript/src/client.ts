import { Calls, type ClientOptions } from "./calls.js";
import { Containments } from "./containments.js";
import { Jobs } from "./jobs.js";
import {
  ApprovalsCalls, AuditCalls, ErrorsCalls, HooksCalls, KeysCalls, LimitsCalls, NodesCalls,
  NoticesCalls, PromotionsCalls, ReportsCalls, SubscriptionsCalls, TenantsCalls, WebhooksCalls,
} from "./methods.js";
import { Operations } from "./operations.js";
import { Events, Queues, Schedules, Sessions, Workers } from "./resources.js";

/**
 * Calls the API with one API key: one resource for each kind of records. Each method throws `ApiError`, or the
 * reason of its `signal` once that is aborted. Lists are async iterators, which fetch their pages themselves.
 */
export class Client {
  readonly jobs: Jobs;
  readonly operations: Operations;
  readonly containments: Containments;
  readonly workers: Workers;
  readonly schedules: Schedules;
  readonly events: Events;
  readonly subscriptions: SubscriptionsCalls;
  readonly hooks: HooksCalls;
  readonly webhooks: WebhooksCalls;
  readonly notices: NoticesCalls;
  readonly queues: Queues;
  readonly nodes: NodesCalls;
  readonly approvals: ApprovalsCalls;
  readonly errors: ErrorsCalls;
  readonly keys: KeysCalls;
  readonly tenants: TenantsCalls;
  readonly limits: LimitsCalls;
  readonly reports: ReportsCalls;
  readonly audit: AuditCalls;
  readonly promotions: PromotionsCalls;
  readonly sessions: Sessions;

  constructor(options: ClientOptions) {
    const calls = new Calls(options);
    this.jobs = new Jobs(calls);
    this.operations = new Operations(calls);
    this.containments = new Containments(calls);
    this.workers = new Workers(calls);
    this.schedules = new Schedules(calls);
    this.events = new Events(calls);
    this.subscriptions = new SubscriptionsCalls(calls);
    this.hooks = new HooksCalls(calls);
    this.webhooks = new WebhooksCalls(calls);
    this.notices = new NoticesCalls(calls);
    this.queues = new Queues(calls);
    this.nodes = new NodesCalls(calls);
    this.approvals = new ApprovalsCalls(calls);
    this.errors = new ErrorsCalls(calls);
    this.keys = new KeysCalls(calls);
    this.tenants = new TenantsCalls(calls);
    this.limits = new LimitsCalls(calls);
    this.reports = new ReportsCalls(calls);
    this.audit = new AuditCalls(calls);
    this.promotions = new PromotionsCalls(calls);
    this.sessions = new Sessions(calls);
  }
}
