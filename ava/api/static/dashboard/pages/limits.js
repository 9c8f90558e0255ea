// Limits: paused queues, the tenant's settings, the use of workers' limits, and every limit of the installation.

import { get, list, post, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { bytes, number } from "../format.js";
import { ask, button, empty, field, heading, repeat, titles, when } from "../parts.js";
import { askForLimits, pathOf, tenantFacts } from "../tenant_limits.js";

/** Pages of the workers with limits that are shown. */
const WORKER_PAGES = 5;

export function open(main, { signal }) {
  const { isOperator, tenant } = session.get();
  const ofTenant = tenantFacts();
  const queues = h("ul", { class: "plain paused" });
  const shownQueues = new Keyed(queues, (paused) => paused.queue, (paused) => pausedLine(paused, isOperator, () => turn()));
  const noQueues = empty("No queue is paused.");
  const [workers, shownWorkers] = table("Limits of workers", ["Worker", "Running", "At most", "Per", "Rate", "Waiting"], "limits", (limit) => limit.worker_id, workerRow);
  const noWorkers = empty("No worker has a limit. ", h("code", {}, "@worker(max_running=5)"), " declares one.");
  const [limits, shownLimits] = table("Limits of this installation", ["Limit", "Value", "Used", "Setting"], "installation", (limit) => limit.name, limitRow);
  for (const none of [noQueues, noWorkers]) none.hidden = true;
  put(main, heading("Limits", isOperator ? button("Pause a queue …", () => askToPause(() => turn())) : null),
    h("section", {}, h("h2", { class: "section" }, "Paused queues"), queues, noQueues),
    h("section", {}, h("div", { class: "row between" }, h("h2", { class: "section" }, "Tenant"), isOperator ? button("Change …", () => askForLimits(tenant, () => turn())) : null), ofTenant.element),
    h("section", {}, h("h2", { class: "section" }, "Workers"), h("p", { class: "muted" }, "Running and waiting jobs of your tenant."), workers, noWorkers),
    h("section", {}, h("h2", { class: "section" }, "Installation"), limits));

  const turn = repeat(signal, 4, async () => {
    const [found, own, ofWorkers, all] = await Promise.all([
      get("/v1/ava/queues", { signal }), get(pathOf(tenant), { signal }), list("/v1/ava/limits/workers", { pages: WORKER_PAGES, signal }), list("/v1/ava/limits", { signal }),
    ]);
    ofTenant.update(own.data);
    shownQueues.show(found.data.paused_queues);
    shownWorkers.show(ofWorkers.entries);
    shownLimits.show(all.entries);
    noQueues.hidden = found.data.paused_queues.length > 0;
    noWorkers.hidden = ofWorkers.entries.length > 0;
  });
}

function table(label, names, kind, keyOf, row) {
  const body = h("div", { role: "rowgroup", class: "rows" });
  return [h("div", { class: `table ${kind}`, role: "table", "aria-label": label }, titles(names), body), new Keyed(body, keyOf, row)];
}

const act = (queue, what) => post(`/v1/ava/queues/${encodeURIComponent(queue)}/${what}`);

function askToPause(refresh) {
  ask({
    title: "Pause a queue", action: "Pause queue", text: "All tenants' jobs in this queue are accepted but wait. Running jobs continue.",
    fields: [field("Queue", h("input", { name: "queue", required: true, value: "default", autocomplete: "off", spellcheck: "false" }))],
    submit: async ({ queue }) => {
      await act(queue, "pause");
      refresh();
    },
  });
}

function pausedLine(paused, isOperator, refresh) {
  const since = when(paused.paused_at);
  const resume = isOperator ? button("Resume", async () => {
    await act(paused.queue, "resume");
    refresh();
  }, { "aria-label": `Resume ${paused.queue}` }) : null;
  const element = h("li", { class: "row between", "data-queue": paused.queue },
    h("span", {}, h("strong", { class: "mono" }, paused.queue), " by ", h("span", { class: "mono" }, paused.paused_by ?? "the platform"), " ", since.element), resume);
  return { element, update: (next) => since.update(next.paused_at) };
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
