// Errors: groups of failed jobs with one cause, each with a line of its days.

import { get, post, session } from "../api.js";
import { h, Keyed, put, s, say } from "../dom.js";
import { dayOf, number } from "../format.js";
import { ask, button, empty, field, heading, notify, options, pill, repeat, when } from "../parts.js";

const DAYS = 30;
const STATES = [["open", "Open"], ["resolved", "Resolved"], ["ignored", "Ignored"], ["", "All"]];
const DONE = { resolve: "resolved", ignore: "ignored", reopen: "open again" };
const ACTIONS = { open: [["resolve", "Resolve"], ["ignore", "Ignore"]], resolved: [["reopen", "Reopen"]], ignored: [["reopen", "Reopen"]] };

export function open(main, { signal, query }) {
  const worker = query.get("filter[worker_id]");
  const state = query.get("status") ?? "open";
  const chosen = h("select", { name: "status" }, options(STATES, state));
  chosen.addEventListener("change", () => {
    location.hash = `#/errors?${new URLSearchParams({ status: chosen.value, ...(worker ? { "filter[worker_id]": worker } : {}) })}`;
  });
  const list = h("div", {});
  const none = empty("No errors with this status. ", state === "open" ? "Jobs that fail with the same cause are grouped into one error." : h("a", { href: "#/errors" }, "Show the open ones"));
  const pager = h("nav", { class: "row between pager", "aria-label": "Pages of the list" });
  none.hidden = true;
  const groups = new Keyed(list, (group) => group.id, (group) => card(group, () => turn()));
  put(main, heading("Errors", field("Show", chosen)),
    worker ? h("p", { class: "muted" }, `Of ${worker}. `, h("a", { href: "#/errors" }, "All workers")) : null, list, none, pager);

  const turn = repeat(signal, 5, async () => {
    const asked = { per_page: "20", "filter[status]": state, "filter[worker_id]": worker, cursor: query.get("cursor") };
    const found = await get("/v1/ava/errors", { query: asked, signal });
    groups.show(found.data);
    none.hidden = found.data.length > 0;
    const next = found.pagination.next_cursor;
    const older = new URLSearchParams(query);
    older.set("cursor", next);
    put(pager, h("span", {}, `${number(found.pagination.total)} ${found.pagination.total === 1 ? "error" : "errors"} in ${DAYS} days`),
      next ? h("a", { href: `#/errors?${older}` }, "Older") : null);
  });
}

function card(first, refresh) {
  const state = pill();
  const count = h("strong", {});
  const last = when();
  const sample = h("a", {}, "Last job");
  const jobs = h("a", { href: `#/jobs?${new URLSearchParams({ "filter[error_id]": first.id })}` }, "Its jobs");
  const line = h("div", { class: "spark" });
  const actions = h("div", { class: "row" });
  let shown = "";
  const element = h("section", { class: "card wide group", "data-error": first.id, "aria-label": `${first.kind}: ${first.message}` },
    h("header", {}, h("h2", {}, first.kind), state.element, actions),
    h("p", { class: "error" }, first.message || "(no message)"),
    h("div", { class: "row between" }, h("p", { class: "muted" }, h("span", { class: "mono" }, first.worker_id), " · ", count, " failed, last ", last.element, " · ", jobs, " · ", sample), line));
  return {
    element,
    update(group) {
      const key = JSON.stringify(group);
      if (key === shown) return;
      shown = key;
      state.update(group.status);
      say(count, number(group.count));
      last.update(group.last_seen_at);
      sample.setAttribute("href", `#/jobs/${group.sample_job_id}`);
      put(line, spark(group.daily));
      put(actions, session.mayWrite ? [button("Retry all …", () => openRetry(group)), ...ACTIONS[group.status].map(([action, label]) => button(label, async () => {
        await post(`/v1/ava/errors/${encodeURIComponent(group.id)}/${action}`);
        notify(`${group.kind}: ${DONE[action]}.`);
        refresh();
      }))] : []);
    },
  };
}

function openRetry(group) {
  ask({
    title: `Retry ${group.kind}`, text: "Each failed job of this error that is still stored is triggered again as a new job, up to the newest 10,000.", action: "Retry all", kind: "primary",
    async submit() {
      const { data } = await post(`/v1/ava/errors/${encodeURIComponent(group.id)}/retry`);
      notify(data.state === "done" ? `${number(data.done)} jobs are retried.` : `${number(data.total)} jobs are being retried.`);
    },
  });
}

/** The failed jobs of each day as bars; a day without any has none. */
function spark(daily) {
  const width = 6;
  const height = 28;
  const today = new Date().setUTCHours(0, 0, 0, 0);
  const most = Math.max(1, ...daily.map((day) => day.jobs));
  const bars = daily.map((day) => {
    const place = DAYS - Math.round((today - new Date(day.day).getTime()) / 86400000);
    const tall = Math.max(2, (height * day.jobs) / most);
    return s("rect", { x: place * width, y: height - tall, width: width - 1, height: tall, class: "bar failed" }, s("title", {}, `${dayOf(day.day)}: ${number(day.jobs)} failed`));
  });
  const label = `Failed jobs of each of the last ${DAYS} days, at most ${number(most)}`;
  return s("svg", { width: (DAYS + 1) * width, height, class: "chart", role: "img", "aria-label": label }, bars);
}
