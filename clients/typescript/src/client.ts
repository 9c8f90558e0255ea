import { Calls, type ClientOptions } from "./calls.js";
import { Containments } from "./containments.js";
import { Events, Hooks, Subscriptions } from "./events.js";
import {
  Approvals, Audit, Errors, Keys, Limits, Nodes, Promotions, Queues, Reports, Sessions, Tenants, Workers,
} from "./fleet.js";
import { Jobs } from "./jobs.js";
import { Notices } from "./notices.js";
import { Operations } from "./operations.js";
import { Schedules } from "./schedules.js";
import { Webhooks } from "./webhooks.js";

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
  readonly subscriptions: Subscriptions;
  readonly hooks: Hooks;
  readonly webhooks: Webhooks;
  readonly notices: Notices;
  readonly queues: Queues;
  readonly nodes: Nodes;
  readonly approvals: Approvals;
  readonly errors: Errors;
  readonly keys: Keys;
  readonly tenants: Tenants;
  readonly limits: Limits;
  readonly reports: Reports;
  readonly audit: Audit;
  readonly promotions: Promotions;
  readonly sessions: Sessions;

  constructor(options: ClientOptions) {
    const calls = new Calls(options);
    this.jobs = new Jobs(calls);
    this.operations = new Operations(calls);
    this.containments = new Containments(calls);
    this.workers = new Workers(calls);
    this.schedules = new Schedules(calls);
    this.events = new Events(calls);
    this.subscriptions = new Subscriptions(calls);
    this.hooks = new Hooks(calls);
    this.webhooks = new Webhooks(calls);
    this.notices = new Notices(calls);
    this.queues = new Queues(calls);
    this.nodes = new Nodes(calls);
    this.approvals = new Approvals(calls);
    this.errors = new Errors(calls);
    this.keys = new Keys(calls);
    this.tenants = new Tenants(calls);
    this.limits = new Limits(calls);
    this.reports = new Reports(calls);
    this.audit = new Audit(calls);
    this.promotions = new Promotions(calls);
    this.sessions = new Sessions(calls);
  }
}
