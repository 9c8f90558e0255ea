// Notices: messages to Slack, Teams, mail or an address about failures, backlogs and decisions.

import { post, saveRecord } from "../api.js";
import { Deliveries, SENT } from "../deliveries.js";
import { span } from "../format.js";
import { column, minor, recordsPage, state, when } from "../records_page.js";
import { addressWith, ask, Button, CheckBox, Choice, Empty, html, Input } from "../ui/index.js";
import { notify } from "../ui/index.js";

const PATH = "/v1/ava/notices";
/** The events, each with the conditions that the form offers for it. */
const EVENTS = {
  "job.failed": ["worker_id"],
  "error.opened": ["worker_id"],
  "error.regressed": ["worker_id"],
  "schedule.disabled": [],
  "webhook.degraded": [],
  backlog: ["queue", "older_than_seconds"],
  "approval.requested": [],
  "approval.reminded": [],
  "containment.started": [],
  "containment.completed": [],
};
const CHANNELS = [
  ["slack", "Slack"],
  ["teams", "Microsoft Teams"],
  ["email", "Mail"],
  ["webhook", "Webhook"],
];
const COMMAND = "ava notices create oncall slack https://hooks.slack.com/… --on job.failed";
const stateOf = (notice) => (notice.paused ? "paused" : notice.status);

/** A rule in words: its event, its conditions and its bound. */
function ruleText({ event, worker_id: worker, tag, queue, older_than_seconds: age, ...rule }) {
  const { at_most: bound } = rule;
  const parts = [
    event,
    worker && `of ${worker}`,
    tag && `with ${tag.key}=${tag.value}`,
    queue && `in ${queue}`,
    age && `older than ${span(age * 1000)}`,
    bound && `(at most ${bound.count} in ${span(bound.seconds * 1000)})`,
  ];
  return parts.filter(Boolean).join(" ");
}

const COLUMNS = [
  column(
    "Notice",
    "minmax(12rem, 2fr)",
    (notice) => html`
      <a href=${addressWith({ id: notice.id })} data-notice=${notice.id}>${notice.name}</a>
      <small>${notice.on.map(({ event }) => event).join(", ")}</small>`,
  ),
  column("Channel", "7rem", ({ channel }) => channel),
  minor("Target", "minmax(8rem, 1fr)", ({ target }) => html`<span class="mono">${target}</span>`),
  state("7rem", stateOf),
  minor("Changed", "8rem", (notice) => when(notice.updated_at)),
];

export const open = recordsPage({
  title: "Notices",
  path: PATH,
  noun: ["notice", "notices"],
  columns: () => COLUMNS,
  empty: html`<${Empty} title="No notices yet." command=${COMMAND}>
    A notice tells people about failures, backlogs, disabled schedules and pending approvals.
  <//>`,
  create: (done) => openForm(null, done),
  describe: (notice) => ({
    title: notice.name,
    state: stateOf(notice),
    pause: "It sends no messages and counts no events until it is resumed.",
    remove: `${notice.name} sends no more messages.`,
  }),
  actions: (notice, changed, path) => html`
    <${Button} onclick=${() => test(path)}>Test<//>
    <${Button} onclick=${() => openForm(notice, changed)}>Edit<//>
  `,
  content: (notice, _, path) => html`
    <p>To ${notice.channel}: <span class="mono">${notice.target}</span></p>
    <ul>${notice.on.map((rule) => html`<li key=${ruleText(rule)}>${ruleText(rule)}</li>`)}</ul>
    <${Deliveries} kind=${SENT} path=${path} types=${Object.keys(EVENTS)} />
  `,
});

async function test(path) {
  await post(`${path}/test`);
  notify("Test message queued.");
}

/** The form of a new notice (null), or of one that exists: its rules keep their conditions. */
function openForm(notice, done) {
  const before = notice?.on ?? [{ event: "job.failed" }];
  const rulesOf = (event) => before.filter((rule) => rule.event === event);
  const event = (name) => html`<${CheckBox} key=${name} label=${name} name=${name}
    defaultChecked=${rulesOf(name).length > 0} />`;
  ask({
    title: notice ? "Change this notice" : "New notice",
    action: notice ? "Save" : "Create",
    body: html`
      <${Input} label="Name" name="name" value=${notice?.name} required maxlength="200" />
      <${Choice} label="Channel" name="channel" value=${notice?.channel ?? "slack"}
        options=${CHANNELS} />
      <${Input} label="Target" name="target" required=${!notice} spellcheck=${false}
        hint=${`${notice ? "Empty: keep the current one. " : ""}An address of the channel, or mail
          addresses separated by commas. It is never shown again.`} />
      <fieldset class="events"><legend>Events</legend>
        ${Object.keys(EVENTS).map(event)}</fieldset>
      <details><summary>Conditions of new rules</summary><div class="row">
        <${Input} label="Worker" name="worker_id" hint="Of failures and errors; empty: all" />
        <${Input} label="Queue" name="queue" value="default" hint="Of a backlog" />
        <${Input} label="Older than" name="older_than_seconds" value="300" type="number" min="1"
          hint="Seconds, of a backlog" />
      </div></details>
    `,
    async submit({ name, channel, target, ...values }) {
      const given = { ...values, older_than_seconds: Number(values.older_than_seconds) };
      const created = (event) => ({
        event,
        ...Object.fromEntries(
          EVENTS[event].filter((key) => given[key]).map((key) => [key, given[key]]),
        ),
      });
      const chosen = Object.keys(EVENTS).filter((each) => values[each]);
      const on = chosen.flatMap((each) =>
        notice && rulesOf(each).length ? rulesOf(each).map(withoutNulls) : [created(each)],
      );
      const isSame = notice?.channel === channel && !target;
      const body = { name, on, ...(isSame ? {} : { channel, ...(target && { target }) }) };
      done(await saveRecord(PATH, notice, body));
    },
  });
}

const withoutNulls = (rule) =>
  Object.fromEntries(Object.entries(rule).filter(([, value]) => value !== null));
