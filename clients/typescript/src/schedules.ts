import type { CallOptions, CreateOptions } from "./calls.js";
import type { Job } from "./jobs.js";
import type { components } from "./openapi.js";
import { PausableResource } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Schedule = Received<Schemas["ScheduleRecord"]>;

const SCHEDULES = "/v1/ava/schedules";
const SCHEDULE = `${SCHEDULES}/{schedule_id}` as const;

/** Creates, changes and pauses schedules. Firings of a paused schedule are skipped, and not caught up. */
export class Schedules extends PausableResource<Schedule> {
  /** @internal */
  protected readonly path = SCHEDULE;

  /** Creates a schedule: `cron` has five fields, `timezone` is an IANA name such as `Europe/Berlin`. */
  async create(fields: Sent<Schemas["ScheduleBody"]>, options: CreateOptions = {}): Promise<Schedule> {
    return this.calls.data("post", SCHEDULES, [], { ...options, body: fields });
  }

  /** Yields the matching schedules, newest first. */
  list(query: Query<typeof SCHEDULES> = {}, options: CallOptions = {}): AsyncGenerator<Schedule> {
    return this.calls.list(SCHEDULES, [], { perPage: 100, ...query }, options);
  }

  async get(id: string, options: CallOptions = {}): Promise<Schedule> {
    return this.calls.data("get", SCHEDULE, [id], options);
  }

  async update(id: string, changes: Sent<Schemas["ScheduleChangeBody"]>, options: CallOptions = {}): Promise<Schedule> {
    return this.calls.data("patch", SCHEDULE, [id], { ...options, body: changes });
  }

  /** Deletes a schedule; its jobs continue. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.calls.data("delete", SCHEDULE, [id], options);
  }

  /** Triggers a job now, with a schedule's worker, input and priority. */
  async run(id: string, options: CreateOptions = {}): Promise<Job> {
    return this.calls.data("post", `${SCHEDULE}/run`, [id], options);
  }

  /** Returns the next 1 to 50 firings of a schedule. */
  async next(id: string, count = 10, options: CallOptions = {}): Promise<Received<Schemas["SlotRecord"]>[]> {
    return this.calls.data("get", `${SCHEDULE}/next`, [id], { ...options, query: { count } });
  }

  /** Returns the pattern in words and its next 1 to 50 firings; saves nothing. */
  async preview(
    fields: Sent<Schemas["PreviewBody"]>,
    options: CallOptions = {},
  ): Promise<Received<Schemas["PreviewRecord"]>> {
    return this.calls.data("post", `${SCHEDULES}/preview`, [], { ...options, body: fields });
  }

  /** Yields a schedule's firings, newest first. */
  firings(id: string, options: CallOptions = {}): AsyncGenerator<Received<Schemas["FiringRecord"]>> {
    return this.calls.list(`${SCHEDULE}/firings`, [id], { perPage: 100 }, options);
  }
}
