// The frame: the signed-in user, the current page, and the module that draws it.

import { session } from "./api.js";
import { zone } from "./format.js";
import { loadPages, pageOf, titleOf } from "./frame/pages.js";
import { Sidebar } from "./frame/sidebar.js";
import { SignIn, TENANT } from "./frame/signin.js";
import { applyTheme, toggleTheme } from "./frame/theme.js";
import { reason } from "./freshness.js";
import { listen } from "./keys.js";
import { ask, Button, Choice, Fragment, html, Input, mayWrite } from "./ui/index.js";
import { mount, notify, parseAddress, render } from "./ui/index.js";

const main = document.getElementById("main");
const shell = document.getElementById("shell");
let leaving = new AbortController();
/** The path of the open page, if it follows the query of its address itself. */
let opened = null;
let hasPalette = false;
/** The component of the palette, loaded when the browser is idle or the palette is opened. */
let Palette = null;
let paletteActions = [];

async function show() {
  leaving.abort();
  opened = null;
  leaving = new AbortController();
  const { signal } = leaving;
  const { hash } = location;
  const here = parseAddress(hash);
  const page = pageOf(here.name);
  if (here.name === "signin") return openLink(here.query.get("link"));
  drawShell();
  main.replaceChildren();
  if (!session.get()) return showSignIn();
  if (session.foreign) return mount(main, html`<${Foreign} />`, signal);
  if (!page) return mount(main, NOT_FOUND, signal);
  document.title = `${titleOf(page)} · AVA Jobs`;
  try {
    const module = await (here.rest.length && page.record ? page.record() : page.load());
    if (signal.aborted) return undefined;
    const followsQuery = await module.open(main, { signal, ...here });
    // The address may have changed since, with its event still to come.
    if (followsQuery && !signal.aborted) opened = pathOf(hash);
  } catch (error) {
    // A page that is left aborts its pending requests.
    if (!signal.aborted) mount(main, html`<${Unloaded} error=${error} />`, signal);
  }
  return undefined;
}

const pathOf = (hash) => hash.split("?")[0];

function showSignIn(refusal = "") {
  document.title = "Sign in · AVA Jobs";
  mount(main, html`<${SignIn} onDone=${show} refusal=${refusal} />`, leaving.signal);
}

/**
 * Offer to use up a link that signs in once: whoever follows an attacker's link would work in the
 * attacker's account. Its token leaves the address, and so the history, before anything is sent.
 */
function openLink(token) {
  history.replaceState(null, "", `${location.pathname}${location.search}#/`);
  if (session.get()) return show();
  drawShell();
  const use = async () => {
    try {
      await session.open(token ?? "");
    } catch (error) {
      return showSignIn(error.message);
    }
    return show();
  };
  return mount(main, html`<${LinkQuestion} onUse=${use} />`, leaving.signal);
}

const LinkQuestion = ({ onUse }) => html`<div class="card signin"><h1>Sign in with this link?</h1>
  <p>You will act as the user who created it. Continue only if that is you.</p>
  <${Button} kind="primary" onclick=${onUse}>Sign in with the link<//></div>`;

const NOT_FOUND = html`<h1>Page not found</h1><p><a href="#/">Go to the overview</a></p>`;

const Foreign = () => html`<h1>This link belongs to another tenant</h1>
  <p>It shows ${session.foreign}, and you are signed in to ${session.get().tenant}. ${" "}
    <a href="/">Go to ${session.get().tenant}
    </a>, or sign out and sign in to the other tenant.</p>`;

/** A browser may keep a module that it could not load as failed, until the page is reloaded. */
const Unloaded = ({ error }) => html`<h1>This page could not be loaded</h1><p role="alert">
${reason(error)}</p>
  <${Button} kind="primary"
    onclick=${() => (navigator.onLine ? location.reload() : show())}>Try again<//>`;

function switchTenant() {
  const hint = "The URL contains the tenant, so a copied link shows the same tenant";
  const { isOperator, tenant: value, tenants } = session.get();
  const own = html`<${Choice} label="Tenant" name="tenant" options=${tenants} value=${value} />`;
  const any = html`<${Input} label="Tenant" name="tenant" value=${value} required ...${TENANT}
    spellcheck=${false} hint=${hint} />`;
  ask({
    title: "View another tenant",
    action: "View",
    body: isOperator ? any : own,
    submit: async ({ tenant }) => {
      await session.look(tenant);
      show();
    },
  });
}

function switchZone() {
  zone.toggle();
  show();
}

/**
 * End the session; the page is left before the API answers, because it shows nothing without a
 * user.
 */
async function signOut() {
  const ending = session.end();
  show();
  const url = await ending;
  if (url) location.assign(url);
}

/** Return what the palette offers beside pages: it depends on the role. */
function actions() {
  const entry = (title, icon, run, words) => ({
    key: title,
    title,
    icon,
    run,
    words,
    hint: "Action",
  });
  const trigger = async () => (await import("./trigger.js")).openTrigger();
  return [
    mayWrite() && entry("New job", "plus", trigger, "trigger run create"),
    entry(zone.isUtc ? "Show local times" : "Show times in UTC", "clock", switchZone, "zone"),
    entry("Toggle theme", "moon", toggleTheme, "dark light"),
    session.get().canSwitch && entry("View another tenant", "tenant", switchTenant, "switch"),
    entry("Sign out", "out", signOut, "log out"),
  ].filter(Boolean);
}

async function loadPalette() {
  Palette ??= (await import("./frame/palette.js")).Palette;
}

async function setPalette(isOpen) {
  try {
    if (isOpen && !Palette) await loadPalette();
  } catch (error) {
    return notify(reason(error), "bad");
  }
  hasPalette = isOpen && session.get() !== null;
  return drawShell();
}

function drawShell() {
  const { name } = parseAddress(location.hash);
  const isIn = session.get() !== null;
  hasPalette &&= isIn;
  if (hasPalette) paletteActions = actions();
  document.body.classList.toggle("framed", isIn);
  const sidebar = html`<${Sidebar} current=${name} onFind=${() => setPalette(true)}
    onTenant=${switchTenant}
    onZone=${switchZone} onSignOut=${signOut} />`;
  const palette = html`<${Palette} actions=${paletteActions} onClose=${() => setPalette(false)} />`;
  render(html`<${Fragment}>${isIn && sidebar}${hasPalette && palette}<//>`, shell);
}

/** Take up the session of the cookie, and draw the page. */
async function begin() {
  try {
    await session.resume();
  } catch (error) {
    const text = "It cannot be reached; this page tries again every few seconds.";
    mount(
      main,
      html`<h1>The API does not answer</h1><p role="alert">
    ${error.status ? error.message : text}</p>`,
      leaving.signal,
    );
    setTimeout(begin, 3000);
    return;
  }
  show();
}

applyTheme();
window.addEventListener("hashchange", async () => {
  if (opened === pathOf(location.hash)) return;
  await show();
  main.focus({ preventScroll: true });
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && session.get()) {
    event.preventDefault();
    if (!document.querySelector("dialog[open]")) setPalette(true);
  }
});
// A checkbox is too small for a finger, so all of its cell belongs to it.
document.addEventListener("click", ({ target }) => {
  if (target instanceof Element && target.matches(".choose")) target.querySelector("input").click();
});
listen();
window.addEventListener("signed-out", () => {
  if (!session.get()) return;
  session.forget();
  show();
});
session.onStart(begin);
(window.requestIdleCallback ?? setTimeout)(() => {
  loadPages();
  loadPalette().catch(() => {});
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
begin();
