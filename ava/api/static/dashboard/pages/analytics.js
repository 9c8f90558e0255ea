// Analytics: statistics of the jobs that ended in a period.

import { get } from "../api.js";
import { endedChart } from "../chart.js";
import { h, put } from "../dom.js";
import { number, span } from "../format.js";
import { card, empty, field, heading, options, repeat, tile, titles } from "../parts.js";

const PERIODS = [["1", "1 day"], ["7", "7 days"], ["30", "30 days"], ["90", "90 days"]];

export function open(main, { signal, query }) {
  const days = query.get("days") ?? "30";
  const worker = query.get("worker") ?? "";
  const period = h("select", { name: "days" }, options(PERIODS, days));
  const only = h("select", { name: "worker" }, options([["", "All workers"], ...(worker ? [[worker]] : [])], worker));
  const go = () => (location.hash = `#/analytics?${new URLSearchParams({ days: period.value, ...(only.value ? { worker: only.value } : {}) })}`);
  period.addEventListener("change", go);
  only.addEventListener("change", go);
  const tiles = ["Ended", "Success rate", "Average run time", "Time to start", "Run time"].map(tile);
  const chart = endedChart({ spans: days === "1" ? "hour" : "day", filters: worker ? { "filter[worker_id]": worker } : {} });
  const triggers = h("div", { class: "facts" });
  const byTrigger = card("By trigger", {}, triggers);
  byTrigger.hidden = true;
  const workers = h("div", { role: "rowgroup", class: "rows" });
  const none = empty(days === "90" ? "No jobs ended in this period." : "No jobs ended in this period. Choose a longer one above.");
  put(main,
    heading("Analytics", field("Period", period), field("Worker", only)),
    h("div", { class: "tiles" }, tiles.map((part) => part.element)),
    card(days === "1" ? "Ended per hour" : "Ended per day (UTC)", { wide: true }, chart.element),
    byTrigger,
    card("By worker", { wide: true },
      h("div", { class: "table counts", role: "table", "aria-label": "Ended jobs by worker" },
        titles(["Worker", "Ended", "Completed", "Failed", "Success", "Average", "Processor", "Waited"]), workers),
      none));

  repeat(signal, 10, async () => {
    const { data } = await get("/v1/ava/analytics", {
      query: { days, group_by: days === "1" ? "hour" : "day", percentiles: "true", "filter[worker_id]": worker }, signal,
    });
    const { jobs, percentiles: { wait, run } } = data;
    const [ended, rate, average, start, times] = tiles;
    ended.update(number(jobs.total), `${number(jobs.failed)} failed, ${number(jobs.cancelled)} cancelled${jobs.expired ? `, ${number(jobs.expired)} of them expired` : ""}`);
    rate.update(jobs.success_rate === null ? "–" : `${jobs.success_rate} %`, `${number(jobs.completed)} completed`);
    average.update(span(jobs.avg_duration_ms), `of jobs that ran; they used ${span(jobs.cpu_ms)} of processor time`);
    start.update(span(wait.p50_ms), percentilesOf(wait));
    times.update(span(run.p50_ms), percentilesOf(run));
    chart.update(data.series.map((point) => ({ ...point, minute: point.starts_at })));
    const counts = Object.entries(data.by_worker).sort(([, one], [, other]) => other.total - one.total);
    put(triggers, Object.entries(jobs.by_trigger).map(([name, count]) => h("div", {}, h("span", {}, name), h("strong", {}, number(count)))));
    put(workers, counts.map(([id, count]) => line(id, count, days)));
    byTrigger.hidden = counts.length === 0;
    none.hidden = counts.length > 0;
    if (!worker && only.options.length !== counts.length + 1) put(only, options([["", "All workers"], ...counts.map(([id]) => [id]).sort()], worker));
  });
}

const percentilesOf = ({ p50_ms: median, p95_ms: high, p99_ms: highest }) => (median === null ? "no job ran" : `p95 ${span(high)}, p99 ${span(highest)}`);

function line(id, count, days) {
  const cell = (label, value, kind = "") => h("span", { role: "cell", "data-label": label, class: kind }, value);
  const rate = count.total ? `${(Math.round((1000 * count.completed) / count.total) / 10).toFixed(1)} %` : "–";
  return h("div", { role: "row" },
    cell("Worker", h("a", { href: `#/analytics?${new URLSearchParams({ days, worker: id })}` }, id), "mono"), cell("Ended", number(count.total)),
    cell("Completed", number(count.completed)), cell("Failed", count.failed ? h("a", { href: `#/errors?${new URLSearchParams({ "filter[worker_id]": id })}` }, number(count.failed)) : "0", count.failed ? "error" : ""),
    cell("Success", rate), cell("Average", span(count.avg_duration_ms)),
    cell("Processor", span(count.cpu_ms)), cell("Waited", span(count.wait_ms)));
}
