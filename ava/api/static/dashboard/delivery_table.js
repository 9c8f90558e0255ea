// The deliveries of a hook (in) or a webhook (out): a table with filters, the content of each, and the form to repeat many.

import { get, post, session } from "./api.js";
import { h, Keyed, put, say } from "./dom.js";
import { ago, bytes, number, short, span, typedMoment } from "./format.js";
import { ask, button, empty, field, json, momentField, notify, options, pill, RecordReads, repeat, titles, when } from "./parts.js";

const SHOWN = 20;
const DAY = 24 * 3600 * 1000;
const titled = (name) => name[0].toUpperCase() + name.slice(1);
const choices = (names) => [["", "All"], ...names.map((name) => [name, titled(name)])];

/** What differs between the directions: the verb, the statuses, and those that can be repeated. */
export const RECEIVED = { verb: "replay", statuses: ["accepted", "duplicate", "refused", "skipped"], repeatable: ["refused", "accepted", "skipped"] };
export const SENT = { verb: "redeliver", statuses: ["pending", "delivered", "abandoned"], repeatable: ["abandoned", "delivered"] };

/** A table of deliveries. `types`: event types to choose from; `newest` is called with the newest deliveries of any kind. */
export function deliveryTable({ kind, path, types, signal, newest }) {
  const status = h("select", { name: "status", onchange: () => reads.now() }, options(choices(kind.statuses), ""));
  const type = types ? h("select", { onchange: () => reads.now() }, options([["", "All"], ...types.map((name) => [name])], ""))
    : h("input", { placeholder: "All", onchange: () => reads.now() });
  const body = h("div", { role: "rowgroup", class: "rows" });
  const none = empty("No deliveries yet. ", session.mayWrite ? "Test sends one now." : null);
  const rows = new Keyed(body, (delivery) => delivery.id, (delivery) => deliveryRow(delivery, path, kind, () => reads.now()));
  const read = (query, whileShown) => get(`${path}/deliveries`, { query: { per_page: String(SHOWN), ...query }, signal: whileShown }).catch((error) => {
    // Deleted in another tab: the list leaves it out the next time.
    if (error.status !== 404) throw error;
    return { data: [] };
  });
  const reads = new RecordReads(signal, (whileShown) => repeat(whileShown, 3, async () => {
    const filter = { "filter[status]": status.value, "filter[event_type]": type.value };
    const { data } = await read(filter, whileShown);
    if (newest) newest(status.value || type.value ? (await read({}, whileShown)).data : data);
    rows.show(data);
    none.hidden = data.length > 0;
  }));
  const openMany = () => askForMany(path, kind, { status: status.value, type: type.value, types }, () => reads.now());
  return {
    reads,
    many: button(`${titled(kind.verb)} …`, openMany),
    elements: [
      h("div", { class: "row end" }, field("Deliveries", status), field("Event type", type)),
      h("div", { class: "table deliveries", role: "table", "aria-label": "Deliveries" }, titles(["Status", "Event", "Jobs", "Created", "Response", ""]), body), none,
    ],
  };
}

function deliveryRow(delivery, path, kind, refresh) {
  const one = `${path}/deliveries/${encodeURIComponent(delivery.id)}`;
  const state = pill();
  const jobs = h("span", { role: "cell", "data-label": "Jobs", class: "mono" });
  const response = h("span", {});
  const about = h("p", {});
  const content = h("div", {}, h("p", { class: "muted" }, "Loading the delivery …"));
  const answers = h("div", {});
  let isLoaded = false;
  const load = async () => {
    if (isLoaded) return;
    isLoaded = true;
    try {
      const { data } = await get(one);
      put(content, data.body === null ? h("p", { class: "muted" }, "The body is not stored, or your role may not see it.") : bodyOf(data));
    } catch (error) {
      isLoaded = false;
      put(content, h("p", { role: "alert" }, error.message));
    }
  };
  const around = delivery.direction === "in" ? [h("h3", {}, "Headers"), json(delivery.headers)] : [h("h3", {}, "Responses"), answers];
  const more = h("details", { ontoggle: () => more.open && load() }, h("summary", {}, "Content"),
    h("div", { class: "exchange" }, h("section", {}, h("h3", {}, "Body"), content), h("section", {}, around)));
  const again = session.mayWrite ? button(titled(kind.verb), async () => {
    const { data } = await post(`${one}/${kind.verb}`);
    notify(data.replay_of === null ? "Delivery queued again." : `Replayed: ${data.job_ids.length === 1 ? "1 job" : `${data.job_ids.length} jobs`}.`);
    refresh();
  }) : null;
  const element = h("div", { role: "row", "data-delivery": delivery.id },
    h("span", { role: "cell", "data-label": "Status" }, state.element),
    h("span", { role: "cell", "data-label": "Event" }, (delivery.event_type ?? "–").replace(/^ava\./, "")), jobs,
    h("span", { role: "cell", "data-label": "Created" }, when(delivery.created_at).element),
    h("span", { role: "cell", "data-label": "Response" }, response),
    h("span", { role: "cell" }, again), h("span", { role: "cell", class: "whole" }, about, more));
  return {
    element,
    update(next) {
      state.update(next.status);
      if (again) again.hidden = next.status === "pending";
      const links = next.job_ids.slice(0, 5).map((id) => h("a", { href: `#/jobs/${id}`, title: id }, short(id)));
      put(jobs, links.length ? links.flatMap((link, n) => (n ? [" ", link] : [link])) : "–");
      say(response, next.direction === "in" ? String(next.response_status) : lastRequest(next));
      say(about, aboutReceived(next));
      about.hidden = !about.textContent;
      put(answers, (next.attempts ?? []).map((attempt) => h("p", {}, h("span", { class: "muted" }, `${attempt.number}. `), attempt.error ?? `status ${attempt.status}`, " ",
        when(attempt.at).element, attempt.answer ? h("pre", {}, attempt.answer) : null)));
    },
  };
}

/** Why a received delivery was not processed, and which one it repeats. */
function aboutReceived({ direction, reason, duplicate_of: first, replay_of: original }) {
  if (direction === "out") return "";
  return [reason, first && `Repeats ${short(first)}.`, original && `Replays ${short(original)}.`].filter(Boolean).join(" ");
}

const nextRequest = (at) => (new Date(at) <= new Date() ? "due now" : `next request ${ago(at)}`);

function lastRequest({ attempts, next_attempt_at: at }) {
  const attempt = attempts.at(-1);
  const next = at ? nextRequest(at) : "";
  if (!attempt) return next || "not sent yet";
  const outcome = attempt.error ?? `status ${attempt.status}`;
  return `${attempts.length > 1 ? `${number(attempts.length)} requests, last: ` : ""}${outcome}${attempt.duration_ms === undefined ? "" : `, ${span(attempt.duration_ms)}`}${next ? `; ${next}` : ""}`;
}

function bodyOf({ body, body_bytes: size }) {
  try {
    return json(JSON.parse(body));
  } catch {
    return [h("p", { class: "muted" }, bytes(size)), h("pre", { class: "json", tabindex: "0" }, body)];
  }
}

/** Repeat the deliveries of a time range. The filters of the list are chosen at first. */
function askForMany(path, kind, { status, type, types }, refresh) {
  const event = types ? h("select", { name: "event_type" }, options([["", "All"], ...types.map((name) => [name])], type))
    : h("input", { name: "event_type", value: type, placeholder: "All" });
  const about = kind === SENT ? "Each matching delivery is sent again with the same id and body."
    : "Each delivery is matched with the current subscriptions. Duplicates and earlier replays are skipped.";
  ask({
    title: `${titled(kind.verb)} deliveries?`, action: kind === SENT ? "Send again" : "Replay", text: about,
    fields: [
      field("Status", h("select", { name: "status" }, options(kind.repeatable.map((name) => [name, titled(name)]), status))),
      field("Event type", event),
      momentField("Created since", "since", { at: new Date(Date.now() - DAY).toISOString(), required: true }),
      momentField("Created before", "until", { hint: "Empty: until now" }),
    ],
    submit: async ({ since, until, status: chosen, event_type: name }) => {
      const { data } = await post(`${path}/deliveries/${kind.verb}`, { since: typedMoment(since), status: chosen,
        ...(until ? { until: typedMoment(until) } : {}), ...(name ? { event_type: name } : {}) });
      notify(`${number(data.total)} deliveries ${kind === SENT ? "queued again" : "replayed"}.`);
      refresh();
    },
  });
}
