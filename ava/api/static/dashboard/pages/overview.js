// Overview: queued, running and ended jobs, and their wait and run times.

import { get, list } from "../api.js";
import { endedChart } from "../chart.js";
import { h, Keyed, put, say } from "../dom.js";
import { number, span } from "../format.js";
import { busyProcesses, card, empty, heading, repeat, tile, when, whose } from "../parts.js";
import { runButton } from "../trigger.js";

export function open(main, { signal }) {
  const tiles = ["Waiting", "Running", "Oldest waiting", "Time to start", "Run time"].map(tile);
  const chart = endedChart();
  const depth = depthBars();
  const fleet = h("div", { class: "facts" });
  const failures = h("ul", { class: "plain" });
  const noFailures = empty("No failed jobs.");
  noFailures.hidden = true;
  const failed = new Keyed(failures, (job) => job.id, failureLine);
  put(main,
    heading("Overview", runButton()),
    h("div", { class: "tiles" }, tiles.map((part) => part.element)),
    card("Ended per minute", { wide: true }, chart.element),
    h("div", { class: "columns" },
      card("Waiting by priority", {}, depth.element),
      card("Nodes", { actions: h("a", { href: "#/workers" }, "All nodes") }, fleet),
      card("Newest failures", { actions: h("a", { href: `#/jobs?${new URLSearchParams({ "filter[status]": "failed" })}` }, "All failures") }, failures, noFailures)));

  repeat(signal, 2, async () => {
    const { data } = await get("/v1/ava/overview", { signal });
    const [queued, running, oldest, start, run] = tiles;
    queued.update(`${number(data.queued - data.scheduled)}${data.queued_is_exact ? "" : "+"}`, data.scheduled ? `and ${number(data.scheduled)} scheduled` : "none scheduled");
    running.update(number(data.running), "on all nodes");
    oldest.update(data.backlog_age_seconds === null ? "–" : span(data.backlog_age_seconds * 1000), data.backlog_age_seconds === null ? "no job waits" : "since it was due");
    const { latency } = data;
    start.update(span(latency.start_p50_ms), latency.start_p50_ms === null ? "none started in 5 min" : `p95 ${span(latency.start_p95_ms)}, last 5 min`);
    run.update(span(latency.run_p50_ms), latency.run_p50_ms === null ? "no job ran" : `p95 ${span(latency.run_p95_ms)}`);
    chart.update(data.minutes);
    depth.update(data.by_priority);
    failed.show(data.failures);
    noFailures.hidden = data.failures.length > 0;
  });
  repeat(signal, 5, async () => {
    showFleet(fleet, (await list("/v1/ava/nodes", { signal })).entries);
  });
}

function depthBars() {
  const rows = Array.from({ length: 10 }, (_, place) => {
    const bar = h("span", { class: "bar" });
    const count = h("span", { class: "count" }, "0");
    return { bar, count, element: h("li", {}, h("span", { class: "name" }, String(place + 1)), h("span", { class: "track" }, bar), count) };
  });
  return {
    element: h("ol", { class: "depth", "aria-label": "Waiting jobs by priority, 1 starts first" }, rows.map((row) => row.element)),
    update(depths) {
      const waiting = depths.map((depth) => depth.queued - depth.scheduled);
      const most = Math.max(1, ...waiting);
      waiting.forEach((count, place) => {
        say(rows[place].count, number(count));
        rows[place].bar.style.setProperty("inline-size", `${(100 * count) / most}%`);
      });
    },
  };
}

function showFleet(element, nodes) {
  const live = nodes.filter((node) => node.state === "live");
  const silent = nodes.filter((node) => node.state === "silent").length;
  const pools = live.filter((node) => !node.has_slots);
  const others = live.filter((node) => node.has_slots);
  const busy = (of) => {
    const sum = (count) => of.reduce((total, node) => total + count(node), 0);
    return `${number(sum(busyProcesses))} of ${number(sum((node) => node.processes))}${whose()}`;
  };
  put(element,
    fact("Live", number(live.length)), fact("Silent", number(silent), silent ? "bad" : ""),
    fact("Busy processes", busy(pools)), others.length > 0 && fact("Busy slots", busy(others)),
    fact("Versions", [...new Set(live.map((node) => node.version))].join(", ") || "–"),
    h("div", { class: "slots whole", role: "img", "aria-label": `One square per process, filled if it is busy${whose()}` },
      pools.flatMap((node) => Array.from({ length: node.processes }, (_, place) => place < node.busy)).slice(0, 120).map((busy) => h("i", { class: busy ? "busy" : "" }))));
}

const fact = (name, value, kind = "") => h("div", {}, h("span", {}, name), h("strong", { class: kind }, value));

function failureLine(job) {
  const at = when(job.completed_at);
  const element = h("li", {}, h("a", { href: `#/jobs/${job.id}` }, job.worker_id), " ", at.element, h("p", { class: "error" }, job.error));
  return { element, update: () => {} };
}
