// The known resource usage of a run, or of all runs of a job.

import { span } from "../format.js";
import { html } from "../ui/index.js";

export function usageOf({ cpu_ms: cpu, peak_memory_mb: peak, wait_ms: waited }) {
  const parts = [
    cpu === null ? null : `${span(cpu)} of processor time`,
    peak === null ? null : `peak ${peak} MiB`,
    waited === null ? null : `waited ${span(waited)}`,
  ];
  return html`<small class="usage">${parts.filter(Boolean).join(", ")}</small>`;
}
