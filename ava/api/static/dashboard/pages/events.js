// Events: sent by systems or received by hooks, each with the jobs that it started or resumed.

import { post } from "../api.js";
import { counted } from "../format.js";
import { column, exact, Facts, jobLink, minor, recordsPage, when } from "../records_page.js";
import { addressWith, ask, Chip, Empty, html, Input, notify } from "../ui/index.js";
import { readJson, TextArea, useQuery } from "../ui/index.js";
import { Json } from "../ui/json.js";

const PATH = "/v1/ava/events";
/** Jobs of an event that a row shows, and the panel. */
const MAX_SHOWN = 3;
const MAX_LISTED = 100;
const COMMAND = "ava events send order.paid --data '{\"number\": 7}'";

function jobLinks(ids, max) {
  const more = ids.length - max;
  const rest = more > 0 && html`<span class="muted">and ${more} more</span>`;
  return ids.length > 0 && html`${ids.slice(0, max).map(jobLink)}${rest}`;
}

const COLUMNS = [
  column(
    "Type",
    "minmax(9rem, 1.5fr)",
    ({ id, type, subject }) =>
      html`<a class="mono" href=${addressWith({ id })} data-event=${id}>${type}</a>
      ${subject && html`<small>${subject}</small>`}`,
  ),
  minor("Source", "minmax(8rem, 1.2fr)", ({ source }) => {
    const only = addressWith({ "filter[source]": source, cursor: null });
    return html`<a title="Show only this source" href=${only}>${source}</a>`;
  }),
  column("Jobs", "minmax(12rem, 1.5fr)", ({ job_ids: ids, woken_job_ids: woken }) => {
    const resumed = woken.length > 0 && html`woke ${jobLinks(woken, MAX_SHOWN)}`;
    return html`${jobLinks(ids, MAX_SHOWN)} ${resumed}`;
  }),
  column("Created", "8rem", (event) => when(event.created_at)),
];

function useFilter() {
  const [query, setQuery] = useQuery();
  const chosen = (name) => query.get(`filter[${name}]`);
  const set = (name, value) => setQuery({ [`filter[${name}]`]: value, cursor: null });
  const find = (event) => set("type", event.currentTarget.value.trim());
  const chip = (label, name) =>
    chosen(name) &&
    html`<${Chip} label=${label} value=${chosen(name)} onRemove=${() => set(name, null)} />`;
  const toolbar = html`<div class="row toolbar">
    <input type="search" name="type" aria-label="Event type" placeholder="Event type"
      value=${chosen("type") ?? ""} onchange=${find} />
    ${chip("Type", "type")} ${chip("Source", "source")}
  </div>`;
  const filter = { "filter[type]": chosen("type"), "filter[source]": chosen("source") };
  return { filter, toolbar };
}

export const open = recordsPage({
  title: "Events",
  path: PATH,
  noun: ["event", "events"],
  columns: () => COLUMNS,
  useFilter,
  empty: html`<${Empty} title="No events here." command=${COMMAND}>
    Clients send events, and hooks receive them. A subscription starts a job for each that matches.
  <//>`,
  create: openForm,
  label: "Send an event",
  describe: ({ type }) => ({ title: type }),
  content: (event) => html`<${Content} event=${event} />`,
});

function Content({ event }) {
  const refusal = ({ subscription_id: id, reason }) => html`<p class="error" key=${id}>
    <a href=${`#/subscriptions?id=${id}`}>${id}</a> started no job: ${reason}
  </p>`;
  const part = (title, value) =>
    Object.keys(value ?? {}).length > 0 &&
    html`<h3>${title}</h3><${Json} value=${value} name=${title} />`;
  const facts = [
    ["Source", event.source],
    ["Subject", event.subject],
    ["Sender's id", event.source_id],
    ["Happened", exact(event.time)],
    ["Created", exact(event.created_at)],
    ["Jobs", jobLinks(event.job_ids, MAX_LISTED)],
    ["Woken jobs", jobLinks(event.woken_job_ids, MAX_LISTED)],
    ["Still to start", event.more_count > 0 && counted(event.more_count, "job")],
  ];
  return html`
    <${Facts} items=${facts} />
    ${event.refused.map(refusal)}
    <h3>Data</h3>
    <${Json} value=${event.data} isHidden=${event.payload_hidden} name="Data" />
    ${part("Headers", event.headers)} ${part("Extensions", event.extensions)}
  `;
}

function openForm(done) {
  ask({
    title: "Send an event",
    action: "Send",
    text: "It starts a job for each subscription that it matches, and resumes waiting jobs.",
    body: html`
      <${Input} label="Type" name="type" required maxlength="200"
        hint="Such as order.paid; the prefix ava. is reserved" />
      <${Input} label="Subject" name="subject" maxlength="200"
        hint="Optional, such as the id of an order" />
      <${TextArea} label="Data" name="data" value="{}" hint="Any JSON value" />
    `,
    async submit({ type, subject, data: text }) {
      const body = { type, data: readJson("Data", text), ...(subject && { subject }) };
      const { data } = await post(PATH, body);
      const jobs = data.job_ids.length + data.more_count;
      notify(`Sent. It started ${counted(jobs, "job")}.`);
      done();
    },
  });
}
