// A job in one screen: its head, its waterfall, and its parts in tabs. Its page and panels show it.

import { html, Tabs, useEffect, useState } from "../ui/index.js";
import { pathOf, useJob } from "./data.js";
import { Deliveries, Payloads, Record, Runs } from "./details.js";
import { Header } from "./header.js";
import { Log } from "./log.js";
import { Tree } from "./tree.js";
import { Waterfall } from "./waterfall.js";

/**
 * `first` is the record of the job, `tab` the part that is open at first, `lineKey` the line of the
 * log that is shown. `onChange(job)` is called with each state of its record.
 * @param {{ first: any, tab?: string, lineKey?: string | null, isPanel?: boolean,
 *   onChange?: (job: any) => void }} props
 */
export function JobView({ first, tab, lineKey, isPanel, onChange }) {
  const { job, parts, why, log, reload } = useJob(first);
  const usual = first.status === "completed" ? "payloads" : "log";
  const [current, setCurrent] = useState(tab ?? usual);
  const [line, setLine] = useState(lineKey);
  useEffect(() => onChange?.(job), [job]);
  const hrefOf = (key) => `#/jobs/${job.id}/log?line=${encodeURIComponent(key)}`;
  const select = (key, address = `#/jobs/${job.id}/${key}`) => {
    setCurrent(key);
    // The address of a list stays while its panel shows a job.
    if (!isPanel) history.replaceState(null, "", address);
  };
  const onLine = (key) => {
    setLine(key);
    select("log", hrefOf(key));
  };
  const items = [
    ["payloads", "Input and output"],
    ["log", "Log"],
    ["runs", "Runs", parts.runs.length],
    ...(job.tree_id ? [["tree", "Tree"]] : []),
    ["record", "Record"],
    ["deliveries", "Deliveries"],
  ];
  const path = pathOf(job.id);
  const partOf = {
    payloads: () => html`<${Payloads} job=${job} />`,
    log: () => html`<${Log} ...${{ job, log, lineKey: line, onLine, hrefOf }} />`,
    runs: () => html`<${Runs} job=${job} runs=${parts.runs} />`,
    tree: () => html`<${Tree} id=${job.id} path=${path} />`,
    record: () => html`<${Record} job=${job} />`,
    deliveries: () => html`<${Deliveries} path=${path} />`,
  }[current];
  return html`<div class=${isPanel ? "job in-panel" : "job"}>
    <${Header} ...${{ job, why, reload, isPanel }} />
    <${Waterfall} ...${{ job, parts, why, onLine }} />
    <${Tabs} label="Parts of the job" items=${items} current=${current} onSelect=${select}>
      <div class="job-part" key=${current} data-part=${current}>${partOf()}</div>
    <//>
  </div>`;
}
