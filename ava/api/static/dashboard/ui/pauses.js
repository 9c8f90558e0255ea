// The pause of a record, in the same form on every page: its description and its button.

import { post } from "../api.js";
import { actorOf } from "../format.js";
import { mayWrite } from "./data.js";
import { ask } from "./dialog.js";
import { Button, When } from "./elements.js";
import { Input } from "./fields.js";
import { html } from "./preact.js";

const LONGEST_REASON = 500;

/**
 * The button that pauses or resumes the record at `path`. `text` describes the effect; `body` is
 * sent with both calls.
 * @param {{ record: any, path: string, name: string, text: string, body?: object,
 *   onChange: () => any }} props
 */
export function Pauses({ record, path, name, text, body = {}, onChange }) {
  if (!mayWrite()) return null;
  const act = async (verb, given = {}) => {
    await post(`${path}/${verb}`, { ...body, ...given });
    await onChange();
  };
  const pause = () => {
    ask({
      title: `Pause ${name}?`,
      action: "Pause",
      text,
      body: html`<${Input} label="Reason" name="reason" maxlength=${LONGEST_REASON}
        hint="Optional" />`,
      submit: ({ reason }) => act("pause", { reason: reason || null }),
    });
  };
  const isPaused = Boolean(record.paused);
  const verb = isPaused ? "Resume" : "Pause";
  return html`<${Button} icon=${isPaused ? "play" : "pause"} aria-label=${`${verb} ${name}`}
    onclick=${isPaused ? () => act("resume") : pause}>${isPaused ? "Resume" : "Pause …"}<//>`;
}

/**
 * The line "Paused by … since …: reason"; nothing while the record is not paused.
 * @param {{ paused: { by: any, at: string, reason?: string | null } | null | undefined }} props
 */
export function PauseLine({ paused }) {
  if (!paused) return null;
  const by = paused.by ? actorOf(paused.by) : "the platform";
  return html`<p class="pause" role="status">
    Paused by <span class="mono">${by}</span> <${When} ts=${paused.at} />
    ${paused.reason && `: ${paused.reason}`}</p>`;
}
