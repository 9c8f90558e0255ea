// Schedules: when each fires next, how its last job ended, and its last firings.

import { get, post, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { full, localTime, number, short } from "../format.js";
import { ask, button, empty, heading, notify, pill, RecordReads, repeat, when } from "../parts.js";
import { pauseParts } from "../pauses.js";
import { openForm, slotList } from "../schedule_form.js";

const PER_PAGE = "20";
const STRIP = 50;
const FINAL = ["completed", "failed", "cancelled"];

export function open(main, { signal, query }) {
  const list = h("div", {});
  const none = empty("No schedules yet. ", session.mayWrite ? "Create one to trigger jobs by a cron pattern." : "A schedule triggers jobs by a cron pattern.");
  const pager = h("nav", { class: "row between pager", "aria-label": "Pages of the list" });
  none.hidden = true;
  const refresh = () => turn();
  const cards = new Keyed(list, (schedule) => schedule.id, (schedule) => card(schedule, signal, refresh));
  const create = session.mayWrite ? button("New schedule", () => openForm(null, refresh), { kind: "primary" }) : null;
  put(main, heading("Schedules", create), list, none, pager);

  const turn = repeat(signal, 3, async () => {
    const found = await get("/v1/ava/schedules", { query: { per_page: PER_PAGE, cursor: query.get("cursor") }, signal });
    cards.show(found.data);
    none.hidden = found.data.length > 0;
    showPager(pager, query.get("cursor"), found.pagination);
  });
}

function showPager(pager, here, { total, next_cursor: next }) {
  const key = JSON.stringify([total, next, here]);
  if (pager.dataset.key === key) return;
  pager.dataset.key = key;
  put(pager, h("span", {}, `${number(total)} ${total === 1 ? "schedule" : "schedules"}`),
    h("span", { class: "row" },
      here ? h("a", { href: "#/schedules" }, "Newest") : null,
      next ? h("a", { href: `#/schedules?${new URLSearchParams({ cursor: next })}` }, "Older") : null));
}

const pathOf = (schedule) => `/v1/ava/schedules/${encodeURIComponent(schedule.id)}`;

function card(first, signal, refresh) {
  const path = pathOf(first);
  let schedule = first;
  let key = "";
  let jobIsFinal = true;
  const title = h("span", {});
  const state = pill();
  const pattern = h("p", { class: "muted pattern" });
  const next = when();
  const last = when();
  const result = h("span", {});
  const strip = h("div", { class: "strip", role: "img", hidden: true });
  const pause = pauseParts(path, {
    name: first.name ?? first.worker_id, changed: refresh, text: "Firings are skipped until it is resumed, and not caught up. Its jobs continue.",
  });
  const run = button("Run now", async () => {
    const { data: job } = await post(`${path}/run`);
    notify(`Triggered ${job.id}.`);
    location.hash = `#/jobs/${job.id}`;
  });
  const actions = [run, pause.button, button("Edit", () => openForm(schedule, refresh)), button("Delete", () => remove(schedule, reads, refresh), { kind: "danger" })];
  const more = details(() => schedule, signal);
  const element = h("section", { class: "card schedule", "data-schedule": first.id },
    h("header", {}, h("h2", {}, title, " ", state.element), h("div", { class: "row" }, session.mayWrite ? actions : [])),
    pattern, pause.line,
    h("dl", {}, [["Next firing", next.element], ["Last firing", [last.element, " ", result]]].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    strip, more.element);

  const reads = new RecordReads(signal, (whileShown) => async () => {
    const { data } = await get(`${path}/firings`, { query: { per_page: String(STRIP) }, signal: whileShown });
    drawStrip(strip, data);
    more.show(data);
  });

  async function loadJob() {
    if (!schedule.last_job_id) return;
    const job = await get(`/v1/ava/jobs/${encodeURIComponent(schedule.last_job_id)}`, { query: { fields: "id,status" }, signal }).catch((error) => {
      // The record of an old job is past retention.
      if (error.status === 404) return null;
      throw error;
    });
    jobIsFinal = !job || FINAL.includes(job.data.status);
    put(result, job ? [pill(job.data.status).element, " ", h("a", { href: `#/jobs/${job.data.id}`, class: "mono", title: job.data.id }, short(job.data.id))] : []);
  }

  const ignore = (error) => error.name === "AbortError" || error.status === 404 || notify(error.message, "bad");
  return {
    element,
    update(found) {
      schedule = found;
      const name = found.name ?? found.worker_id;
      element.setAttribute("aria-label", `Schedule ${name}`);
      say(title, name);
      state.update(found.paused ? "paused" : "enabled");
      pause.update(found.paused);
      say(pattern, `${found.worker_id} · ${found.cron} · ${found.timezone}`);
      next.update(found.next_run_at);
      last.update(found.last_run_at);
      const now = JSON.stringify([found.next_run_at, found.last_run_at, found.last_job_id]);
      if (now !== key) reads.now().catch(ignore);
      if (now !== key || !jobIsFinal) loadJob().catch(ignore);
      key = now;
    },
  };
}

/** The last firings as small boxes, the oldest first; the label says in words what the colours show. */
function drawStrip(strip, firings) {
  const counts = ["fired", "skipped", "missed"].map((outcome) => [firings.filter((firing) => firing.outcome === outcome).length, outcome]);
  const words = counts.filter(([count]) => count).map(([count, outcome]) => `${count} ${outcome}`).join(", ");
  strip.setAttribute("aria-label", firings.length ? `The last ${firings.length} firings: ${words}` : "No firings yet");
  strip.hidden = !firings.length;
  put(strip, [...firings].reverse().map((firing) => h("i", { "data-outcome": firing.outcome, title: `${localTime(firing.slot)}: ${firing.outcome}${firing.reason ? `, ${firing.reason}` : ""}` })));
}

/** What the strip and the next firings are in words; the next ones are read only when the part is opened. */
function details(schedule, signal) {
  const words = h("p", {});
  const next = h("ol", { class: "slotlist plain" });
  const past = h("ol", { class: "plain past" });
  const element = h("details", { ontoggle: async () => {
    if (!element.open) return;
    const { cron, timezone } = schedule();
    try {
      const { data } = await post("/v1/ava/schedules/preview", { cron, timezone }, { signal });
      say(words, data.description);
      put(next, slotList(data.next, cron));
    } catch (error) {
      if (!signal.aborted) say(words, error.message);
    }
  } }, h("summary", {}, "Firings"), words, h("div", { class: "columns" }, h("section", {}, h("h3", {}, "Next"), next), h("section", {}, h("h3", {}, "Last"), past)));
  return {
    element,
    show(firings) {
      if (!firings.length) return put(past, h("li", { class: "muted" }, "No firings yet"));
      return put(past, firings.slice(0, 10).map((firing) => h("li", {},
        h("span", { title: full(firing.at) }, localTime(firing.slot)), pill(firing.outcome).element,
        firing.job_id ? h("a", { href: `#/jobs/${firing.job_id}`, class: "mono", title: firing.job_id }, short(firing.job_id)) : h("small", {}, firing.reason ?? ""))));
    },
  };
}

function remove(schedule, reads, refresh) {
  ask({
    title: "Delete this schedule?", action: "Delete schedule", kind: "danger", text: `${schedule.name ?? schedule.worker_id} triggers no more jobs. Its existing jobs continue.`,
    submit: async () => {
      await reads.delete(pathOf(schedule));
      refresh();
    },
  });
}
