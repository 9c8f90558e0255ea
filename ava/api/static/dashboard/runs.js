// The runs of one job: how long it waited and ran, and one row per run.

import { h, put } from "./dom.js";
import { full, ran, span } from "./format.js";
import { card, pill } from "./parts.js";

export function runsCard() {
  const totals = h("dl", {});
  const rows = h("ol", { class: "plain runs" });
  return {
    element: card("Runs", {}, totals, rows),
    update(job, runs) {
      put(totals, [["Waited to start", span(job.usage?.wait_ms)], ["Ran", ran(job)]].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
      put(rows, runs.map((run, place) => h("li", { "data-run": place + 1 },
        h("span", { class: "muted" }, `Run ${place + 1}`), pill(run.outcome ?? "running").element,
        run.duration_ms === null ? null : h("span", {}, span(run.duration_ms)), usageOf(run), h("time", {}, full(run.started_at)))));
    },
  };
}

/** What a run, or all of a job, has used, as far as it is known. */
export function usageOf({ cpu_ms: cpu, peak_memory_mb: peak, wait_ms: waited }) {
  const parts = [cpu === null ? null : `${span(cpu)} of processor time`, peak === null ? null : `peak ${peak} MiB`, waited === null ? null : `waited ${span(waited)}`];
  return h("small", { class: "usage" }, parts.filter(Boolean).join(", "));
}
