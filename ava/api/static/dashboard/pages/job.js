// The page of one job, and its side panel next to a list.

import { get } from "../api.js";
import { short } from "../format.js";
import { pathOf } from "../job/data.js";
import { JobView } from "../job/view.js";
import { Empty, html, mount, useApi } from "../ui/index.js";

const TABS = ["payloads", "log", "runs", "tree", "record", "deliveries"];

/** Show the job whose id is `rest[0]`; `rest[1]` is the open tab. */
export async function open(main, { signal, rest: [id, tab], query }) {
  let first;
  try {
    first = (await get(pathOf(id), { signal })).data;
  } catch (error) {
    if (error.status !== 404) throw error;
    mount(main, html`<h1>No such job</h1><p>${error.message}</p>`, signal);
    return;
  }
  const onChange = (job) => {
    document.title = `${job.status} · ${job.worker_id} · ${short(job.id)} · AVA Jobs`;
  };
  const part = TABS.includes(tab) ? tab : undefined;
  const lineKey = query.get("line");
  mount(main, html`<${JobView} ...${{ first, tab: part, lineKey, onChange }} />`, signal);
}

/** A job beside a list; another id shows another job. */
export function JobPanel({ id }) {
  const { data, error } = useApi(pathOf(id));
  if (error?.status === 404) return html`<${Empty} title=${error.message} />`;
  if (data?.id !== id) return html`<p class="muted" role="status">Loading the job …</p>`;
  return html`<${JobView} key=${id} first=${data} isPanel=${true} />`;
}
