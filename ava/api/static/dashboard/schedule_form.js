// The form of a schedule, with a live preview of its next firings.

import { call, post } from "./api.js";
import { h, put, say } from "./dom.js";
import { localTime, typedMoment } from "./format.js";
import { parseInput } from "./input_form.js";
import { ask, field, momentField, options, pill } from "./parts.js";
import { expiryField } from "./trigger.js";
import { allWorkers } from "./worker_list.js";

const OVERLAPS = [["allow", "Make the job"], ["skip", "Skip the firing"], ["queue_one", "Let one job wait"], ["cancel_running", "Cancel the last job"]];
const CATCH_UPS = [["last", "The newest"], ["none", "None"], ["all", "All, at most 100"]];
//: Milliseconds without a key press before the preview is read.
const PAUSE = 250;
const EMPTY = {
  worker_id: "", name: "", cron: "0 9 * * 1-5", timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, input: {}, priority: 5,
  enabled: true, overlap: "allow", catch_up: "last", catch_up_seconds: 3600, spread_seconds: 0, starts_at: null, ends_at: null, expires_in_seconds: null,
};

/** Open the form: of a new schedule, or of one that exists. */
export async function openForm(schedule, done) {
  const workers = await allWorkers();
  const now = schedule ?? EMPTY;
  const choices = workers.map((worker) => [worker.id, `${worker.name} (${worker.id})`]);
  if (schedule && !workers.some((worker) => worker.id === schedule.worker_id)) choices.unshift([schedule.worker_id]);
  const cron = h("input", { name: "cron", value: now.cron, required: true, spellcheck: "false", autocomplete: "off", class: "mono" });
  const zone = h("input", { name: "timezone", value: now.timezone, required: true, list: "time-zones", spellcheck: "false", autocomplete: "off" });
  const preview = livePreview(cron, zone);
  const dialog = ask({
    title: schedule ? "Edit schedule" : "New schedule",
    action: schedule ? "Save" : "Create",
    fields: [
      field("Worker", h("select", { name: "worker", required: true }, options(choices, now.worker_id))),
      field("Name", h("input", { name: "name", value: now.name ?? "", maxlength: "200" }), "What lists show; may be empty"),
      h("div", { class: "row" },
        field("Cron", cron, "minute, hour, day of month, month, day of week"),
        field("Time zone", zone, "such as Europe/Berlin")),
      h("datalist", { id: "time-zones" }, Intl.supportedValuesOf("timeZone").map((name) => h("option", { value: name }))),
      preview.element,
      field("Input", h("textarea", { name: "input", rows: "3", spellcheck: "false" }, JSON.stringify(now.input)), "A JSON object"),
      moreOptions(now),
    ],
    submit: async (values) => {
      const body = bodyOf(values);
      if (schedule) await call("PATCH", `/v1/ava/schedules/${encodeURIComponent(schedule.id)}`, { body });
      else await post("/v1/ava/schedules", body);
      done();
    },
  });
  dialog.addEventListener("close", preview.stop);
}

function moreOptions(now) {
  const whole = (label, name, hint) => field(label, h("input", { name, type: "number", value: String(now[name]), required: true }), hint);
  const moment = (label, name) => momentField(label, name, { at: now[name] });
  return h("details", {}, h("summary", {}, "More options"), h("div", { class: "more" },
    h("label", { class: "row check" }, h("input", { type: "checkbox", name: "enabled", checked: now.enabled }), "Enabled"),
    h("div", { class: "row" },
      field("If the previous job is unfinished", h("select", { name: "overlap" }, options(OVERLAPS, now.overlap))),
      field("Missed firings to catch up", h("select", { name: "catch_up" }, options(CATCH_UPS, now.catch_up)))),
    h("div", { class: "row" },
      whole("Priority", "priority", "1 starts first"),
      whole("Max age to catch up", "catch_up_seconds", "seconds"),
      whole("Spread", "spread_seconds", "seconds"),
      expiryField(now.expires_in_seconds, "Seconds after the firing time; then an unstarted job is cancelled")),
    h("div", { class: "row" }, moment("Not before", "starts_at"), moment("Not after", "ends_at"))));
}

function bodyOf(values) {
  return {
    worker_id: values.worker, name: values.name || null, cron: values.cron, timezone: values.timezone, input: parseInput(values.input),
    priority: Number(values.priority), enabled: values.enabled === "on", overlap: values.overlap, catch_up: values.catch_up,
    catch_up_seconds: Number(values.catch_up_seconds), spread_seconds: Number(values.spread_seconds),
    starts_at: typedMoment(values.starts_at), ends_at: typedMoment(values.ends_at),
    expires_in_seconds: values.expires_in_seconds ? Number(values.expires_in_seconds) : null,
  };
}

/** The pattern in words and its next ten firings, read anew after each change of the two fields. */
function livePreview(cron, zone) {
  const words = h("p", { role: "status" });
  const list = h("ol", { class: "slotlist plain", "aria-label": "The next ten firings" });
  const element = h("div", { class: "preview" }, words, list);
  let timer;
  let reading = new AbortController();
  const read = async () => {
    reading.abort();
    reading = new AbortController();
    const { signal } = reading;
    try {
      const { data } = await post("/v1/ava/schedules/preview", { cron: cron.value, timezone: zone.value }, { signal });
      words.className = "";
      say(words, data.description);
      put(list, slotList(data.next, cron.value));
    } catch (error) {
      if (signal.aborted) return;
      words.className = "refusal";
      say(words, error.message);
      put(list);
    }
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(read, PAUSE);
  };
  cron.addEventListener("input", later);
  zone.addEventListener("input", later);
  read();
  const stop = () => {
    clearTimeout(timer);
    reading.abort();
  };
  return { element, stop };
}

/** Firings to come as list items; a gap and an overlap are marked and explained. */
export function slotList(slots, cron) {
  const isCadence = (cron.trim().split(/\s+/)[1] ?? "").startsWith("*");
  const about = { gap: "does not exist that day; fires right after the change", overlap: isCadence ? "exists twice; fires both times" : "exists twice; fires the first time" };
  return slots.map(({ slot, at, note }) => h("li", { "data-note": note },
    h("span", {}, localTime(slot)), h("small", {}, `${at.slice(0, 16).replace("T", " ")} UTC`),
    note ? h("span", { class: "note" }, pill(note).element, " ", h("small", {}, about[note])) : null));
}
