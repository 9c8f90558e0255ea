// The page's frame: who is signed in, where we are, and which module shows it.

import { session } from "./api.js";
import { h, put } from "./dom.js";
import * as signin from "./pages/signin.js";

const PAGES = {
  "": ["Overview", () => import("./pages/overview.js")],
  jobs: ["Jobs", () => import("./pages/jobs.js")],
  workers: ["Workers", () => import("./pages/workers.js")],
  webhooks: ["Webhooks", () => import("./pages/webhooks.js")],
  audit: ["Audit", () => import("./pages/audit.js")],
};
const THEME = "ava.theme";
const main = document.getElementById("main");
const shell = document.getElementById("shell");
let leaving = new AbortController();

/** The address, as the page's name, what follows it, and the parameters: `#/jobs/job_…?follow=1`. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  return { name, rest, query: new URLSearchParams(query) };
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const here = place();
  const [title, load] = PAGES[here.name] ?? [null];
  drawShell(here.name);
  if (!session.get()) return signin.open(main, { signal, done: show });
  if (!load) return put(main, h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "To the overview")));
  const page = here.name === "jobs" && here.rest.length ? await import("./pages/job.js") : await load();
  if (signal.aborted) return undefined;
  document.title = `${title} · AVA Jobs`;
  put(main);
  try {
    return await page.open(main, { signal, ...here });
  } catch (error) {
    // What a page was still waiting for when it was left is nobody's any more.
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
      h("button", { type: "button", class: "quiet", onclick: turnTheme, "aria-label": "Light or dark", title: "Light or dark" }, "◐"),
      who ? h("button", { type: "button", class: "quiet", onclick: signOut }, "Sign out") : null)));
  shell.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function signOut() {
  session.clear();
  show();
}

function turnTheme() {
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
