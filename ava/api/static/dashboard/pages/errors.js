// Errors: groups of failed jobs with one cause, each with its failures by day.

import { post } from "../api.js";
import { counted, dayOf, iso, number, titled } from "../format.js";
import { DAYS, perDay } from "../record_facts.js";
import { column, exact, Facts, minor, numeric } from "../records_page.js";
import { recordsPage, state, titles, useTabs, when, workerLink } from "../records_page.js";
import { addressWith, ask, Button, Chip, Empty, html, mayWrite, notify } from "../ui/index.js";
import { useQuery } from "../ui/index.js";

const PATH = "/v1/ava/errors";
const DAY_MS = 24 * 3600 * 1000;
const HEIGHT = 24;
const STATES = titles(["open", "resolved", "ignored", "all"]);
/** What can be done with a group by its status, and what is said then. */
const ACTIONS = { open: ["resolve", "ignore"], resolved: ["reopen"], ignored: ["reopen"] };
const DONE = { resolve: "resolved", ignore: "ignored", reopen: "open again" };
const ABOUT_RETRY =
  "Each failed job of this error that is still stored is triggered again as a new job, " +
  "up to the newest 10,000.";
const WORKER = "filter[worker_id]";

function useFilter() {
  const [query, setQuery] = useQuery();
  const [status, tabs] = useTabs("Errors by status", "status", STATES);
  const worker = query.get(WORKER);
  const remove = () => setQuery({ [WORKER]: null, cursor: null });
  const toolbar = html`<div class="row between toolbar">
    ${tabs} ${worker && html`<${Chip} label="Worker" value=${worker} onRemove=${remove} />`}
  </div>`;
  const filter = { "filter[status]": status === "all" ? null : status, [WORKER]: worker };
  return { filter, toolbar };
}

const columns = (reload) => [
  column(
    "Error",
    "minmax(11rem, 3fr)",
    ({ id, kind, message, variants, worker_id: worker }) => html`
      <a href=${addressWith({ id })} data-error=${id}>${kind}</a>
      <span class="error clamp">${variants?.join(" · ") || message || "(no message)"}</span>
      <small class="mono">${worker}</small>`,
  ),
  { ...state("7rem", ({ status }) => status), isMinor: true },
  numeric("Jobs", ({ count }) => `${number(count)} failed`, "6rem"),
  minor("30 days", "9rem", ({ daily }) => html`<${Days} daily=${daily} />`),
  minor("Last", "9rem", (group) => when(group.last_seen_at)),
  minor("", "12.5rem", (group) => {
    return mayWrite() && html`<div class="row">${statusButtons(group, reload)}</div>`;
  }),
];

const statusButtons = (group, reload) =>
  ACTIONS[group.status].map((action) => {
    const act = async () => {
      await post(`${PATH}/${encodeURIComponent(group.id)}/${action}`);
      notify(`${group.kind}: ${DONE[action]}.`);
      reload();
    };
    return html`<${Button} key=${action} onclick=${act}>${titled(action)}<//>`;
  });

export const open = recordsPage({
  title: "Errors",
  path: PATH,
  noun: ["error", "errors"],
  columns,
  useFilter,
  empty: html`<${Empty} title="No errors with this status.">
    Jobs that fail with the same cause are grouped into one error.
  <//>`,
  describe: ({ kind, status }) => ({ title: kind, state: status }),
  actions: (group, changed) => html`
    ${statusButtons(group, changed)}
    <${Button} icon="retry" onclick=${() => openRetry(group)}>Retry all …<//>
  `,
  content: (group) => html`<${Content} group=${group} />`,
});

/** The failed jobs of each day as bars; a day without any has none. */
function Days({ daily }) {
  const values = perDay(daily);
  const most = Math.max(1, ...values);
  const bar = (jobs, place) => {
    const tall = Math.max(2, (HEIGHT * jobs) / most);
    const day = dayOf(iso(Date.now() - (DAYS - place) * DAY_MS));
    return html`<rect key=${place} x=${place * 4} y=${HEIGHT - tall} width="3" height=${tall}
      class="bar failed"><title>${`${day}: ${number(jobs)} failed`}</title></rect>`;
  };
  const label = `Failed jobs of each of the last ${DAYS} days, at most ${number(most)}`;
  const box = `0 0 ${4 * DAYS + 4} ${HEIGHT}`;
  return html`<svg class="spark" viewBox=${box} preserveAspectRatio="none" role="img"
    aria-label=${label}>${values.map((jobs, place) => jobs > 0 && bar(jobs, place))}</svg>`;
}

function Content({ group }) {
  const { id, worker_id: worker, message, variants, sample_job_id: sample, count } = group;
  const jobs = `#/jobs?${new URLSearchParams({ "filter[error_id]": id })}`;
  const facts = [
    ["Worker", workerLink(worker)],
    ["Failed", `${number(count)} in ${DAYS} days`],
    ["First", exact(group.first_seen_at)],
    ["Last", exact(group.last_seen_at)],
  ];
  return html`
    ${(variants ?? [message]).map((each) => html`<p class="error">${each || "(no message)"}</p>`)}
    <p class="row">
      <a class="button" href=${jobs}>Its jobs</a>
      <a class="button" href=${`#/jobs/${sample}`}>Last job</a>
      <a class="button" href=${addressWith({ [WORKER]: worker, cursor: null })}>Of this worker</a>
    </p>
    <${Facts} items=${facts} />
    <${Days} daily=${group.daily} />
  `;
}

function openRetry(group) {
  ask({
    title: `Retry ${group.kind}`,
    text: ABOUT_RETRY,
    action: "Retry all",
    async submit() {
      const { data } = await post(`${PATH}/${encodeURIComponent(group.id)}/retry`);
      const isDone = data.state === "done";
      notify(
        isDone
          ? `Retried ${counted(data.done, "job")}.`
          : `Retrying ${counted(data.total, "job")}.`,
      );
    },
  });
}
