// A queue: its jobs of the tenant over time, its workers, and its pause.

import { number, span } from "../format.js";
import { RangePicker, SeriesCharts } from "../series_charts.js";
import { Card, Empty, Heading, html, page, Pill, useApi, useSession, Tiles } from "../ui/index.js";
import { PauseLine, Pauses } from "../ui/pauses.js";
import { stateOf } from "./worker.js";

export const PATH = "/v1/ava/queues";
const PAUSE = "All tenants' jobs in this queue are accepted but wait. Running jobs continue.";

export const open = page(QueuePage);

export const QueuePause = ({ record, reload }) => html`<${Pauses} record=${record}
  path=${`${PATH}/${encodeURIComponent(record.queue)}`} name=${record.queue} text=${PAUSE}
  onChange=${reload} />`;

function QueuePage({ rest: [queue] }) {
  document.title = `${queue} · Queues · AVA Jobs`;
  const { data, reload } = useApi(PATH, { every: 3 });
  const { isOperator } = useSession();
  if (!data) return null;
  const found = data.queues.find((each) => each.queue === queue);
  if (!found) {
    return html`<h1>No such queue</h1>
      <p>No worker that this tenant can use has the queue ${queue}.</p>`;
  }
  const pause = isOperator && html`<${QueuePause} record=${found} reload=${reload} />`;
  const actions = html`<${RangePicker} />${pause}`;
  return html`
    <${Heading} title=${queue} crumbs=${[["Queues", "#/queues"]]} actions=${actions}>
      ${found.paused && html`<${Pill} state="paused" />`}
    <//>
    <${PauseLine} paused=${found.paused} />
    <${Tiles} items=${tilesOf(found)} />
    <${SeriesCharts} filters=${{ "filter[queue]": queue }} jobs=${null} />
    <${Workers} queue=${queue} />
  `;
}

const tilesOf = ({ queued, running, waiting, oldest_seconds: oldest }) => [
  ["Queued", number(queued), "have not started"],
  ["Running", number(running), "of this tenant"],
  ["Suspended", number(waiting), "wait for jobs, events or a time"],
  ["Oldest startable", oldest === null ? "–" : span(oldest * 1000), "since it was startable"],
];

function Workers({ queue }) {
  const { data } = useApi("/v1/ava/workers", { query: { per_page: "100" }, every: 10 });
  const own = (data ?? []).filter((worker) => worker.queue === queue);
  const limit = ({ max_running: max }) =>
    max === null ? "no limit" : `at most ${number(max)} running`;
  const line = (worker) => html`<li key=${worker.id}>
    <a href=${`#/workers/${worker.id}`}>${worker.name}</a>${" "}
    <${Pill} state=${stateOf(worker)} />${" "}<small>${limit(worker)}</small>
  </li>`;
  const none = html`<${Empty} title="None of the first 100 workers has this queue." />`;
  return html`<${Card} title="Workers" class="wide">
    ${data && own.length === 0 && none}
    <ul class="plain">${own.map(line)}</ul>
  <//>`;
}
