// The form of a schedule, with a live preview of its next firings.

import { post, saveRecord } from "./api.js";
import { localTime, typedMoment } from "./format.js";
import { ApprovalField, ask, changedApproval, CheckBox, Choice, html, Input } from "./ui/index.js";
import { MomentField, Pill, readJson, TextArea, useRead, useState } from "./ui/index.js";
import { workerOptions } from "./worker_list.js";

const OVERLAPS = [
  ["allow", "Create the job"],
  ["skip", "Skip the firing"],
  ["queue_one", "Let one job wait"],
  ["cancel_running", "Cancel the last job"],
];
const CATCH_UPS = [
  ["last", "The newest"],
  ["none", "None"],
  ["all", "All, at most 100"],
];
const ZONES = Intl.supportedValuesOf("timeZone");
/** Milliseconds without a key press before the preview is read. */
const TYPING_MS = 250;
const NEW = {
  worker_id: "",
  name: "",
  cron: "0 9 * * 1-5",
  timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
  every_seconds: null,
  input: {},
  priority: 5,
  enabled: true,
  overlap: "allow",
  catch_up: "last",
  catch_up_seconds: 3600,
  spread_seconds: 0,
  starts_at: null,
  ends_at: null,
  expires_in_seconds: null,
};

/** When a schedule fires, in one line. */
export const timingOf = ({ cron, timezone, every_seconds: every }) =>
  every ? `every ${every} s` : `${cron} · ${timezone}`;

/**
 * Open the form: of a new schedule (null), or of one that exists.
 * @param {any} schedule
 * @param {(saved: any) => void} done gets the saved schedule
 */
export async function openForm(schedule, done) {
  const workers = await workerOptions(schedule?.worker_id);
  ask({
    title: schedule ? "Edit schedule" : "New schedule",
    action: schedule ? "Save" : "Create",
    body: html`<${Fields} now=${schedule ?? NEW} workers=${workers} />`,
    async submit(values) {
      done(await saveRecord("/v1/ava/schedules", schedule, bodyOf(values, schedule)));
    },
  });
}

function Fields({ now, workers }) {
  const whole = (label, name, hint) => html`<${Input} label=${label} name=${name} hint=${hint}
    value=${now[name] ?? ""} type="number" required=${name !== "expires_in_seconds"} />`;
  const choice = (label, name, options) =>
    html`<${Choice} label=${label} name=${name} value=${now[name]} options=${options} />`;
  return html`
    <${Choice} label="Worker" name="worker" required value=${now.worker_id} options=${workers} />
    <${Input} label="Name" name="name" value=${now.name ?? ""} maxlength="200"
      hint="What lists show; may be empty" />
    <${Pattern} now=${now} />
    <${TextArea} label="Input" name="input" rows="3" value=${JSON.stringify(now.input)}
      hint="A JSON object" />
    <details>
      <summary>More options</summary>
      <div class="more">
        <${CheckBox} label="Enabled" name="enabled" defaultChecked=${now.enabled} />
        <div class="row">
          ${choice("If the previous job is unfinished", "overlap", OVERLAPS)}
          ${choice("Missed firings to catch up", "catch_up", CATCH_UPS)}
        </div>
        <div class="row">
          ${whole("Priority", "priority", "1 starts first")}
          ${whole("Max age to catch up", "catch_up_seconds", "seconds")}
          ${whole("Spread", "spread_seconds", "seconds")}
          ${whole("Expires after", "expires_in_seconds", "seconds without a start")}
        </div>
        <div class="row">
          <${MomentField} label="Not before" name="starts_at" value=${now.starts_at} />
          <${MomentField} label="Not after" name="ends_at" value=${now.ends_at} />
        </div>
        <${ApprovalField} rule=${now.approval} />
      </div>
    </details>
  `;
}

/** The fields of the pattern and its preview: the only part that is drawn again while one types. */
function Pattern({ now }) {
  const [cron, setCron] = useState(now.cron);
  const [timezone, setTimezone] = useState(now.timezone);
  const [every, setEvery] = useState(now.every_seconds ?? "");
  const type = (set) => (event) => set(event.currentTarget.value);
  return html`
    <div class="row">
      <${Input} label="Cron" name="cron" class="mono" value=${now.cron ?? ""} required=${!every}
        spellcheck=${false} oninput=${type(setCron)}
        hint="minute, hour, day of month, month, day of week" />
      <${Input} label="Time zone" name="timezone" value=${now.timezone ?? ""} required=${!every}
        list="time-zones" spellcheck=${false} oninput=${type(setTimezone)}
        hint="such as Europe/Berlin" />
      <${Input} label="Or every" name="every_seconds" type="number" min="1" max="59"
        value=${now.every_seconds ?? ""} oninput=${type(setEvery)}
        hint="1 to 59 seconds, in place of both" />
    </div>
    <datalist id="time-zones">
      ${ZONES.map((zone) => html`<option key=${zone} value=${zone} />`)}
    </datalist>
    <div class="preview">
      <${Preview} cron=${cron} timezone=${timezone} every=${Number(every)} />
    </div>
  `;
}

function bodyOf(values, schedule) {
  return {
    worker_id: values.worker,
    name: values.name || null,
    ...(values.every_seconds
      ? { every_seconds: Number(values.every_seconds) }
      : { cron: values.cron, timezone: values.timezone }),
    input: readJson("Input", values.input) ?? {},
    priority: Number(values.priority),
    enabled: values.enabled === "on",
    overlap: values.overlap,
    catch_up: values.catch_up,
    catch_up_seconds: Number(values.catch_up_seconds),
    spread_seconds: Number(values.spread_seconds),
    starts_at: typedMoment(values.starts_at),
    ends_at: typedMoment(values.ends_at),
    expires_in_seconds: values.expires_in_seconds ? Number(values.expires_in_seconds) : null,
    ...changedApproval(values, schedule?.approval),
  };
}

/**
 * A pattern or an interval in words and its next ten firings, read again a moment after each
 * change, and after each firing if `after` is the next one.
 * @param {{ cron: string, timezone: string, every?: number, after?: string }} props
 */
export function Preview({ cron, timezone, every, after }) {
  const { value, error } = useRead(
    async (signal) => {
      const body = every ? { every_seconds: every } : { cron, timezone };
      return (await post("/v1/ava/schedules/preview", body, { signal })).data;
    },
    [cron, timezone, every, after],
    TYPING_MS,
  );
  return html`
    <p role="status" class=${error ? "refusal" : ""}>${error?.message ?? value?.description}</p>
    <${SlotList} slots=${value?.next ?? []} cron=${cron ?? ""} hasSeconds=${Boolean(every)} />
  `;
}

/** Firings to come; a gap and an overlap of the clock changes are marked and explained. */
function SlotList({ slots, cron, hasSeconds }) {
  const repeatsHourly = (cron.trim().split(/\s+/)[1] ?? "").startsWith("*");
  const times = repeatsHourly ? "both times" : "the first time";
  const about = {
    gap: "does not exist that day; fires right after the change",
    overlap: `exists twice; fires ${times}`,
  };
  const line = ({ slot, at, note }) => html`<li key=${at} data-note=${note}>
    <span>${localTime(slot, hasSeconds)}</span>
    <small>${`${at.slice(0, hasSeconds ? 19 : 16).replace("T", " ")} UTC`}</small>
    ${note && html`<${Pill} state=${note} /><small>${about[note]}</small>`}
  </li>`;
  return html`<ol class="slotlist plain" aria-label="The next ten firings">${slots.map(line)}</ol>`;
}
