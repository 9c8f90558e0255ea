// Containments: what is stopped, with live counts, where it still runs, and how it is lifted.

import { get, post, save, saveBlob } from "../api.js";
import { askToContain, inWords, PATH } from "../contain.js";
import { actorOf, number } from "../format.js";
import { readCounts } from "../frame/counts.js";
import { column, exact, Facts, jobLink, minor, numeric } from "../records_page.js";
import { recordsPage, state, titles, useTabs, when } from "../records_page.js";
import { addressWith, ask, Button, Choice, Empty, html, Id, Input } from "../ui/index.js";
import { notify, Pill, useApi, Tiles } from "../ui/index.js";

const TABS = titles(["active", "lifted", "ended", "all"]);
const JOBS = "20";
const pathOf = ({ id }) => `${PATH}/${encodeURIComponent(id)}`;
/** What can be contained, and how its scope is written. */
const KINDS = {
  tenant: ["The whole tenant", () => ({ tenant: true })],
  worker: ["A worker", (id) => ({ worker_id: id })],
  key: ["A key, with all keys that it created", (id) => ({ key_id: id })],
  user: ["A user", (id) => ({ user_id: id })],
  tree: ["A tree of jobs", (id) => ({ tree_id: id })],
  tag: ["A tag, key=value", tagOf],
  hook: ["A hook", (id) => ({ hook_id: id })],
  source: ["A source of events", (source) => ({ source })],
};

function tagOf(text) {
  const [, key, value] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (!key) throw new Error("Write the tag as key=value.");
  return { tag: { key, value } };
}

function useFilter() {
  const [current, tabs] = useTabs("Containments by state", "state", TABS);
  const filter = { "filter[state]": current === "all" ? null : current };
  return { filter, toolbar: html`<div class="toolbar">${tabs}</div>` };
}

const COLUMNS = [
  column(
    "Scope",
    "minmax(12rem, 2fr)",
    ({ id, scope, reason }) => html`
      <a href=${addressWith({ id })} data-containment=${id}>${inWords(scope)}</a>
      <small>${reason}</small>`,
  ),
  state("7rem", (found) => found.state),
  numeric("Held", ({ held_count: count }) => number(count), "5rem"),
  column("Stopped", "5rem", ({ stopped_count: count }) => number(count), {
    numeric: true,
    isMinor: true,
  }),
  numeric("Running", ({ running_count: count }) => number(count), "5rem"),
  minor("Complete", "8rem", ({ complete_at: at }) => when(at)),
];

export const open = recordsPage({
  title: "Containments",
  path: PATH,
  noun: ["containment", "containments"],
  columns: () => COLUMNS,
  useFilter,
  empty: html`<${Empty} title="Nothing is contained here." command="ava contain --worker wkr_agent">
    A containment stops all jobs of a worker, a tag, a tree or the tenant.
  <//>`,
  create: () => openForm(),
  label: "Contain …",
  describe: ({ scope, state: name }) => ({ title: inWords(scope), state: name }),
  actions: (found, changed) => html`
    ${
      (found.complete_at || found.lifted_at) &&
      html`<${Button} icon="download" onclick=${() => saveProofs(found)}>Proof<//>`
    }
    ${
      found.state === "active" &&
      html`<${Button} kind="danger" onclick=${() => lift(found, changed)}>Lift …<//>`
    }
  `,
  content: (found) => html`<${Content} found=${found} />`,
});

function Content({ found }) {
  const { running, complete_at: complete, lifted_by: lifter } = found;
  const tiles = [
    ["Held", number(found.held_count), "wait until it is lifted"],
    ["Stopped", number(found.stopped_count), "were asked to stop"],
    ["Still running", number(found.running_count), complete ? "none can write" : "not complete"],
  ];
  const facts = [
    ["Reason", found.reason],
    ["By", found.by ? actorOf(found.by) : "the platform"],
    ["New triggers", found.triggers === "hold" ? "accepted and held" : "refused"],
    ["Effective", exact(found.effective_at) ?? "not yet: runs are being checked"],
    ["Complete", exact(complete) ?? "not yet: runs can still write"],
    ["Ends", exact(found.ends_at)],
    ["Lifted", exact(found.lifted_at)],
    ["Lifted by", lifter && actorOf(lifter)],
  ];
  const run = ({ job_id: job, node, since, lease_ends_at: lease }) => html`<li key=${job}>
    ${jobLink(job)} on <span class="mono">${node ?? "a pull worker"}</span> ${when(since)}
    ${lease && html`<p class="bad">Unreachable; its lease ends ${when(lease)}</p>`}
  </li>`;
  return html`
    <${Tiles} items=${tiles} />
    <${Facts} items=${facts} />
    ${running.length > 0 && html`<h3>Where it still runs</h3>`}
    <ul class="plain">${running.map(run)}</ul>
    <${Jobs} found=${found} />
  `;
}

/** The newest jobs that it holds or has asked to stop. */
function Jobs({ found }) {
  const { data, pagination } = useApi(`${pathOf(found)}/jobs`, {
    query: { per_page: JOBS },
    every: 5,
  });
  const line = ({ id, worker_id: worker, status }) => html`<li key=${id}>
    <${Pill} state=${status} /> <${Id} id=${id} href=${`#/jobs/${id}`} /> ${worker}
  </li>`;
  const download = () => save(`${pathOf(found)}/jobs/export`, `${found.id}.ndjson`);
  return html`<h3>Jobs</h3>
    ${data?.length === 0 && html`<p class="muted">It holds none now.</p>`}
    <ul class="plain">${data?.map(line)}</ul>
    ${pagination?.has_more && html`<p class="muted">These are the newest ${data.length}.</p>`}
    ${
      data?.length > 0 &&
      html`<${Button} kind="quiet" icon="download" onclick=${download}>Download all<//>`
    }`;
}

/** Save the signed records, each as the file that `ava containments verify` reads. */
async function saveProofs(found) {
  const { data } = await get(`${pathOf(found)}/proof`);
  for (const [name, jws] of Object.entries(data)) {
    if (jws) saveBlob(new Blob([`${jws}\n`]), `${found.id}.${name}.jws`);
  }
}

const HELD = [
  ["release", "Release them, in their order"],
  ["cancel", "Cancel them"],
];

function lift(found, changed) {
  ask({
    title: `Lift the containment of ${inWords(found.scope)}?`,
    action: "Lift",
    kind: "danger",
    text: "New triggers are accepted at once. Stops that were sent stay in effect.",
    body: html`<${Choice} label="Held jobs" name="held" value="release" options=${HELD} />`,
    async submit({ held }) {
      await post(`${pathOf(found)}/lift`, { held });
      notify(`${found.id} is lifted.`);
      changed();
      readCounts();
    },
  });
}

/** Ask what to contain; the form with the rehearsal follows. */
async function openForm() {
  const options = Object.entries(KINDS).map(([key, [title]]) => [key, title]);
  const scope = await ask({
    title: "What shall be contained?",
    action: "Next",
    body: html`
      <${Choice} label="What" name="kind" value="worker" options=${options} />
      <${Input} label="Which" name="which" spellcheck=${false}
        hint="An id such as wkr_agent; empty for the whole tenant" />
    `,
    submit: ({ kind, which }) => KINDS[kind][1](which.trim()),
  });
  if (scope) askToContain([scope]);
}
