// Queues: the tenant's jobs in each queue, and the pauses of queues.

import { number, span } from "../format.js";
import { column, numeric } from "../records_page.js";
import { Empty, Heading, html, page, Pill, Table } from "../ui/index.js";
import { useApi, useSession } from "../ui/index.js";
import { PauseLine } from "../ui/pauses.js";
import { PATH, QueuePause } from "./queue.js";

const NONE = html`<${Empty} title="No worker uses a queue yet." command="ava start node" />`;

export const open = page(Queues);

function Queues() {
  const { isOperator } = useSession();
  const { data, reload } = useApi(PATH, { every: 3 });
  return html`
    <${Heading} title="Queues" />
    <p class="muted lead">Jobs of your tenant.</p>
    <${Table} label="Queues" columns=${columnsOf(isOperator, reload)} rows=${data?.queues ?? null}
      keyOf=${({ queue }) => queue} empty=${NONE} />
  `;
}

const columnsOf = (isOperator, reload) => [
  column("Queue", "minmax(10rem, 1.4fr)", ({ queue }) => {
    const href = `#/queues/${encodeURIComponent(queue)}`;
    return html`<a class="mono" href=${href} data-queue=${queue}>${queue}</a>`;
  }),
  column("State", "7rem", ({ paused }) => html`<${Pill} state=${paused ? "paused" : "active"} />`),
  numeric("Queued", ({ queued }) => number(queued)),
  numeric("Running", ({ running }) => number(running)),
  numeric("Suspended", ({ waiting }) => number(waiting)),
  numeric("Oldest startable", ({ oldest_seconds: seconds }) =>
    seconds === null ? "–" : span(seconds * 1000),
  ),
  column("Pause", "minmax(9rem, 1.6fr)", (record) => {
    const button = isOperator && html`<${QueuePause} record=${record} reload=${reload} />`;
    return html`<${PauseLine} paused=${record.paused} />${button}`;
  }),
];
