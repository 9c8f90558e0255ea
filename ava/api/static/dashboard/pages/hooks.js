// Hooks: URLs that receive providers' webhooks, and their deliveries.

import { get, session } from "../api.js";
import { deliveryTable, RECEIVED } from "../delivery_table.js";
import { h, Keyed, put, say } from "../dom.js";
import { short } from "../format.js";
import { create, rotate, setSecret, tryOut } from "../hook_forms.js";
import { ask, button, empty, heading, pill, repeat } from "../parts.js";
import { pauseParts } from "../pauses.js";

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
  const deliveries = deliveryTable({ kind: RECEIVED, path, signal });
  const pause = pauseParts(path, { name: hook.name, changed: refresh, text: "Its deliveries are accepted and stored as skipped. They start nothing until you replay them." });
  const actions = session.mayWrite ? [
    button("Test …", () => tryOut(current, path, () => deliveries.reads.now())), pause.button,
    button("Secret …", () => setSecret(current, path, refresh)),
    button("New URL …", () => rotate(current, path, refresh)),
    deliveries.many,
    button("Delete", () => remove(hook, path, deliveries.reads, refresh), { kind: "danger" }),
  ] : [];
  const element = h("section", { class: "card endpoint", "aria-label": `Hook ${hook.name}, ${short(hook.id)}`, "data-hook": hook.id },
    h("header", {}, h("h2", {}, hook.name, " ", state.element), h("div", { class: "row" }, actions)),
    about, pause.line, deliveries.elements);
  return {
    element,
    close: () => deliveries.reads.end(),
    update(next) {
      current = next;
      state.update(next.paused ? "paused" : "active");
      pause.update(next.paused);
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
