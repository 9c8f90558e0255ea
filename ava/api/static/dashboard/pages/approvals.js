// Approvals: the inbox of decisions that jobs wait for, oldest first, and the decided ones.

import { post } from "../api.js";
import { actorOf, titled } from "../format.js";
import { readCounts } from "../frame/counts.js";
import { InputEditor } from "../input_form.js";
import { column, exact, Facts, jobLink, minor } from "../records_page.js";
import { recordsPage, state, titles, useTabs, when, workerLink } from "../records_page.js";
import { ROLES } from "../session.js";
import { addressWith, ask, Button, Empty, html, Input, notify } from "../ui/index.js";
import { useApi, useSession } from "../ui/index.js";
import { Json } from "../ui/json.js";

const PATH = "/v1/ava/approvals";
const STATES = ["pending", "approved", "denied", "expired", "cancelled", "all"];
/** @type {[string, string][]} */
const TABS = [["mine", "For you"], ...titles(STATES)];
const titleOf = ({ title, name, id }) => title || name || id;

function useFilter() {
  const [status, tabs] = useTabs("Approvals by status", "status", TABS);
  const isMine = status === "mine";
  const filter = {
    "filter[status]": isMine ? "pending" : status === "all" ? null : status,
    "filter[mine]": isMine && "true",
  };
  return { filter, toolbar: html`<div class="toolbar">${tabs}</div>` };
}

const columns = (reload) => [
  column(
    "Request",
    "minmax(12rem, 2.4fr)",
    (approval) => html`
      <a href=${addressWith({ id: approval.id })} data-approval=${approval.id}>
        ${titleOf(approval)}</a>
      <small class="mono">${approval.worker_id}</small>`,
  ),
  state("7.5rem", ({ status }) => status),
  column("Requested", "9rem", ({ requested_at: at }) => when(at)),
  minor("Expires", "9rem", ({ status, expires_at: at }) => when(status === "pending" ? at : null)),
  minor("", "14rem", (approval) => {
    return html`<div class="row"><${Decide} approval=${approval} changed=${reload} /></div>`;
  }),
];

export const open = recordsPage({
  title: "Approvals",
  path: PATH,
  noun: ["approval", "approvals"],
  columns,
  useFilter,
  empty: html`<${Empty} title="Nothing to decide here." command="ava approvals list">
    A job asks for a decision with <code>env.approve</code>, or because its worker requires one.
  <//>`,
  describe: (approval) => ({ title: titleOf(approval), state: approval.status }),
  content: (approval, changed) => html`<${Content} approval=${approval} changed=${changed} />`,
});

/** Only the API knows the persons behind the request, whom it refuses too. */
function mayDecide({ payload_hidden: isHidden, status, users, roles, decisions }, { user, role }) {
  if (status !== "pending" || isHidden || decisions.some(({ by }) => by.id === user)) return false;
  return users
    ? users.includes(user)
    : roles.some((lowest) => ROLES.indexOf(role) >= ROLES.indexOf(lowest));
}

/** The two buttons of a pending request. */
function Decide({ approval, changed }) {
  if (!mayDecide(approval, useSession())) return null;
  const button = (verb, kind, key) => html`<${Button} kind=${kind} aria-keyshortcuts=${key}
    title=${`${titled(verb)}: ${key}, then Enter`}
    onclick=${() => decide(approval, verb, kind, changed)}>${titled(verb)} …<//>`;
  return html`${button("approve", "primary", "a")}${button("deny", "danger", "d")}`;
}

function Content({ approval, changed }) {
  const { job_id: id, schema, decisions, users, roles, not_by: notBy, count } = approval;
  const path = `/v1/ava/jobs/${encodeURIComponent(id)}`;
  const { data: job } = useApi(path, { query: { fields: "origin,trigger" } });
  const others = notBy ? ", not the requester" : "";
  const people = count > 1 ? `${count} of ` : "";
  const facts = [
    ["Requested by", job && `${actorOf(job.origin)}, ${job.trigger}`],
    ["Reason", reasonOf(approval)],
    ["Job", [jobLink(id), " of ", workerLink(approval.worker_id)]],
    ["Decided by", `${people}${users?.join(", ") ?? `${roles.join(", ")} or above`}${others}`],
    ["Requested", exact(approval.requested_at)],
    ["Expires", approval.status === "pending" && exact(approval.expires_at)],
    ["Decided", exact(approval.decided_at)],
    ["Hash", html`<span class="mono">${approval.payload_hash}</span>`],
  ];
  const decision = ({ by, approved, comment, data, at }) => html`<li key=${by.id}>
    <${Said} approved=${approved} /> by <span class="mono">${actorOf(by)}</span> ${when(at)}
    ${comment && html`<p>${comment}</p>`}
    ${data !== null && html`<${Json} value=${data} name="Answer" />`}
  </li>`;
  return html`
    <div class="row"><${Decide} approval=${approval} changed=${changed} /></div>
    <h3>Content</h3>
    <${Payload} approval=${approval} />
    <${Facts} items=${facts} />
    ${schema && html`<h3>Schema of the answer</h3><${Json} value=${schema} name="Schema" />`}
    ${decisions.length > 0 && html`<h3>Decisions</h3>`}
    <ul class="plain">${decisions.map(decision)}</ul>
  `;
}

const Said = ({ approved }) => html`<strong>${approved ? "Approved" : "Denied"}</strong>`;
const Payload = ({ approval: { payload, payload_hidden: isHidden } }) =>
  html`<${Json} value=${payload} isHidden=${isHidden} name="Content" />`;

/** Why a person is asked: by the handler, or before the first start. */
const reasonOf = ({ name }) =>
  name === null
    ? "The job needs an approval before it starts."
    : `The handler calls env.approve(${JSON.stringify(name)}).`;

/**
 * Open the form of a decision. It shows the content whose hash it sends: another one is refused.
 * The first field has the focus, so that Enter sends it.
 */
function decide(approval, verb, kind, changed) {
  const { id, payload_hash: hash, schema } = approval;
  const editor = /** @type {{ current: any }} */ ({ current: null });
  const hasAnswer = verb === "approve" && schema;
  ask({
    title: `${titled(verb)}: ${titleOf(approval)}`,
    action: titled(verb),
    kind,
    body: html`
      ${hasAnswer && html`<${InputEditor} schema=${schema} editor=${editor} />`}
      <${Input} label="Comment" name="comment" maxlength="2000" hint="Optional" />
      <div class="decided"><${Payload} approval=${approval} /></div>
    `,
    async submit({ comment }) {
      const data = hasAnswer ? { data: editor.current.value() } : {};
      const body = { payload_hash: hash, comment: comment || null, ...data };
      try {
        await post(`${PATH}/${encodeURIComponent(id)}/${verb}`, body);
      } catch (error) {
        editor.current?.show(ofInput(error.fields ?? {}));
        throw error;
      }
      notify(`${titleOf(approval)}: ${verb === "approve" ? "approved" : "denied"}.`);
      changed();
      readCounts();
    },
  });
}

/** Return the faults of an answer at the fields of its form. */
const ofInput = (faults) =>
  Object.fromEntries(
    Object.entries(faults).map(([name, messages]) => [name.replace(/^data\b/, "input"), messages]),
  );
