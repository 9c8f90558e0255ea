// A client of an application that is written in TypeScript, with the types that are generated from /openapi.json.
import createClient from "openapi-fetch";
import type { components, paths } from "./ava.js";

declare const process: { env: Record<string, string | undefined> };

type Job = components["schemas"]["JobRecord"];

const ava = createClient<paths>({
  baseUrl: process.env["AVA_URL"] ?? "",
  headers: { Authorization: `Bearer ${process.env["AVA_API_KEY"]}` },
});

/** Returns the data of an answer, or throws the error that the API gave. */
function dataOf<T>(answer: { data?: { data: T }; error?: components["schemas"]["Error"] }): T {
  if (answer.data === undefined) throw new Error(answer.error?.error.message ?? "no answer");
  return answer.data.data;
}

const input = { incident_id: "inc_01hxyz", retries: 3, channels: ["#security-ops"], nested: { deep: null } };

const triggered: Job = dataOf(
  await ava.POST("/v1/ava/jobs", {
    params: { header: { "Idempotency-Key": "flow-1" } },
    body: { worker_id: "wkr_flow", input, tags: { incident: "inc_01hxyz" } },
  }),
);
const incident: unknown = triggered.input?.["incident_id"];

const jobs = await ava.GET("/v1/ava/jobs", {
  params: { query: { "filter[worker_id]": "wkr_flow", per_page: 10 } },
});
const listed = dataOf(jobs).map((job) => job.id);
const next: string | null | undefined = jobs.data?.pagination.next_cursor;

const one = { params: { path: { job_id: triggered.id } } };
const shown = dataOf(await ava.GET("/v1/ava/jobs/{job_id}", one));
const fraction: unknown = shown.progress?.["fraction"];
const cancelled = dataOf(await ava.POST("/v1/ava/jobs/{job_id}/cancel", one));
const lines = dataOf(await ava.GET("/v1/ava/jobs/{job_id}/logs", one)).logs.map((line) => line.msg);
const again = dataOf(await ava.POST("/v1/ava/jobs/{job_id}/retry", { ...one, body: { input: { again: true } } }));

const schedule = dataOf(
  await ava.POST("/v1/ava/schedules", {
    body: { worker_id: "wkr_flow", cron: "30 2 * * *", timezone: "Europe/Berlin", input },
  }),
);
const changed = dataOf(
  await ava.PATCH("/v1/ava/schedules/{schedule_id}", {
    params: { path: { schedule_id: schedule.id } },
    body: { enabled: false },
  }),
);

const webhook = dataOf(
  await ava.POST("/v1/webhooks", {
    body: {
      url: "https://example.com/hooks",
      events: ["ava.job.completed", "ava.job.failed"],
      secret: "a-secret-of-16-characters",
    },
  }),
);

const waited = dataOf(await ava.GET("/v1/ava/jobs/{job_id}", { params: { ...one.params, query: { wait: 30 } } }));
// A status that a newer server adds is no error of a type.
const newer = createClient<paths>({ baseUrl: process.env["NEWER_URL"] ?? "" });
const unknown = dataOf(await newer.GET("/v1/ava/jobs/{job_id}", one));
const isKnown: boolean = unknown.status !== "hibernating";

const refused = await ava.POST("/v1/ava/jobs", { body: { worker_id: "wkr_unknown", input: {} } });

console.log(
  JSON.stringify({
    triggered: [triggered.status, triggered.triggered_by.slice(0, 4), incident],
    listed: listed.includes(triggered.id) && next === null,
    shown: [shown.id === triggered.id, fraction ?? null],
    cancelled: cancelled.status,
    lines,
    again: [again.retry_of === triggered.id, again.input],
    schedule: [schedule.input, changed.enabled],
    webhook: webhook.events,
    waited: waited.status,
    newer: [unknown.status, isKnown],
    refused: refused.error?.error.code,
  }),
);
