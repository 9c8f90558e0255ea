// Containments: the red button, its form with a rehearsal, and the banner while one is active.

import { post } from "./api.js";
import { counted, number } from "./format.js";
import { readCounts } from "./frame/counts.js";
import { ask, Button, CheckBox, Choice, html, Input, mayWrite, notify } from "./ui/index.js";
import { useRead, useState } from "./ui/index.js";

export const PATH = "/v1/ava/containments";
const RUNNING = [
  ["cancel", "Cancel them"],
  ["let_end", "Let them end"],
];
const TRIGGERS = [
  ["refuse", "Refuse them"],
  ["hold", "Accept and hold them"],
];
const ABOUT =
  "No further job of the scope starts anywhere. Waiting jobs are held, and continue once the " +
  "containment is lifted. A job must match all chosen parts.";

/** Return a scope in words. */
export const inWords = ({ tenant, all, tag, ...parts }) =>
  [
    all && "all tenants",
    tenant && "the whole tenant",
    ...Object.entries(parts).map(([name, value]) => value && `${name.split("_")[0]} ${value}`),
    tag && `tag ${tag.key}=${tag.value}`,
  ]
    .filter(Boolean)
    .join(", ");

/**
 * The red button of a record's page. `parts` are the scopes that it offers, the first one chosen.
 * @param {{ parts: Record<string, any>[], tenant?: string }} props
 */
export function Contain({ parts, tenant }) {
  if (!mayWrite()) return null;
  const open = () => {
    askToContain(parts, tenant);
  };
  return html`<${Button} kind="danger" icon="stop" onclick=${open}>Contain …<//>`;
}

/** Open the form of a containment; the page of the new one follows. */
export function askToContain(parts, tenant = undefined) {
  const chosen = { current: parts[0] };
  ask({
    title: "Contain jobs",
    action: "Contain",
    kind: "danger",
    text: ABOUT,
    body: html`
      <${Scope} ...${{ parts, chosen, tenant }} />
      <${Input} label="Reason" name="reason" required maxlength="500" />
      <div class="row">
        <${Choice} label="Running jobs" name="running" value="cancel" options=${RUNNING} />
        <${Choice} label="New triggers" name="triggers" value="refuse" options=${TRIGGERS} />
        <${Input} label="Ends after" name="ends" type="number" min="1" max="31622400"
          hint="seconds; empty: when it is lifted" />
      </div>
    `,
    async submit({ reason, running, triggers, ends }) {
      const body = { scope: chosen.current, reason, running, triggers };
      if (ends) body.ends_in_seconds = Number(ends);
      const { data } = await post(PATH, body, { tenant });
      notify(`${data.id} is active.`);
      readCounts();
      location.href = `${tenant ? `/?tenant=${tenant}` : ""}#/containments?id=${data.id}`;
    },
  });
}

/** The parts to choose from, and what a containment of the chosen ones would hold and stop now. */
function Scope({ parts, chosen, tenant }) {
  const [places, setPlaces] = useState([0]);
  const scope = Object.assign({}, ...places.map((place) => parts[place]));
  chosen.current = scope;
  const rehearse = async (signal) => {
    if (!places.length) return "Choose at least one part.";
    const body = { scope, reason: "rehearsal", dry_run: true };
    const { data } = await post(PATH, body, { signal, tenant });
    const { held_count: held, running_count: running } = data;
    return `Now it would hold ${number(held)} and stop ${counted(running, "job")}.`;
  };
  const { value, error } = useRead(rehearse, [places.join()]);
  const toggle = (place) => (event) => {
    const others = places.filter((each) => each !== place);
    setPlaces(event.currentTarget.checked ? [...others, place] : others);
  };
  const part = (each, place) => html`<${CheckBox} key=${place} label=${inWords(each)}
    checked=${places.includes(place)} onchange=${toggle(place)} />`;
  return html`<fieldset class="events"><legend>Scope</legend>${parts.map(part)}</fieldset>
    <p role="status">${error?.message ?? value ?? "Counting …"}</p>`;
}

/** The banner of the frame while a containment is active. */
export function Banner({ of }) {
  if (!of) return null;
  const { newest, count, isMore } = of;
  const others = count > 1 ? ` and ${number(count - 1)}${isMore ? " or more" : ""} others` : "";
  const state = newest.complete_at ? "complete" : `${number(newest.running_count)} still running`;
  return html`<p class="contained" role="status">
    Contained: ${inWords(newest.scope)}${others} (${newest.reason}).
    ${` ${number(newest.held_count)} held, ${state}. `}
    <a href=${`#/containments?id=${newest.id}`}>Show</a>
  </p>`;
}
