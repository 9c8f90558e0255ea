// The sidebar: pages in groups, the search, and at its foot the tenant, time zone, theme and
// sign-out.

import { Banner } from "../contain.js";
import { number, shortCount, zone } from "../format.js";
import { HINT, search } from "../search.js";
import { Button, classes, html, Icon, LOGO, notify } from "../ui/index.js";
import { useEffect, useSession, useState } from "../ui/index.js";
import { useCounts } from "./counts.js";
import { GROUPS, openPages, titleOf } from "./pages.js";
import { toggleTheme } from "./theme.js";

const NARROW = "ava.sidebar";
/** Below this width the sidebar is narrow until it is widened, so that lists have their room. */
const small = matchMedia("(max-width: 1100px)");

/** Return whether the sidebar shows icons alone, and the function that changes it. */
function useNarrow() {
  const [chosen, setChosen] = useState(localStorage.getItem(NARROW));
  const [isSmall, setSmall] = useState(small.matches);
  useEffect(() => {
    const change = () => setSmall(small.matches);
    small.addEventListener("change", change);
    return () => small.removeEventListener("change", change);
  }, []);
  const isNarrow = chosen ? chosen === "narrow" : isSmall;
  const toggle = () => {
    const next = isNarrow ? "wide" : "narrow";
    localStorage.setItem(NARROW, next);
    setChosen(next);
  };
  return /** @type {const} */ ([isNarrow, toggle]);
}

/**
 * The sidebar, which on a phone is a drawer behind the bar at the bottom.
 * @param {{ current: string, onFind: () => void, onTenant: () => void, onZone: () => void,
 *   onSignOut: () => any }} props
 */
export function Sidebar({ current, onFind, ...actions }) {
  const who = useSession();
  const [isNarrow, toggle] = useNarrow();
  const [isOpen, setOpen] = useState(false);
  const counts = useCounts();
  useEffect(() => setOpen(false), [current]);
  document.documentElement.dataset.side = isNarrow ? "narrow" : "wide";
  const closeByKey = (event) => event.key === "Escape" && setOpen(false);
  return html`
    <header class=${classes("side", isOpen && "open")} onkeydown=${closeByKey}>
      <div class="side-head">
        <a href="#/" class="brand" aria-label="AVA Jobs, overview">
          <img src=${LOGO} alt="" width="24" height="24" />
          <span class="label">AVA Jobs</span>
        </a>
        <${Button} kind="quiet" icon="sidebar" class="fold-side" onclick=${toggle}
          title=${isNarrow ? "Widen the sidebar" : "Narrow the sidebar"} />
      </div>
      <${SearchBox} onFind=${onFind} />
      <nav aria-label="Pages">
        ${Object.entries(GROUPS).map(
          ([title, pages]) => html`<${Group} key=${title}
          ...${{ title, pages, who, current, counts }} onLeave=${() => setOpen(false)} />`,
        )}
      </nav>
      <${Foot} who=${who} ...${actions} />
    </header>
    ${isOpen && html`<div class="side-veil" onclick=${() => setOpen(false)}></div>`}
    <${Banner} of=${counts.containments} />
    <${BottomBar} current=${current} counts=${counts} onFind=${onFind} isOpen=${isOpen}
      onMenu=${() => setOpen(!isOpen)} />`;
}

function Group({ title, pages, who, current, counts, onLeave }) {
  const entry = (page) => html`<li key=${page.name}>
    <a href=${`#/${page.name}`} title=${titleOf(page)} aria-label=${titleOf(page)}
      aria-current=${page.name === current ? "page" : undefined} onclick=${onLeave}>
      <${Icon} name=${page.icon} /><span class="label">${titleOf(page)}</span></a>
    <${Count} of=${counts[page.name]} />
  </li>`;
  return html`<div>
    <p class="group-title" id=${`pages-${title}`}>${title}</p>
    <ul aria-labelledby=${`pages-${title}`}>${openPages(who, pages).map(entry)}</ul>
  </div>`;
}

function Count({ of }) {
  if (!of) return null;
  const shown = `${shortCount(of.count)}${of.isMore ? "+" : ""}`;
  const title = `${number(of.count)}${of.isMore ? " or more" : ""} ${of.what}`;
  // The name begins with the visible text, by which a person who dictates calls the link.
  return html`<a class=${classes("count", of.isBad && "bad")} href=${of.href} title=${title}
    aria-label=${`${shown} ${of.what}`}>${shown}</a>`;
}

/**
 * The box that finds jobs. `/` moves the focus there; in a narrow sidebar it is a button for the
 * palette.
 */
function SearchBox({ onFind }) {
  const submit = async (event) => {
    event.preventDefault();
    try {
      await search(event.target.elements.search.value);
    } catch (error) {
      notify(error.message, "bad");
    }
  };
  return html`<form class="find" role="search" aria-label="Find jobs" onsubmit=${submit}>
    <${Icon} name="search" />
    <input type="search" name="search" placeholder="Find jobs" aria-label="Find jobs" title=${HINT}
      autocomplete="off" spellcheck=${false} />
    <${Button} kind="quiet" class="find-key" aria-label="Ctrl K: find anything, or run an action"
      title="Find anything, or run an action" onclick=${onFind}>
      <kbd class="ctrl-k"></kbd><${Icon} name="search" /><//>
  </form>`;
}

function Foot({ who, onTenant, onZone, onSignOut }) {
  const title = `${who.user}, ${who.role}`;
  const tenant = html`<${Icon} name="tenant" /><span class="label tenant">${who.tenant}</span>`;
  return html`<div class="side-foot">
    ${
      who.canSwitch
        ? html`<button type="button" class="quiet" title=${title}
          aria-label=${`Tenant ${who.tenant}, switch`}
            onclick=${onTenant}>${tenant}</button>`
        : html`<span class="line" title=${title}>${tenant}</span>`
    }
    <span class="line label" title=${title}>
      <${Icon} name="user" /><span class="tenant">${who.name ?? who.user}</span>
    </span>
    <div class="row">
      <button type="button" class="quiet" aria-label=${`Times are in ${zone.name}, switch`}
        onclick=${onZone}
        title=${zone.isUtc ? "Show local times" : "Show times in UTC"}><${Icon} name="clock" />
        <span class="label">${zone.name}</span></button>
      <${Button} kind="quiet" icon="moon" title="Toggle theme" onclick=${toggleTheme} />
      <button type="button" class="quiet" title="Sign out" onclick=${onSignOut}>
        <${Icon} name="out" /><span class="label">Sign out</span></button>
    </div>
  </div>`;
}

/** The pages that are opened most, within a thumb's reach; the others are in the drawer. */
function BottomBar({ current, counts, onFind, isOpen, onMenu }) {
  const link = (name, title, icon) => html`<a href=${`#/${name}`}
    aria-current=${name === current ? "page" : undefined}>
    <${Icon} name=${icon} /><span>${title}</span>
    ${counts[name]?.isBad && html`<i class="mark"></i>`}</a>`;
  return html`<div class="bottom" role="navigation" aria-label="Main pages">
    ${link("", "Overview", "overview")}${link("jobs", "Jobs", "jobs")}
    ${link("errors", "Errors", "warn")}
    <button type="button" class="quiet" onclick=${onFind}><${Icon} name="search" /><span>Find</span>
    </button>
    <button type="button" class="quiet" aria-expanded=${isOpen} onclick=${onMenu}>
      <${Icon} name="menu" /><span>Menu</span>
      ${counts.approvals ? html`<i class="mark"></i>` : null}
    </button>
  </div>`;
}
