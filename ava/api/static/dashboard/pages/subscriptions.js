// Subscriptions: rules that start jobs for events, and a tester for one event.

import { post, saveRecord } from "../api.js";
import { column, minor, recordsPage, state, when, workerLink } from "../records_page.js";
import { addressWith, ask, Button, Card, Choice, Empty, Field, html, Input } from "../ui/index.js";
import { readJson, TextArea, useRead, useState } from "../ui/index.js";
import { Json } from "../ui/json.js";
import { workerOptions } from "../worker_list.js";

const PATH = "/v1/ava/subscriptions";
/** Milliseconds after the last key until the tester asks. */
const TYPING_MS = 250;
const pretty = (value) => (value ? JSON.stringify(value, null, 2) : "");
/** What the tester begins with. */
const SAMPLE = {
  event: pretty({ type: "order.paid", data: { number: 7, total: 250 } }),
  match: pretty({ data: { total: [{ numeric: [">", 100] }] } }),
  input: pretty({ number: { $get: "data.number" } }),
};
const COMMAND = "ava subscriptions create order.paid wkr_invoice";
const stateOf = (found) => (found.paused ? "paused" : "active");

const COLUMNS = [
  column("Events", "minmax(12rem, 1.4fr)", ({ id, event_type: type }) => {
    return html`<a class="mono" href=${addressWith({ id })} data-subscription=${id}>${type}</a>`;
  }),
  column("Worker", "minmax(10rem, 1.2fr)", (found) => workerLink(found.worker_id)),
  minor("Name", "minmax(8rem, 1fr)", (found) => found.name ?? "–"),
  state("7rem", stateOf),
  minor("Changed", "8rem", (found) => when(found.updated_at)),
];

export const open = recordsPage({
  title: "Subscriptions",
  path: PATH,
  noun: ["subscription", "subscriptions"],
  columns: () => COLUMNS,
  empty: html`<${Empty} title="No subscriptions yet." command=${COMMAND}>
    A subscription starts a job for each matching event.
  <//>`,
  after: html`<${Card} title="Try a pattern"><${Tester} /><//>`,
  create: (done) => openForm(null, done),
  describe: ({ name, event_type: type, worker_id: worker, paused }) => ({
    title: name ?? `${type} → ${worker}`,
    state: stateOf({ paused }),
    pause: `Events of type ${type} start no jobs of ${worker}, also after it is resumed.`,
    remove: `Events of type ${type} start no more jobs of ${worker}.`,
  }),
  actions: (found, changed) => html`<${Button} onclick=${() => openForm(found, changed)}>Edit<//>`,
  content: ({ worker_id: worker, priority, match, input }) => html`
    <p>Each matching event starts a job of ${workerLink(worker)} with priority ${priority}.</p>
    <h3>Pattern</h3>
    ${match ? html`<${Json} value=${match} name="Pattern" />` : "Every event of the type matches."}
    <h3>Template</h3>
    ${input ? html`<${Json} value=${input} name="Template" />` : "The input is the whole event."}
  `,
});

/** The fields of a subscription that hold JSON. */
const rulesOf = ({ match, input }) => ({
  match: readJson("match", match),
  input: readJson("input", input),
});

/** Says, a moment after each key, whether an event matches, and what input its job gets. */
function Tester() {
  const [texts, setTexts] = useState(SAMPLE);
  const { value, error } = useRead((signal) => tryOut(texts, signal), [texts], TYPING_MS);
  const type = ({ currentTarget: { name, value } }) =>
    setTexts((before) => ({ ...before, [name]: value }));
  const area = (name, label) => html`<${Field} label=${label}>
    <textarea name=${name} rows="6" class="mono growing" spellcheck=${false} value=${texts[name]}
      oninput=${type} />
  <//>`;
  return html`
    <div class="exchange">
      <section>${area("event", "Event")}</section>
      <section>${area("match", "Pattern")} ${area("input", "Template")}</section>
    </div>
    <p role="status" data-tester>${error?.message ?? value?.text}</p>
    ${value?.input && html`<${Json} value=${value.input} name="The job's input" />`}
  `;
}

async function tryOut(texts, signal) {
  const body = { event: readJson("event", texts.event), ...rulesOf(texts) };
  const { data } = await post(`${PATH}/test`, body, { signal });
  if (!data.matches) return { text: `The event does not match. ${data.reason}`, input: null };
  return { text: data.reason ?? "The event matches. The job's input:", input: data.input };
}

/** The form of a new subscription (null), or of one that exists. */
async function openForm(found, done) {
  const own = found?.worker_id;
  const workers = await workerOptions(own);
  ask({
    title: found ? "Change this subscription" : "New subscription",
    action: found ? "Save" : "Create",
    body: html`
      <${Input} label="Events" name="type" value=${found?.event_type} required maxlength="200"
        placeholder="github.pull_request.*"
        hint="An event type; a trailing .* matches all longer types" />
      <${Choice} label="Worker" name="worker" required value=${own ?? workers[0]?.[0]}
        options=${workers} />
      <${Input} label="Name" name="name" value=${found?.name ?? ""} maxlength="200" />
      <${TextArea} label="Pattern" name="match" value=${pretty(found?.match)}
        hint="Empty: every event of the type matches" />
      <${TextArea} label="Template" name="input" value=${pretty(found?.input)}
        hint="Empty: the input is the whole event" />
    `,
    async submit({ type, worker, name, match, input }) {
      const rules = rulesOf({ match, input });
      const body = { event_type: type, worker_id: worker, name: name || null, ...rules };
      done(await saveRecord(PATH, found, body));
    },
  });
}
