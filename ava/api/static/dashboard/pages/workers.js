// Workers: definitions for new jobs, with their state, backlog and settings.

import { post } from "../api.js";
import { number, span } from "../format.js";
import { column, numeric, state, titles, useTabs } from "../records_page.js";
import { RunButton } from "../trigger.js";
import { ask, Button, Chip, Empty, Heading, html, Input, mayWrite, page } from "../ui/index.js";
import { notify, Pager, Table, useApi, useQuery } from "../ui/index.js";
import { stateOf } from "./worker.js";

/** The queued and the running jobs of one worker are counted up to here. */
const MAX_COUNTED = 10_000;
/** @type {[string, string][]} */
const STATES = [["", "All"], ...titles(["active", "paused", "deprecated"])];

export const open = page(Workers);

function Workers() {
  const [query, setQuery] = useQuery();
  const [status, tabs] = useTabs("Workers by status", "status", STATES);
  const text = query.get("q") ?? "";
  const cursor = query.get("cursor");
  const asked = { "filter[status]": status, q: text, per_page: "100", cursor };
  const { data, pagination, reload } = useApi("/v1/ava/workers", { query: asked, every: 2 });
  const counts = useApi("/v1/ava/queues", { every: 2 }).data?.by_worker ?? [];
  const countOf = new Map(counts.map((count) => [count.worker_id, count]));
  const find = (q) => setQuery({ q, cursor: null });
  const search = (event) => find(event.currentTarget.value.trim());
  const create =
    mayWrite() &&
    html`<${Button} kind="primary" icon="plus" onclick=${() => openForm(reload)}>New worker<//>`;
  return html`
    <${Heading} title="Workers" actions=${create} />
    <div class="row between toolbar">
      ${tabs}
      <input type="search" name="q" aria-label="Find workers" placeholder="Name or id"
        value=${text} onchange=${search} />
    </div>
    ${text && html`<${Chip} label="Name" value=${text} onRemove=${() => find("")} />`}
    <${Table} label="Worker definitions" columns=${columnsOf(countOf)} rows=${data}
      onOpen=${(worker) => (location.hash = pageOf(worker))}
      empty=${status || text ? html`<${Empty} title="No workers match this filter." />` : NONE} />
    <${Pager} pagination=${pagination} noun=${["worker", "workers"]} />
  `;
}

const NONE = html`<${Empty} title="No workers yet." command="ava start node">
  A node registers its handlers as workers when it starts.
<//>`;

const pageOf = (worker) => `#/workers/${worker.id}`;

/** A number of jobs; at the bound up to which the API counts them, it is a lower bound. */
const counted = (count = 0) => `${number(count)}${count >= MAX_COUNTED ? " or more" : ""}`;

const columnsOf = (countOf) => [
  column(
    "Worker",
    "minmax(14rem, 2.4fr)",
    (worker) => html`<a href=${pageOf(worker)} data-worker=${worker.id}>${worker.name}</a>
      <small class="mono">${worker.id}</small>
      ${worker.description && html`<small class="clamp">${worker.description}</small>`}`,
  ),
  state("7.5rem", stateOf),
  column("Queue", "minmax(5rem, 1fr)", ({ queue }) => {
    return html`<a href=${`#/queues/${encodeURIComponent(queue)}`}>${queue}</a>`;
  }),
  numeric("Queued", ({ id }) => counted(countOf.get(id)?.queued)),
  numeric("Running", ({ id }) => counted(countOf.get(id)?.running)),
  numeric("Timeout", (worker) => span(worker.timeout_seconds * 1000)),
  numeric("Retries", (worker) => number(worker.max_retries)),
  column("", "5.5rem", ({ id, status }) => {
    return status !== "deprecated" && html`<${RunButton} workerId=${id} />`;
  }),
];

const ABOUT_PULL =
  "A pull worker: any program with an API key of role worker claims its runs over HTTP. " +
  "Python handlers need no form, because their nodes register them.";

/** A worker of the tenant's own, whose runs are claimed over HTTP. */
function openForm(reload) {
  ask({
    title: "New worker",
    action: "Create",
    text: ABOUT_PULL,
    body: html`
      <${Input} label="Slug" name="slug" required pattern="[a-z][a-z0-9_]{0,58}"
        hint="The id becomes wkr_ followed by the slug." />
      <${Input} label="Name" name="name" maxlength="200" hint="Empty: same as the slug." />
      <${Input} label="Timeout in seconds" name="timeout" value="300" type="number" min="1"
        max="3600" required />
      <${Input} label="Retries" name="retries" value="0" type="number" min="0" max="25" required />
    `,
    async submit({ slug, name, timeout, retries }) {
      const retry = { max: Number(retries) };
      const body = { slug, runtime: "pull", timeout_seconds: Number(timeout), retry };
      await post("/v1/ava/workers", { ...body, name: name || null });
      notify(`Created wkr_${slug}. Now create an API key of role worker for it.`);
      reload();
    },
  });
}
