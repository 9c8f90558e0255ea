// Limits: the queues and their pauses, the tenant's settings, the use of workers' limits, and every limit of the installation.

import { get, list, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { bytes, number, span } from "../format.js";
import { button, empty, heading, repeat, titles } from "../parts.js";
import { pauseParts } from "../pauses.js";
import { askForLimits, pathOf, tenantFacts } from "../tenant_limits.js";

/** Pages of the workers with limits that are shown. */
const WORKER_PAGES = 5;

export function open(main, { signal }) {
  const { isOperator, tenant } = session.get();
  const ofTenant = tenantFacts();
  const queues = h("ul", { class: "plain" });
  const shownQueues = new Keyed(queues, (queue) => queue.queue, (queue) => queueLine(queue, isOperator, () => turn()));
  const noQueues = empty("No worker uses a queue yet.");
  const [workers, shownWorkers] = table("Limits of workers", ["Worker", "Running", "At most", "Per", "Rate", "Waiting"], "limits", (limit) => limit.worker_id, workerRow);
  const noWorkers = empty("No worker has a limit. ", h("code", {}, "@worker(max_running=5)"), " declares one.");
  const [limits, shownLimits] = table("Limits of this installation", ["Limit", "Value", "Used", "Setting"], "installation", (limit) => limit.name, limitRow);
  for (const none of [noQueues, noWorkers]) none.hidden = true;
  put(main, heading("Limits"),
    h("section", {}, h("h2", { class: "section" }, "Queues"), h("p", { class: "muted" }, "Jobs of your tenant."), queues, noQueues),
    h("section", {}, h("div", { class: "row between" }, h("h2", { class: "section" }, "Tenant"), isOperator ? button("Change …", () => askForLimits(tenant, () => turn())) : null), ofTenant.element),
    h("section", {}, h("h2", { class: "section" }, "Workers"), h("p", { class: "muted" }, "Running and waiting jobs of your tenant."), workers, noWorkers),
    h("section", {}, h("h2", { class: "section" }, "Installation"), limits));

  const turn = repeat(signal, 4, async () => {
    const [found, own, ofWorkers, all] = await Promise.all([
      get("/v1/ava/queues", { signal }), get(pathOf(tenant), { signal }), list("/v1/ava/limits/workers", { pages: WORKER_PAGES, signal }), list("/v1/ava/limits", { signal }),
    ]);
    ofTenant.update(own.data);
    shownQueues.show(found.data.queues);
    shownWorkers.show(ofWorkers.entries);
    shownLimits.show(all.entries);
    noQueues.hidden = found.data.queues.length > 0;
    noWorkers.hidden = ofWorkers.entries.length > 0;
  });
}

function table(label, names, kind, keyOf, row) {
  const body = h("div", { role: "rowgroup", class: "rows" });
  return [h("div", { class: `table ${kind}`, role: "table", "aria-label": label }, titles(names), body), new Keyed(body, keyOf, row)];
}

function queueLine({ queue }, isOperator, changed) {
  const pause = pauseParts(`/v1/ava/queues/${encodeURIComponent(queue)}`, {
    name: queue, changed, text: "All tenants' jobs in this queue are accepted but wait. Running jobs continue.",
  });
  const jobs = h("span", { class: "muted" });
  const element = h("li", { class: "row between", "data-queue": queue },
    h("div", {}, h("strong", { class: "mono" }, queue), " ", jobs, pause.line), isOperator ? pause.button : null);
  return {
    element,
    update(next) {
      pause.update(next.paused);
      const oldest = next.oldest_seconds === null ? "" : `, the oldest startable one for ${span(next.oldest_seconds * 1000)}`;
      say(jobs, `${number(next.queued)} queued, ${number(next.running)} running, ${number(next.waiting)} waiting${oldest}`);
    },
  };
}

function cells(first, names) {
  const parts = names.map(([label]) => h("span", { role: "cell", "data-label": label }));
  return {
    element: h("div", { role: "row" }, h("span", { role: "cell", class: "first" }, first), parts),
    update: (next) => names.forEach(([, text], place) => say(parts[place], text(next))),
  };
}

const counted = (value, isExact = true) => (value === null ? "–" : `${isExact ? "" : "more than "}${number(value)}`);

const workerRow = (limit) => cells(h("a", { href: `#/workers/${limit.worker_id}` }, limit.worker_id), [
  ["Running", (next) => number(next.running)],
  ["At most", (next) => (next.max_running === null ? "–" : number(next.max_running))],
  ["Per", (next) => next.max_running_per ?? next.rate_per ?? "all tenants"],
  ["Rate", (next) => next.rate ?? "–"],
  ["Waiting", (next) => counted(next.waiting, next.waiting_is_exact)],
]);

const limitRow = (limit) => cells([h("span", { class: "mono" }, limit.name), h("small", {}, limit.meaning)], [
  ["Value", (next) => (next.value === null ? "none" : next.unit === "bytes" ? bytes(next.value) : `${number(next.value)} ${next.unit}`)],
  ["Used", (next) => (next.unit === "bytes" && next.used !== null ? bytes(next.used) : counted(next.used, next.used_is_exact !== false))],
  ["Setting", (next) => next.setting ?? "fixed"],
]);
