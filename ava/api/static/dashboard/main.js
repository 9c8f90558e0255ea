// The frame: the signed-in user, the current page, and the module that draws it.

import { session } from "./api.js";
import { h, put } from "./dom.js";
import * as signin from "./pages/signin.js";

const PAGES = {
  "": ["Overview", () => import("./pages/overview.js")],
  jobs: ["Jobs", () => import("./pages/jobs.js")],
  schedules: ["Schedules", () => import("./pages/schedules.js")],
  workers: ["Workers", () => import("./pages/workers.js")],
  webhooks: ["Webhooks", () => import("./pages/webhooks.js")],
  audit: ["Audit", () => import("./pages/audit.js")],
};
const THEME = "ava.theme";
const main = document.getElementById("main");
const shell = document.getElementById("shell");
let leaving = new AbortController();

/** The address's fragment (`#/jobs/job_…?follow=1`) as the page's name, the rest of the path, and the query. */
function address() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  return { name, rest, query: new URLSearchParams(query) };
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const here = address();
  const [title, load] = PAGES[here.name] ?? [null];
  drawShell(here.name);
  if (!session.get()) return signin.open(main, { signal, done: show });
  if (!load) return put(main, h("h1", {}, "Page not found"), h("p", {}, h("a", { href: "#/" }, "Go to the overview")));
  const page = here.name === "jobs" && here.rest.length ? await import("./pages/job.js") : await load();
  if (signal.aborted) return undefined;
  document.title = `${title} · AVA Jobs`;
  put(main);
  try {
    return await page.open(main, { signal, ...here });
  } catch (error) {
    // A page that was left drops what it was still waiting for.
    if (!signal.aborted) throw error;
    return undefined;
  }
}

function drawShell(current) {
  const who = session.get();
  const links = Object.entries(PAGES).map(([name, [title]]) =>
    h("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, title));
  put(shell, h("header", { class: "top" },
    h("a", { href: "#/", class: "brand", "aria-label": "AVA Jobs, overview" }, h("img", { src: "/dashboard/icon.svg", alt: "", width: "26", height: "26" }), "AVA Jobs"),
    who ? h("nav", { "aria-label": "Pages" }, links) : null,
    h("div", { class: "row who" },
      who ? h("span", { class: "tenant", title: `${who.user}, ${who.role}` }, who.tenant) : null,
      h("button", { type: "button", class: "quiet", onclick: toggleTheme, "aria-label": "Toggle theme", title: "Toggle theme" }, "◐"),
      who ? h("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out") : null)));
  shell.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function signOut() {
  session.clear();
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
window.addEventListener("hashchange", () => show().then(() => main.focus({ preventScroll: true })));
window.addEventListener("signed-out", () => session.get() && signOut());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
show();
