// The pages, in the groups of the sidebar.

import { titled } from "../format.js";

/**
 * A page: its name in the address, its icon, and what loads its module. `record` loads the page of
 * one of its records, `#/jobs/job_…`; `isOpen` returns whether a user may open it.
 * @param {string} name
 * @param {string} icon
 * @param {() => Promise<any>} load
 * @param {() => Promise<any>} [record]
 * @param {(who: any) => boolean} [isOpen]
 */
const page = (name, icon, load, record, isOpen = (_) => true) => {
  return { name, icon, load, record, isOpen };
};

/** @typedef {ReturnType<typeof page>} Page */

const job = () => import("../pages/job.js");
const worker = () => import("../pages/worker.js");
const queue = () => import("../pages/queue.js");
const tenant = () => import("../pages/tenant.js");

/** @type {Record<string, Page[]>} */
export const GROUPS = {
  Work: [
    page("", "overview", () => import("../pages/overview.js")),
    page("jobs", "jobs", () => import("../pages/jobs.js"), job),
    page("approvals", "check", () => import("../pages/approvals.js")),
    page("schedules", "clock", () => import("../pages/schedules.js")),
    page("workers", "worker", () => import("../pages/workers.js"), worker),
  ],
  Traffic: [
    page("webhooks", "webhook", () => import("../pages/webhooks.js")),
    page("hooks", "hook", () => import("../pages/hooks.js")),
    page("events", "event", () => import("../pages/events.js")),
    page("subscriptions", "subscription", () => import("../pages/subscriptions.js")),
  ],
  Insight: [
    page("analytics", "chart", () => import("../pages/analytics.js")),
    page("errors", "warn", () => import("../pages/errors.js")),
    page("audit", "audit", () => import("../pages/audit.js")),
  ],
  Fleet: [
    page("nodes", "node", () => import("../pages/nodes.js")),
    page("queues", "queue", () => import("../pages/queues.js"), queue),
    page("containments", "stop", () => import("../pages/containments.js")),
    page("limits", "gauge", () => import("../pages/limits.js")),
    page(
      "tenants",
      "tenant",
      () => import("../pages/tenants.js"),
      tenant,
      (who) => who.isOperator,
    ),
  ],
  Settings: [
    page("keys", "key", () => import("../pages/keys.js")),
    page("notices", "info", () => import("../pages/notices.js")),
  ],
};

const PAGES = Object.values(GROUPS).flat();

/** Return the title of a page. @param {Page} page */
export const titleOf = ({ name }) => (name ? titled(name) : "Overview");

/** Return the page of a name. */
export const pageOf = (name) => PAGES.find((page) => page.name === name);

/** Return those of these pages that a user may open. */
export const openPages = (who, pages = PAGES) => pages.filter(({ isOpen }) => isOpen(who));

/**
 * Load the modules of all pages, so that each page opens at once, and also while the network is
 * cut.
 */
export function loadPages() {
  for (const { load, record } of PAGES) for (const each of [load, record]) each?.().catch(() => {});
}
