// Workers: the definitions that can be run, and the nodes that run them.

import { get, list, post, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { bytes, number, short, span } from "../format.js";
import { ask, busyProcesses, button, card, empty, field, heading, notify, pill, places, repeat, titles, when, whose } from "../parts.js";
import { pauseParts } from "../pauses.js";
import { runButton } from "../trigger.js";
import { someWorkers } from "../worker_list.js";

/** Days for which a promotion is news. */
const PROMOTION_DAYS = 7;
/** The queued and the running jobs of one worker are counted up to here. */
const MAX_COUNTED = 10_000;

export function open(main, { signal }) {
  const nodes = h("div", { class: "nodes" });
  const none = empty("No nodes yet. Start one with ", h("code", {}, "ava start node"), ".");
  const shownNodes = new Keyed(nodes, (node) => node.id, (node) => nodeCard(node, () => turn()));
  const body = h("div", { role: "rowgroup", class: "rows" });
  const shownWorkers = new Keyed(body, (worker) => worker.id, workerRow);
  const noWorkers = empty("No workers yet. A node registers its handlers as workers when it starts.");
  const promotions = h("p", { class: "why", hidden: true });
  // Pages of the list of workers that are shown.
  let pages = 1;
  const first = h("span", {});
  const rest = h("nav", { class: "row between pager", "aria-label": "More workers", hidden: true }, first, button("Show more", () => {
    pages += 1;
    turn();
  }));
  none.hidden = true;
  noWorkers.hidden = true;
  const create = session.mayWrite ? button("New worker", () => openForm(() => turn())) : null;
  put(main, heading("Workers", h("a", { href: "#/limits" }, "Limits and queues"), create),
    promotions, h("h2", { class: "section" }, "Nodes"), nodes, none,
    h("h2", { class: "section" }, "Definitions"),
    h("div", { class: "table workers", role: "table", "aria-label": "Worker definitions" },
      titles(["Worker", "State", "Queue", "Queued", "Running", "Timeout", "Retries", ""]), body), noWorkers, rest);

  const turn = repeat(signal, 2, async () => {
    const [workers, found, queues] = await Promise.all([
      someWorkers(pages, { signal }), list("/v1/ava/nodes", { signal }), get("/v1/ava/queues", { signal }),
    ]);
    const counts = new Map(queues.data.by_worker.map((count) => [count.worker_id, count]));
    shownWorkers.show(workers.workers.map((worker) => ({ ...worker, ...counts.get(worker.id), id: worker.id })));
    shownNodes.show(found.entries);
    none.hidden = found.entries.length > 0;
    noWorkers.hidden = workers.workers.length > 0;
    rest.hidden = !workers.hasMore;
    say(first, `These are the first ${number(workers.workers.length)}.`);
  });
  if (session.get().isOperator) {
    repeat(signal, 10, async () => showPromotion(promotions, (await get("/v1/ava/promotions", { signal })).data[0]));
  }
}

/** Says when a standby of PostgreSQL was promoted last, if that is news. */
function showPromotion(element, latest) {
  element.hidden = !latest || Date.now() - Date.parse(latest.seen_at) > PROMOTION_DAYS * 86_400_000;
  if (element.hidden || element.dataset.timeline === String(latest.timeline)) return;
  element.dataset.timeline = latest.timeline;
  element.classList.toggle("error", latest.lossy);
  put(element, "A standby of PostgreSQL was promoted ", when(latest.seen_at).element, latest.lossy
    ? " without the last commits: the latest jobs, outcomes and firings are lost. "
    : ", and no loss was seen. ", `${number(latest.running)} runs were checked again.`);
}

/** A worker of the tenant's own, whose runs are claimed over HTTP. */
function openForm(refresh) {
  ask({
    title: "New worker", action: "Create",
    text: "A pull worker: any program with an API key of role worker claims its runs over HTTP. Python handlers need no form, because their nodes register them.",
    fields: [
      field("Slug", h("input", { name: "slug", required: true, pattern: "[a-z][a-z0-9_]{0,58}", autocomplete: "off" }), "The id becomes wkr_ followed by the slug."),
      field("Name", h("input", { name: "name", maxlength: "200", autocomplete: "off" }), "Empty: same as the slug."),
      field("Timeout in seconds", h("input", { name: "timeout", type: "number", min: "1", max: "3600", value: "300", required: true })),
      field("Retries", h("input", { name: "retries", type: "number", min: "0", max: "25", value: "0", required: true })),
    ],
    async submit({ slug, name, timeout, retries }) {
      await post("/v1/ava/workers", { slug, runtime: "pull", name: name || null, timeout_seconds: Number(timeout), retry: { max: Number(retries) } });
      notify(`Created wkr_${slug}. Now create an API key of role worker for it.`);
      refresh();
    },
  });
}

/** A number of jobs; at the bound up to which the API counts them, it is a lower bound. */
const counted = (count) => `${number(count)}${count >= MAX_COUNTED ? " or more" : ""}`;

/** What a worker does at the moment, in a word. */
export const stateOf = (worker) => (worker.status !== "active" ? worker.status : worker.live ? "live" : worker.runtime === "pull" ? "no claim" : "no node");

function workerRow(worker) {
  const state = pill();
  const queued = h("span", { role: "cell", "data-label": "Queued" });
  const running = h("span", { role: "cell", "data-label": "Running" });
  const element = h("div", { role: "row", "data-worker": worker.id },
    h("span", { role: "cell", class: "first" }, h("a", { href: `#/workers/${worker.id}` }, worker.name), h("small", { class: "mono" }, worker.id), worker.description ? h("small", {}, worker.description) : null),
    h("span", { role: "cell", "data-label": "State" }, state.element),
    h("span", { role: "cell", "data-label": "Queue" }, worker.queue), queued, running,
    h("span", { role: "cell", "data-label": "Timeout" }, span(worker.timeout_seconds * 1000)),
    h("span", { role: "cell", "data-label": "Retries" }, String(worker.max_retries)),
    h("span", { role: "cell" }, worker.status !== "deprecated" ? runButton(worker.id) : null));
  return {
    element,
    update(next) {
      state.update(stateOf(next));
      say(queued, counted(next.queued ?? 0));
      say(running, counted(next.running ?? 0));
    },
  };
}

const pathOf = (node) => `/v1/ava/nodes/${encodeURIComponent(node.id)}`;

const refusal = (reasons) => `This node refuses messages of the broker (${reasons.join(", ")}): ${
  reasons.includes("unsigned") ? "the node's AVA_MESSAGE_KEY lacks the signing key, so their jobs wait." : "another program writes them."}`;

function nodeCard(node, refresh) {
  const state = pill();
  const heartbeat = when(node.seen_at);
  const slots = h("div", { class: "slots", role: "img" });
  const memory = h("dd", {});
  const busy = h("dd", {});
  const queues = h("dd", {});
  const refused = h("dd", {});
  const refusedRow = h("div", { hidden: true }, h("dt", {}, "Refused by the broker"), refused);
  const problem = h("p", { class: "bad", role: "status", hidden: true });
  const list = h("ul", { class: "plain running" });
  const pause = pauseParts(pathOf(node), {
    name: node.name, changed: refresh, text: "It finishes its running jobs and takes no new ones from any tenant until it is resumed or restarted.",
  });
  const jobs = new Keyed(list, (job) => job.id, runningLine);
  const element = h("section", { class: "card node", "aria-label": `Node ${node.name}` },
    h("header", {}, h("h3", {}, node.host ?? "Node"), h("div", { class: "row" }, state.element, session.get().isOperator ? pause.button : null)),
    pause.line,
    h("p", { class: "mono muted" }, node.name),
    problem,
    slots,
    h("dl", {}, [["Busy", busy], ["Memory", memory], ["Last heartbeat", h("dd", {}, heartbeat.element)], ["Started", h("dd", {}, when(node.started_at).element)],
      ["Version", h("dd", {}, node.version)], ["Queues", queues]].map(([name, value]) => h("div", {}, h("dt", {}, name), value)), refusedRow),
    list);
  return {
    element,
    update(next) {
      const isLive = next.state === "live";
      state.update(isLive && next.paused ? "paused" : next.state);
      pause.update(next.paused);
      pause.button.hidden = !isLive;
      heartbeat.update(next.seen_at);
      say(busy, `${busyProcesses(next)} of ${next.processes} ${places(next)}${whose()}`);
      say(queues, next.queues.join(", ") || "–");
      say(refused, next.refused_queues.join(", "));
      refusedRow.hidden = next.refused_queues.length === 0;
      say(problem, refusal(next.refused_messages));
      problem.hidden = !isLive || next.refused_messages.length === 0;
      say(memory, bytes(next.memory_bytes));
      if (slots.dataset.busy !== `${next.busy}/${next.processes}`) {
        slots.dataset.busy = `${next.busy}/${next.processes}`;
        slots.setAttribute("aria-label", `${busyProcesses(next)} of ${next.processes} ${places(next)} are busy${whose()}`);
        put(slots, Array.from({ length: Math.min(next.processes, 64) }, (_, place) => h("i", { class: place < next.busy ? "busy" : "" })));
      }
      jobs.show(next.state === "stopped" ? [] : next.jobs);
    },
  };
}

function runningLine(job) {
  const progress = h("span", { class: "muted" });
  const element = h("li", {}, h("a", { href: `#/jobs/${job.id}`, class: "mono", title: job.id }, short(job.id)), " ", job.worker_id, " ", when(job.started_at).element, " ", progress);
  return { element, update: (next) => say(progress, next.progress ? `${Math.round(next.progress.fraction * 100)} %` : "") };
}
