// The frame: the signed-in user, the current page, and the module that draws it.

import { session } from "./api.js";
import { h, put } from "./dom.js";
import { zone } from "./format.js";
import { reason } from "./freshness.js";
import { listen } from "./keys.js";
import { ask, button, field } from "./parts.js";
import { searchBox } from "./search.js";
import * as signin from "./pages/signin.js";

const PAGES = {
  "": ["Overview", () => import("./pages/overview.js")],
  jobs: ["Jobs", () => import("./pages/jobs.js")],
  schedules: ["Schedules", () => import("./pages/schedules.js")],
  workers: ["Workers", () => import("./pages/workers.js")],
  // The page of workers leads to it: the frame has no place for another link.
  limits: ["Limits", () => import("./pages/limits.js"), () => false],
  tenants: ["Tenants", () => import("./pages/tenants.js"), (who) => who.isOperator],
  analytics: ["Analytics", () => import("./pages/analytics.js")],
  errors: ["Errors", () => import("./pages/errors.js")],
  webhooks: ["Webhooks", () => import("./pages/webhooks.js")],
  // The page of webhooks leads to them, and they to each other.
  hooks: ["Hooks", () => import("./pages/hooks.js"), () => false],
  subscriptions: ["Subscriptions", () => import("./pages/subscriptions.js"), () => false],
  keys: ["Keys", () => import("./pages/keys.js")],
  audit: ["Audit", () => import("./pages/audit.js")],
};
/** The page of one record, by the name of the page that lists its kind. */
const RECORDS = { jobs: () => import("./pages/job.js"), workers: () => import("./pages/worker.js") };
const THEME = "ava.theme";
const main = document.getElementById("main");
const shell = document.getElementById("shell");
let leaving = new AbortController();
/** The page that is open, and what it does itself when only the query of its address changes. */
let opened = null;

/** The address's fragment (`#/jobs/job_…?follow=1`) as the page's name, the rest of the path, and the query. */
function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  return { name, rest, query: new URLSearchParams(query) };
}

async function show() {
  leaving.abort();
  opened = null;
  leaving = new AbortController();
  const { signal } = leaving;
  const here = address();
  const [title, load] = PAGES[here.name] ?? [null];
  if (here.name === "signin") return openLink(here.query.get("link"));
  drawShell(here.name);
  if (!session.get()) return signin.open(main, { signal, done: show });
  if (session.foreign) return put(main, ...foreign());
  if (!load) return put(main, h("h1", {}, "Page not found"), h("p", {}, h("a", { href: "#/" }, "Go to the overview")));
  document.title = `${title} · AVA Jobs`;
  try {
    const page = await (here.rest.length && RECORDS[here.name] ? RECORDS[here.name]() : load());
    if (signal.aborted) return undefined;
    put(main);
    const { change } = (await page.open(main, { signal, ...here })) ?? {};
    if (change && !signal.aborted && !here.rest.length) opened = { name: here.name, change };
    return undefined;
  } catch (error) {
    // A page that is left aborts its pending requests.
    if (signal.aborted) return undefined;
    return put(main, h("h1", {}, "This page could not be loaded"), h("p", { role: "alert" }, reason(error)),
      // A browser may keep a module that it could not load as failed, until the page is reloaded.
      button("Try again", () => (navigator.onLine ? location.reload() : show()), { kind: "primary" }));
  }
}

/** Load the modules of all pages, so that each page opens at once, and also while the network is cut. */
function loadPages() {
  for (const load of [...Object.values(RECORDS), ...Object.values(PAGES).map(([, load]) => load)]) load().catch(() => {});
}

/** Use up a link that signs in once. Its token leaves the address, and so the history, before anything is sent. */
async function openLink(token) {
  history.replaceState(null, "", `${location.pathname}${location.search}#/`);
  try {
    if (!session.get()) await session.open(token ?? "");
  } catch (error) {
    drawShell("");
    return signin.open(main, { done: show, refusal: error.message });
  }
  return show();
}

const foreign = () => [h("h1", {}, "This link belongs to another tenant"),
  h("p", {}, `It shows ${session.foreign}, and you are signed in to ${session.get().tenant}. `,
    h("a", { href: "/" }, `Go to ${session.get().tenant}`), ", or sign out and sign in to the other tenant.")];

function lookAtAnother() {
  ask({
    title: "View another tenant", action: "View",
    fields: [field("Tenant", h("input", { name: "tenant", required: true, value: session.get().tenant, pattern: "ten_[0-9a-z_]{1,60}", title: "ten_ and 1 to 60 of a-z, 0-9 and _", autocomplete: "off", spellcheck: "false" }),
      "The URL contains the tenant, so a copied link shows the same tenant")],
    submit: async ({ tenant }) => {
      await session.look(tenant);
      show();
    },
  });
}

function drawShell(current) {
  const who = session.get();
  const shown = Object.entries(PAGES).filter(([, [, , mayOpen]]) => !mayOpen || (who && mayOpen(who)));
  const links = shown.map(([name, [title]]) =>
    h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, title));
  put(shell, h("header", { class: "top" },
    h("a", { href: "#/", class: "brand", "aria-label": "AVA Jobs, overview" }, h("img", { src: "/dashboard/icon.svg", alt: "", width: "26", height: "26" }), h("span", {}, "AVA Jobs")),
    who ? h("nav", { "aria-label": "Pages" }, links) : null,
    who ? searchBox() : null,
    h("div", { class: "row who" },
      who?.isOperator ? h("button", { type: "button", class: "quiet tenant", title: `${who.user}, ${who.role}`, "aria-label": `Tenant ${who.tenant}, switch`, onclick: lookAtAnother }, who.tenant) : null,
      who && !who.isOperator ? h("span", { class: "tenant", title: `${who.user}, ${who.role}` }, who.tenant) : null,
      h("button", { type: "button", class: "quiet", "aria-label": `Times are in ${zone.name}, switch`, title: zone.isUtc ? "Show local times" : "Show times in UTC", onclick: toggleZone }, zone.name),
      h("button", { type: "button", class: "quiet", onclick: toggleTheme, "aria-label": "Toggle theme", title: "Toggle theme" }, "◐"),
      who ? h("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out") : null)));
  shell.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

async function signOut() {
  await session.end();
  show();
}

/** Take up the session of the cookie, and draw the page. */
async function begin() {
  try {
    await session.resume();
  } catch (error) {
    put(main, h("h1", {}, "The API does not answer"), h("p", { role: "alert" }, error.status ? error.message : "It cannot be reached; this page tries again every few seconds."));
    setTimeout(begin, 3000);
    return;
  }
  show();
}

function toggleZone() {
  zone.toggle();
  show();
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem(THEME, root.dataset.theme);
}

const chosen = localStorage.getItem(THEME);
if (chosen) document.documentElement.dataset.theme = chosen;
window.addEventListener("hashchange", async () => {
  const { name, rest, query } = address();
  if (opened?.name === name && !rest.length) return opened.change(query);
  await show();
  main.focus({ preventScroll: true });
});
// A checkbox is too small for a finger, so all of its cell belongs to it.
document.addEventListener("click", ({ target }) => target.matches(".choose") && target.querySelector("input").click());
listen();
window.addEventListener("signed-out", () => {
  if (!session.get()) return;
  session.forget();
  show();
});
session.onStart(begin);
(window.requestIdleCallback ?? setTimeout)(loadPages);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
begin();
