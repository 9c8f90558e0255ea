// One worker: how its jobs ended, its settings, the nodes that run it, the schema of its input, its newest jobs.

import { get, list, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { number, ran, short, span } from "../format.js";
import { busyProcesses, card, empty, json, pill, places, RecordReads, repeat, tile, when, whose } from "../parts.js";
import { runButton } from "../trigger.js";
import { pathOf, pauseOf, settingsCards, statusButtons } from "../worker_settings.js";
import { stateOf } from "./workers.js";

const DAYS = "30";
const JOBS = "10";
const JOB_FIELDS = "id,status,created_at,started_at,completed_at,duration_ms,error";

export async function open(main, { signal, rest: [id] }) {
  let worker;
  try {
    worker = (await get(pathOf(id), { signal })).data;
  } catch (error) {
    if (error.status !== 404) throw error;
    put(main, h("h1", {}, "No such worker"), h("p", {}, error.message));
    return;
  }
  document.title = `${worker.name} · Workers · AVA Jobs`;
  const view = workerView(worker);
  put(main, view.element);
  const only = { "filter[worker_id]": id };
  const reads = new RecordReads(signal, (whileShown) => repeat(whileShown, 3, async () => {
    const options = { signal: whileShown };
    const [found, jobs, nodes] = await Promise.all([
      get(pathOf(id), options), get("/v1/ava/jobs", { query: { ...only, per_page: JOBS, fields: JOB_FIELDS }, ...options }), list("/v1/ava/nodes", options),
    ]);
    view.update(found.data, reads);
    view.showJobs(jobs.data);
    view.showNodes(nodes.entries.filter((node) => node.state !== "stopped" && node.workers.includes(id)));
  }));
  view.update(worker, reads);
  repeat(signal, 10, async () => view.showRate((await get("/v1/ava/analytics", { query: { ...only, days: DAYS, percentiles: "true" }, signal })).data));
}

function workerView(first) {
  const state = pill();
  const actions = h("div", { class: "row" });
  const paused = h("div", {});
  const tiles = ["Success rate", "Ended", "Average run time", "Time to start"].map(tile);
  const settings = settingsCards();
  const schema = h("div", {});
  const jobs = h("ul", { class: "plain" });
  const noJobs = empty("No jobs yet.");
  const nodes = h("ul", { class: "plain" });
  const noNodes = empty("No live node has the handler, so the jobs wait. Start a node with it.");
  const shownJobs = new Keyed(jobs, (job) => job.id, jobLine);
  const shownNodes = new Keyed(nodes, (node) => node.id, nodeLine);
  const query = new URLSearchParams({ "filter[worker_id]": first.id });
  let shown = "";
  noJobs.hidden = noNodes.hidden = true;
  return {
    element: h("div", {},
      h("div", { class: "heading" },
        h("div", {}, h("p", { class: "crumbs" }, h("a", { href: "#/workers" }, "Workers"), " / ", h("span", { class: "mono" }, first.id)),
          h("h1", {}, first.name, " ", state.element)),
        actions),
      first.description ? h("p", { class: "why" }, first.description) : null,
      paused,
      h("div", { class: "tiles" }, tiles.map((part) => part.element)),
      h("div", { class: "columns wide" }, settings.elements),
      h("div", { class: "columns wide" },
        card("Newest jobs", { actions: h("a", { href: `#/jobs?${query}` }, "All jobs") }, jobs, noJobs),
        card("Nodes", {}, nodes, noNodes)),
      card("Input schema", { wide: true }, schema)),
    update(worker, reads) {
      const refresh = () => reads.now();
      const key = JSON.stringify(worker);
      // Unchanged elements are kept, so that a button keeps its focus.
      if (key === shown) return;
      shown = key;
      state.update(stateOf(worker));
      const pause = pauseOf(worker, reads);
      put(actions, worker.status === "deprecated" ? null : runButton(worker.id), session.mayWrite ? [pause.button, ...statusButtons(worker, reads)] : null);
      put(paused, pause.line);
      settings.update(worker, refresh);
      put(schema, worker.input_schema ? json(worker.input_schema) : empty("The handler declares no schema, so any object is accepted."));
    },
    showRate({ jobs: ended, percentiles: { wait, run } }) {
      const [rate, total, average, start] = tiles;
      rate.update(ended.success_rate === null ? "–" : `${ended.success_rate} %`, `of ${DAYS} days`);
      total.update(number(ended.total), `${number(ended.failed)} failed, ${number(ended.cancelled)} cancelled`);
      average.update(span(ended.avg_duration_ms), `p95 ${span(run.p95_ms)}`);
      start.update(span(wait.p50_ms), `p95 ${span(wait.p95_ms)}`);
    },
    showJobs(found) {
      shownJobs.show(found);
      noJobs.hidden = found.length > 0;
    },
    showNodes(found) {
      shownNodes.show(found);
      noNodes.hidden = found.length > 0;
    },
  };
}

function jobLine(job) {
  const status = pill();
  const duration = h("span", { class: "muted" });
  const error = h("p", { class: "error" });
  const element = h("li", { "data-job": job.id }, status.element, " ", h("a", { href: `#/jobs/${job.id}`, class: "mono", title: job.id }, short(job.id)), " ",
    when(job.created_at).element, " ", duration, error);
  return {
    element,
    update(next) {
      status.update(next.status);
      say(duration, next.duration_ms === null ? "" : ran(next));
      say(error, next.error ?? "");
    },
  };
}

function nodeLine(node) {
  const state = pill();
  const more = h("small", { class: "muted" });
  return {
    element: h("li", { "data-node": node.id }, h("span", { class: "mono" }, node.name), " ", state.element, h("p", {}, more)),
    update(next) {
      state.update(next.state === "live" && next.paused ? "paused" : next.state);
      say(more, `Version ${next.version}, ${busyProcesses(next)} of ${next.processes} ${places(next)} are busy${whose()}`);
    },
  };
}
