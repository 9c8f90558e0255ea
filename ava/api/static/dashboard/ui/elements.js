// The small components: buttons, cards, states, times, ids, fields.

import { ago, full, lasted, moment, short } from "../format.js";
import { useClock } from "./data.js";
import { notify } from "./dialog.js";
import { Icon } from "./icons.js";
import { Boundary, cloneElement, html, useState } from "./preact.js";

/** @typedef {import("preact").ComponentChildren} Children */

/** Join class names; those that are false are left out. */
export const classes = (...names) => names.filter(Boolean).join(" ") || undefined;

/**
 * A button that runs `onclick`, one call at a time, and shows the message of an error. With an icon
 * alone, `title` is its name.
 * @param {{ onclick?: (event: Event) => any, kind?: "" | "primary" | "danger" | "quiet",
 *   icon?: string, class?: string,
 *   disabled?: boolean, title?: string, children?: Children, [attribute: string]: any }} props
 */
export function Button({ onclick, kind, icon, disabled, children, class: name, ...rest }) {
  const [isBusy, setBusy] = useState(false);
  const run = async (event) => {
    try {
      const running = onclick?.(event);
      if (!(running instanceof Promise)) return;
      setBusy(true);
      await running;
    } catch (error) {
      notify(error.message, "bad");
    } finally {
      setBusy(false);
    }
  };
  const isIcon = icon && !children;
  return html`<button type="button" ...${rest} class=${classes(kind, isIcon && "icon-only", name)}
    aria-label=${rest["aria-label"] ?? (isIcon ? rest.title : undefined)}
    disabled=${disabled || isBusy} onclick=${run}>
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/**
 * A box with a heading. A part that cannot be drawn leaves the other boxes as they are.
 * @param {{ title: string, actions?: Children, children?: Children, class?: string,
 *   [attribute: string]: any }} props
 */
export function Card({ title, actions, children, class: name, ...rest }) {
  return html`<section class=${classes("card", name)} aria-label=${title} ...${rest}>
    <header><h2>${title}</h2>${actions && html`<div class="row">${actions}</div>`}</header>
    <${Boundary}>${children}<//>
  </section>`;
}

/**
 * The heading of a page. `crumbs` are pairs of a title and an address; `children` follow the title
 * in its line.
 * @param {{ title: Children, crumbs?: [string, string][], actions?: Children,
 *   children?: Children }} props
 */
export function Heading({ title, crumbs = [], actions, children }) {
  return html`<div class="heading">
    <div>
      ${
        crumbs.length > 0 &&
        html`<nav class="crumbs" aria-label="Path">
          ${crumbs.map(([text, href]) => html`<a key=${href} href=${href}>${text}</a>`)}
        </nav>`
      }
      <div class="row"><h1>${title}</h1>${children}</div>
    </div>
    <div class="row actions">${actions}</div>
  </div>`;
}

/** The states of each icon, whose shape says what their colour says. */
const STATES = {
  check: ["completed", "delivered", "accepted", "fired", "satisfied"],
  cross: ["failed", "abandoned", "refused", "missed", "lost"],
  warn: ["silent", "degraded", "no node", "no claim"],
  stop: ["contained", "cancelled", "cancelling", "revoked", "disabled"],
  skip: ["skipped"],
  clock: ["expired", "scheduled"],
  play: ["running"],
  dots: ["pending"],
  wait: ["queued", "waiting", "waits"],
  pause: ["paused"],
  dot: ["live", "active", "enabled"],
};
const iconOf = (state) => Object.keys(STATES).find((icon) => STATES[icon].includes(state));

/**
 * A state as a word with an icon and a colour.
 * @param {{ state: string, children?: Children, title?: string }} props
 */
export function Pill({ state, children, title }) {
  const icon = iconOf(state);
  return html`<span class=${classes("pill", icon && "shaped")} data-state=${state} title=${title}>
    ${icon && html`<${Icon} name=${icon} />`}${children ?? state}</span>`;
}

/**
 * A time as how long ago, kept up to date; the exact time is its title. `isExact`: the other way
 * around.
 * @param {{ ts: string | null | undefined, isExact?: boolean }} props
 */
export function When({ ts, isExact = false }) {
  const relative = useClock(() => ago(ts));
  if (!ts) return html`<span class="muted">–</span>`;
  const title = isExact ? `${full(ts)}, ${relative}` : full(ts);
  return html`<time datetime=${ts} title=${title} data-exact=${isExact || undefined}>
    ${isExact ? moment(ts) : relative}</time>`;
}

/**
 * How long a job ran, or has run.
 * @param {{ job: { started_at?: string, completed_at?: string,
 *   duration_ms?: number | null } }} props
 */
export function Duration({ job }) {
  const isLive = Boolean(job.started_at) && !job.completed_at;
  const text = useClock(() => lasted(job, Date.now()));
  return html`<span class=${classes("duration", isLive && "live")}>${text}</span>`;
}

/**
 * Copy a text; outside of HTTPS and localhost a browser has no clipboard that scripts may write.
 */
async function copyText(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const area = document.createElement("textarea");
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  notify("Copied.");
}

/**
 * A button that copies a text.
 * @param {{ text: string, label?: string }} props
 */
export function Copy({ text, label = "Copy" }) {
  return html`<${Button} kind="quiet" icon="copy" class="copy" title=${label}
    onclick=${() => copyText(text)} />`;
}

/**
 * An id, shortened to what differs between neighbours, with a button that copies all of it.
 * @param {{ id: string, href?: string, isWhole?: boolean }} props
 */
export function Id({ id, href, isWhole = false }) {
  const text = isWhole ? id : short(id);
  return html`<span class="id mono" title=${id}>
    ${href ? html`<a href=${href}>${text}</a>` : html`<span>${text}</span>`}<${Copy} text=${id}
      label=${`Copy ${id}`} />
  </span>`;
}

/**
 * What is shown in place of an empty list: why it is empty, the next step, and a command that takes
 * it.
 * @param {{ title: Children, command?: string, children?: Children }} props
 */
export function Empty({ title, command, children }) {
  return html`<div class="empty">
    <p><strong>${title}</strong></p>
    ${children && html`<p>${children}</p>`}
    ${
      command &&
      html`<p class="command"><code>${command}</code><${Copy} text=${command}
      label="Copy the command" /></p>`
    }
  </div>`;
}

/**
 * A filter that applies, with a button that removes it.
 * @param {{ label: string, value: string, onRemove: () => void }} props
 */
export function Chip({ label, value, onRemove }) {
  return html`<span class="chip"><small>${label}</small><span>${value}</span>
    <${Button} kind="quiet" icon="cross" title=${`Remove the filter ${label} ${value}`}
      onclick=${onRemove} />
  </span>`;
}

let fieldNumber = 0;

/**
 * A labelled control: the first child, which may be followed by its datalist.
 * @param {{ label: string, hint?: Children, error?: Children, children?: any }} props
 */
export function Field({ label, hint, error, children }) {
  const [own] = useState(() => `field-${++fieldNumber}`);
  const parts = [children].flat();
  const control = parts.find((child) => child?.props && child.type !== "datalist");
  const id = control?.props.id ?? own;
  const notes = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  // A description without values is one object for all fields that are drawn with it.
  const attributes = {
    id,
    "aria-describedby": notes || undefined,
    ...(error && { "aria-invalid": "true" }),
  };
  const labelled = parts.map((part) => (part === control ? cloneElement(part, attributes) : part));
  return html`<div class="field">
    <label for=${id}>${label}</label>${labelled}
    ${hint && html`<small id=${`${id}-hint`}>${hint}</small>`}
    ${error && html`<small class="refusal" id=${`${id}-error`} role="alert">${error}</small>`}
  </div>`;
}

/**
 * A list to choose from. Options are values, or pairs of a value and its text.
 * @param {{ value?: string, options: (string | [string, string])[],
 *   onchange?: (value: string) => void, [attribute: string]: any }} props
 */
export function Select({ value, options, onchange, ...rest }) {
  return html`<select ...${rest} value=${value}
    onchange=${(event) => onchange?.(event.currentTarget.value)}>
    ${options.map((option) => {
      const [key, text] = Array.isArray(option) ? option : [option, option];
      return html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`;
    })}
  </select>`;
}

/**
 * A progress of 0 to 1, with its message.
 * @param {{ value: number | null, message?: string | null, class?: string }} props
 */
export function Progress({ value, message, class: name }) {
  const percent = value === null || value === undefined ? "" : `${Math.floor(value * 100)} %`;
  return html`<div class=${classes("progress", name)}>
    <progress max="1" value=${value ?? undefined} aria-label="Progress"></progress>
    <span>${[percent, message].filter(Boolean).join(" · ")}</span>
  </div>`;
}

/**
 * Tiles side by side: each a label, a value, a hint, where its value leads and whether it is bad.
 * @param {{ items: [string, any, any, { href?: string, kind?: "" | "bad" }?][] }} props
 */
export function Tiles({ items }) {
  const tile = ([label, value, hint, more]) => html`<div
    class="tile" key=${label} data-tile=${label}>
    <span>${label}</span>
    <strong class=${more?.kind}>
      ${more?.href ? html`<a href=${more.href}>${value}</a>` : value}
    </strong>
    <small>${hint}</small>
  </div>`;
  return html`<div class="tiles">${items.map(tile)}</div>`;
}
