// The pause of a record, in one form on every page: what it says, and the button that begins and ends it.

import { post } from "./api.js";
import { h, say } from "./dom.js";
import { ask, button, field, when } from "./parts.js";

const LONGEST_REASON = 500;

/**
 * The line "Paused by … since …: reason", and the button that pauses or resumes the record at `path`. `text` is what a
 * pause does, `changed` reads the record again; `body` returns what is sent with both calls.
 */
export function pauseParts(path, { name, text, changed, body = () => ({}) }) {
  let isPaused = false;
  const by = h("span", { class: "mono" });
  const since = when();
  const reason = h("span", {});
  const line = h("p", { class: "pause", role: "status", hidden: true }, "Paused by ", by, " ", since.element, reason);
  const act = async (verb, given) => {
    await post(`${path}/${verb}`, { ...body(), ...given });
    changed();
  };
  const askToPause = () => ask({
    title: `Pause ${name}?`, action: "Pause", text,
    fields: [field("Reason", h("input", { name: "reason", maxlength: LONGEST_REASON, autocomplete: "off" }), "Optional")],
    submit: ({ reason: why }) => act("pause", { reason: why || null }),
  });
  const toggle = button("", () => (isPaused ? act("resume", {}) : askToPause()), { "data-pause": "" });
  return {
    line, button: toggle,
    /** Show the pause; null without one. */
    update(paused) {
      isPaused = paused !== null;
      say(toggle, isPaused ? "Resume" : "Pause …");
      toggle.setAttribute("aria-label", `${isPaused ? "Resume" : "Pause"} ${name}`);
      line.hidden = !isPaused;
      if (!isPaused) return;
      say(by, paused.by === null ? "the platform" : paused.by.label ?? paused.by.id ?? "the system");
      since.update(paused.at);
      say(reason, paused.reason ? `: ${paused.reason}` : "");
    },
  };
}
