// Hooks: URLs that receive providers' webhooks, and their deliveries.

import { call, get, post, session } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import { bytes, short } from "../format.js";
import { create, replayMany, rotate, setSecret, tryOut } from "../hook_forms.js";
import { ask, button, empty, field, heading, json, notify, options, pill, RecordReads, repeat, titles, when } from "../parts.js";

const SHOWN = "20";
const VERDICTS = [["", "All"], ["accepted", "Accepted"], ["duplicate", "Duplicate"], ["refused", "Refused"]];

export function open(main, { signal }) {
  const list = h("div", {});
  const none = empty("No hooks yet. ", session.mayWrite ? "Create one and give its URL to GitHub, Stripe or Slack." : "A hook is a URL that receives a provider's webhooks.");
  none.hidden = true;
  const refresh = () => turn();
  const hooks = new Keyed(list, (hook) => hook.id, (hook) => hookCard(hook, signal, refresh));
  put(main, heading("Hooks", h("a", { href: "#/subscriptions" }, "Subscriptions"), h("a", { href: "#/webhooks" }, "Webhooks (out)"),
    session.mayWrite ? button("New hook", () => create(refresh), { kind: "primary" }) : null), list, none);

  const turn = repeat(signal, 3, async () => {
    const found = await get("/v1/ava/hooks", { query: { per_page: "100" }, signal });
    hooks.show(found.data);
    none.hidden = found.data.length > 0;
  });
}

const makes = (hook) => (hook.worker_id ? `Each delivery starts a job of ${hook.worker_id}.`
  : `Each delivery is an event${hook.event_type ? ` of the type ${hook.event_type}` : ""} for the subscriptions.`);

function hookCard(hook, signal, refresh) {
  const path = `/v1/ava/hooks/${encodeURIComponent(hook.id)}`;
  const state = pill();
  const about = h("p", { class: "muted" });
  let current = hook;
  const shown = h("select", { name: "verdict", onchange: () => load() }, options(VERDICTS, ""));
  const enable = async (enabled) => {
    await call("PATCH", path, { body: { enabled } });
    refresh();
  };
  const pause = button("Pause", () => enable(false));
  const resume = button("Resume", () => enable(true), { kind: "primary" });
  const body = h("div", { role: "rowgroup", class: "rows" });
  const none = empty("No deliveries yet. ", session.mayWrite ? "Test sends a delivery in the provider's format." : null);
  const rows = new Keyed(body, (delivery) => delivery.id, (delivery) => deliveryRow(delivery, path, () => load()));
  const actions = session.mayWrite ? [
    button("Test …", () => tryOut(current, path, () => load())), pause, resume,
    button("Secret …", () => setSecret(current, path, refresh)),
    button("New URL …", () => rotate(current, path, refresh)),
    button("Replay …", () => replayMany(current, path, () => load())),
    button("Delete", () => remove(hook, path, reads, refresh), { kind: "danger" }),
  ] : [];
  const element = h("section", { class: "card endpoint", "aria-label": `Hook ${hook.name}, ${short(hook.id)}`, "data-hook": hook.id },
    h("header", {}, h("h2", {}, hook.name, " ", state.element), h("div", { class: "row" }, actions)),
    about, h("div", { class: "row end" }, field("Deliveries", shown)),
    h("div", { class: "table deliveries", role: "table", "aria-label": "Deliveries" },
      titles(["Verdict", "Type", "Jobs", "Received", "Status", ""]), body), none);
  const reads = new RecordReads(signal, (whileShown) => repeat(whileShown, 2, async () => {
    const query = { per_page: SHOWN, "filter[verdict]": shown.value };
    const { data } = await get(`${path}/deliveries`, { query, signal: whileShown }).catch((error) => {
      // Deleted in another tab: the list leaves it out the next time.
      if (error.status !== 404) throw error;
      return { data: [] };
    });
    rows.show(data);
    none.hidden = data.length > 0;
  }));
  const load = () => reads.now();
  return {
    element,
    close: () => reads.end(),
    update(next) {
      current = next;
      state.update(next.enabled ? "enabled" : "paused");
      pause.hidden = !next.enabled;
      resume.hidden = next.enabled;
      const needs = next.verifier.scheme !== "none" && next.secrets === 0 ? " It has no secret, so it refuses every delivery. Set one with Secret …" : "";
      say(about, `${next.provider}. ${makes(next)}${needs}`);
    },
  };
}

function remove(hook, path, reads, refresh) {
  ask({
    title: "Delete this hook?", action: "Delete hook", kind: "danger", text: `The URL of ${hook.name} stops working immediately; its jobs and events stay.`,
    submit: async () => {
      await reads.delete(path);
      refresh();
    },
  });
}

function deliveryRow(delivery, path, refresh) {
  const verdict = pill(delivery.verdict);
  const jobs = h("span", { role: "cell", "data-label": "Jobs", class: "mono" });
  const content = h("div", {}, h("p", { class: "muted" }, "Loading the delivery …"));
  let isLoaded = false;
  const loadBody = async () => {
    if (isLoaded) return;
    isLoaded = true;
    try {
      const { data } = await get(`${path}/deliveries/${encodeURIComponent(delivery.id)}`);
      put(content, data.body === null ? h("p", { class: "muted" }, "The body is no longer stored, or your role may not see it.") : bodyOf(data));
    } catch (error) {
      isLoaded = false;
      put(content, h("p", { role: "alert" }, error.message));
    }
  };
  const more = h("details", { ontoggle: () => more.open && loadBody() }, h("summary", {}, "Headers and body"),
    h("div", { class: "exchange" }, h("section", {}, h("h3", {}, "Headers"), json(delivery.headers)), h("section", {}, h("h3", {}, "Body"), content)));
  const again = session.mayWrite ? button("Replay", async () => {
    const { data } = await post(`${path}/deliveries/${encodeURIComponent(delivery.id)}/replay`);
    notify(data.job_ids.length === 1 ? "Replayed: 1 job." : `Replayed: ${data.job_ids.length} jobs.`);
    refresh();
  }) : null;
  const about = [delivery.reason, delivery.duplicate_of ? `Repeats ${short(delivery.duplicate_of)}.` : null, delivery.replay_of ? `Replays ${short(delivery.replay_of)}.` : null];
  const element = h("div", { role: "row", "data-delivery": delivery.id },
    h("span", { role: "cell", "data-label": "Verdict" }, verdict.element),
    h("span", { role: "cell", "data-label": "Type" }, delivery.event_type ?? "–"), jobs,
    h("span", { role: "cell", "data-label": "Received" }, when(delivery.created_at).element),
    h("span", { role: "cell", "data-label": "Status" }, String(delivery.status)),
    h("span", { role: "cell" }, again),
    h("span", { role: "cell", class: "whole" }, about.filter(Boolean).map((text) => h("p", {}, text)), more));
  return {
    element,
    update(next) {
      const links = next.job_ids.slice(0, 5).map((id) => h("a", { href: `#/jobs/${id}`, title: id }, short(id)));
      put(jobs, links.length ? links.flatMap((link, n) => (n ? [" ", link] : [link])) : "–");
    },
  };
}

function bodyOf({ body, body_bytes: size }) {
  try {
    return json(JSON.parse(body));
  } catch {
    return [h("p", { class: "muted" }, bytes(size)), h("pre", { class: "json", tabindex: "0" }, body)];
  }
}
