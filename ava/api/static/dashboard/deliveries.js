// The deliveries of a hook (in) or a webhook (out): a list with filters, and the content of each.

import { post } from "./api.js";
import { bytes, counted, iso, titled, typedMoment } from "./format.js";
import { aboutReceived, eventName, lastRequest } from "./record_facts.js";
import { jobLink, titles, when } from "./records_page.js";
import { ask, Button, Choice, Empty, html, Input, mayWrite } from "./ui/index.js";
import { MomentField, notify, Pill, useApi, useState } from "./ui/index.js";
import { Json } from "./ui/json.js";

const SHOWN = "20";
const DAY_MS = 24 * 3600 * 1000;
const ALL = ["", "All"];

/** What differs between the directions: the verb, the statuses, and those that can be repeated. */
export const RECEIVED = {
  verb: "replay",
  statuses: ["accepted", "duplicate", "refused", "skipped"],
  repeatable: ["refused", "accepted", "skipped"],
};
export const SENT = {
  verb: "redeliver",
  statuses: ["pending", "delivered", "abandoned"],
  repeatable: ["abandoned", "delivered"],
};

/**
 * The newest deliveries of the hook or webhook at `path`.
 * @param {object} props
 * @param {typeof SENT} props.kind
 * @param {string} props.path
 * @param {string[]} [props.types] event types to choose from; without it one is typed
 * @param {(newest: any[]) => string} [props.summary] a sentence about the newest of any kind
 */
export function Deliveries({ kind, path, types, summary }) {
  const [status, setStatus] = useState("");
  const [type, setType] = useState("");
  const list = `${path}/deliveries`;
  const query = { per_page: SHOWN, "filter[status]": status, "filter[event_type]": type };
  const { data, reload } = useApi(list, { query, every: 3 });
  const isFiltered = Boolean(status || type);
  const isBoth = summary && isFiltered;
  const any = useApi(isBoth ? list : null, { query: { per_page: SHOWN }, every: 3 });
  const newest = isFiltered ? any.data : data;
  const many = () => askForMany(list, kind, { status, type, types }, reload);
  const none = isFiltered ? "No deliveries match." : "No deliveries yet.";
  const line = (delivery) =>
    html`<${Delivery} key=${delivery.id} ...${{ delivery, list, kind, reload }} />`;
  return html`
    <div class="row between">
      <h3>Deliveries</h3>
      ${mayWrite() && html`<${Button} onclick=${many}>${titled(kind.verb)} many …<//>`}
    </div>
    ${summary && newest && html`<p class="health">${summary(newest)}</p>`}
    <div class="row">
      <${Choice} label="Status" name="status" value=${status} onchange=${setStatus}
        options=${[ALL, ...titles(kind.statuses)]} />
      ${typeField(types, type, setType)}
    </div>
    ${data?.length === 0 && html`<${Empty} title=${none} />`}
    <div class="deliveries">${data?.map(line)}</div>
  `;
}

/** A choice of the known event types, or a field for one. */
function typeField(types, value, onchange = (_) => {}) {
  const options = types && [ALL, ...types.map((name) => [name, name])];
  const props = { label: "Event type", name: "event_type", value };
  const change = (event) => onchange(event.currentTarget.value);
  return types
    ? html`<${Choice} ...${props} options=${options} onchange=${onchange} />`
    : html`<${Input} ...${props} placeholder="All" onchange=${change} />`;
}

/** One delivery as a line; opened, its jobs, its content and the button that repeats it. */
function Delivery({ delivery, list, kind, reload }) {
  const [isOpen, setOpen] = useState(false);
  const isIn = delivery.direction === "in";
  const toggle = (event) => setOpen(event.currentTarget.open);
  return html`<details class="delivery" data-delivery=${delivery.id} ontoggle=${toggle}>
    <summary>
      <${Pill} state=${delivery.status} />
      <span class="mono">${eventName(delivery.event_type)}</span>
      <span class="muted">${isIn ? String(delivery.response_status) : lastRequest(delivery)}</span>
      ${when(delivery.created_at)}
    </summary>
    ${isOpen && html`<${Content} ...${{ delivery, list, kind, reload, isIn }} />`}
  </details>`;
}

function Content({ delivery, list, kind, reload, isIn }) {
  const path = `${list}/${encodeURIComponent(delivery.id)}`;
  const { data } = useApi(path);
  const again = async () => {
    const { data: repeated } = await post(`${path}/${kind.verb}`);
    const jobs = repeated.job_ids.length;
    notify(isIn ? `Replayed: ${counted(jobs, "job")}.` : "Delivery queued again.");
    reload();
  };
  const canRepeat = mayWrite() && delivery.status !== "pending";
  const jobs = delivery.job_ids.slice(0, 5);
  return html`
    <div class="row between">
      <span>${isIn && aboutReceived(delivery)}</span>
      ${canRepeat && html`<${Button} icon="retry" onclick=${again}>${titled(kind.verb)}<//>`}
    </div>
    ${jobs.length > 0 && html`<p class="row">Jobs ${jobs.map(jobLink)}</p>`}
    <h4>Body</h4>
    ${data && html`<${Body} delivery=${data} />`}
    ${
      isIn
        ? html`<h4>Headers</h4><${Json} value=${delivery.headers} name="Headers" />`
        : html`<h4>Responses</h4>${(delivery.attempts ?? []).map(response)}`
    }
  `;
}

function Body({ delivery: { body, body_bytes: size } }) {
  if (body === null) {
    return html`<p class="muted">The body is not stored, or your role may not see it.</p>`;
  }
  try {
    return html`<${Json} value=${JSON.parse(body)} name="Body" />`;
  } catch {
    return html`<p class="muted">${bytes(size)}</p><pre class="json" tabindex="0">${body}</pre>`;
  }
}

const response = ({ number: count, status, error, at, answer }) => html`<p key=${count}>
  <span class="muted">${`${count}. `}</span>${error ?? `status ${status}`} ${when(at)}
  ${answer && html`<pre>${answer}</pre>`}
</p>`;

const ABOUT = {
  redeliver: "Each matching delivery is sent again with the same id and body.",
  replay:
    "Each delivery is matched with the current subscriptions. Duplicates and earlier replays are " +
    "skipped.",
};

/** Repeat the deliveries of a time range. The filters of the list are chosen at first. */
function askForMany(list, kind, { status, type, types }, reload) {
  const { verb, repeatable } = kind;
  const isSent = kind === SENT;
  const chosen = repeatable.includes(status) ? status : repeatable[0];
  const yesterday = iso(Date.now() - DAY_MS);
  ask({
    title: `${titled(verb)} deliveries?`,
    action: isSent ? "Send again" : "Replay",
    text: ABOUT[verb],
    body: html`
      <${Choice} label="Status" name="status" value=${chosen} options=${titles(repeatable)} />
      ${typeField(types, type)}
      <${MomentField} label="Created since" name="since" value=${yesterday} required />
      <${MomentField} label="Created before" name="until" hint="Empty: until now" />
    `,
    async submit({ since, until, status: of, event_type: name }) {
      const body = { since: typedMoment(since), status: of };
      if (until) body.until = typedMoment(until);
      if (name) body.event_type = name;
      const { data } = await post(`${list}/${verb}`, body);
      notify(
        `${counted(data.total, "delivery", "deliveries")} ${isSent ? "queued again" : "replayed"}.`,
      );
      reload();
    },
  });
}
