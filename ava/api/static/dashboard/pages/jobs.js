// Jobs: a live list with the open job in a side panel. The address stores the whole view.

import { session } from "../api.js";
import { BulkBar, Operations, useOperations, useSelection } from "../bulk.js";
import { FilterBar, StatusTabs } from "../filter_bar.js";
import { full } from "../format.js";
import { barsOf, reportOf } from "../job_counts.js";
import { askedOf, FINAL, filtersOf, isSearched, titleOf } from "../job_filters.js";
import { Histogram } from "../job_histogram.js";
import { fieldsOf, JobTable } from "../job_table.js";
import { narrowed, ViewMenu, viewOf } from "../job_view.js";
import { RunButton } from "../trigger.js";
import { addressWith, Empty, Heading, html, page, Pager, Panel } from "../ui/index.js";
import { useApi, useEffect, useQuery, useState } from "../ui/index.js";

/** Jobs of a page unless the view has another number. */
const PER_PAGE = "25";
/** Seconds between two reads of the list; each search reads up to 20,000 jobs. */
const LIST_SECONDS = 2;
const SEARCH_SECONDS = 10;
const HISTOGRAM_SECONDS = 10;
const COMMAND = "ava jobs trigger wkr_echo --input '{}'";

export const open = page(JobsPage);

function JobsPage() {
  const [query, setQuery] = useQuery();
  const view = viewOf(query);
  const opened = query.get("job");
  const found = useApi("/v1/ava/jobs", {
    query: { per_page: view.perPage || PER_PAGE, fields: fieldsOf(view), ...askedOf(query) },
    every: isSearched(query) ? SEARCH_SECONDS : LIST_SECONDS,
    isRepeated: true,
  });
  const { data: jobs, pagination } = found;
  const selected = useSelection(query, jobs ?? []);
  const operations = useOperations(found.reload);
  useEffect(() => {
    document.title = titleOf(query);
  }, [String(query)]);
  // Other filters begin at their first page.
  const go = (changes) => setQuery({ ...changes, cursor: "", page: "" });
  // Moving through the rows while a job is open is one step of the history.
  const open = (job) => setQuery({ job: job.id }, { isReplaced: Boolean(opened) });
  const actions = html`<${ViewMenu} query=${query} setQuery=${setQuery} /><${RunButton} />`;
  const table = html`<${JobTable} jobs=${jobs} view=${opened ? narrowed(view) : view}
    selected=${selected.chosen} onSelect=${session.mayWrite ? selected.select : undefined}
    current=${opened} onOpen=${open} />`;
  return html`<${Heading} title="Jobs" actions=${actions} />
    <${StatusTabs} query=${query} go=${go} />
    <${FilterBar} query=${query} go=${go} />
    <${Bars} query=${query} />
    <${BulkBar} selected=${selected} query=${query} reload=${found.reload}
      onStart=${operations.add} />
    <${Operations} ...${operations} />
    ${jobs?.length === 0 ? html`<${Nothing} query=${query} pagination=${pagination} />` : table}
    <${Pager} pagination=${pagination} noun=${["job", "jobs"]} />
    ${opened && html`<${JobBeside} id=${opened} onClose=${() => setQuery({ job: "" })} />`}`;
}

/** The bars of ended jobs. Only the filters by worker, status and time have counts over time. */
function Bars({ query }) {
  const status = query.get("filter[status]");
  const worker = query.get("filter[worker_id]");
  const report = reportOf(query);
  const isShown = !status || FINAL.includes(status);
  const { data } = useApi(report.path, {
    query: report.query,
    every: HISTOGRAM_SECONDS,
    skip: !isShown,
  });
  if (!isShown) return null;
  const addressOf = (from, until) =>
    addressWith({
      "filter[completed_after]": from,
      "filter[completed_before]": until,
      "filter[created_after]": "",
      "filter[created_before]": "",
      ...{ last: "", cursor: "", page: "" },
    });
  return html`<${Histogram} bars=${barsOf(report, data)} unit=${report.span} status=${status}
    about=${`Ended jobs of ${worker ?? "all workers"}`} addressOf=${addressOf} />`;
}

/** The open job beside the list. Its module is loaded with the first job that is opened. */
function JobBeside({ id, onClose }) {
  const [JobPanel, setPanel] = useState(null);
  useEffect(() => {
    import("./job.js").then((module) => setPanel(() => module.JobPanel));
  }, []);
  return html`<${Panel} title=${id} href=${`#/jobs/${id}`} label="The open job" onClose=${onClose}>
    ${JobPanel && html`<${JobPanel} id=${id} />`}<//>`;
}

/** Why the list is empty, and the next step. */
function Nothing({ query, pagination }) {
  if (pagination.has_more) {
    const until = pagination.scanned_until;
    const searched = until ? `Searched back to ${full(until)}. ` : "";
    return html`<${Empty} title="None of the searched jobs match">
      ${searched}Continue with Older.<//>`;
  }
  if (filtersOf(query).length || query.has("cursor") || query.has("page")) {
    const clear = html`<a href="#/jobs">Clear the filter</a>`;
    return html`<${Empty} title="No jobs match this filter.">${clear}<//>`;
  }
  return html`<${Empty} title="No jobs yet." command=${COMMAND}>
    ${session.mayWrite ? "Create one with New job, or with this command:" : "Programs create them."}
    <//>`;
}
