// The pages, in the groups of the sidebar.

import { titled } from "../format.js";

/**
 * A page: its name in the address, its icon, and what loads its module. `record` loads the page of
 * one of its records, `#/jobs/job_…`; `isOpen` returns whether a user may open it.
 * @typedef {{ name: string, icon: string, load: () => Promise<any>, record?: () => Promise<any>,
 *   isOpen?: (who: any) => boolean }} Page
 */

/** @type {Record<string, Page[]>} */
export const GROUPS = {
  Work: [
    { name: "", icon: "overview", load: () => import("../pages/overview.js") },
    {
      name: "jobs",
      icon: "jobs",
      load: () => import("../pages/jobs.js"),
      record: () => import("../pages/job.js"),
    },
    { name: "approvals", icon: "check", load: () => import("../pages/approvals.js") },
    { name: "schedules", icon: "clock", load: () => import("../pages/schedules.js") },
    {
      name: "workers",
      icon: "worker",
      load: () => import("../pages/workers.js"),
      record: () => import("../pages/worker.js"),
    },
  ],
  Traffic: [
    { name: "webhooks", icon: "webhook", load: () => import("../pages/webhooks.js") },
    { name: "hooks", icon: "hook", load: () => import("../pages/hooks.js") },
    { name: "events", icon: "event", load: () => import("../pages/events.js") },
    {
      name: "subscriptions",
      icon: "subscription",
      load: () => import("../pages/subscriptions.js"),
    },
  ],
  Insight: [
    { name: "analytics", icon: "chart", load: () => import("../pages/analytics.js") },
    { name: "errors", icon: "warn", load: () => import("../pages/errors.js") },
    { name: "audit", icon: "audit", load: () => import("../pages/audit.js") },
  ],
  Fleet: [
    { name: "nodes", icon: "node", load: () => import("../pages/nodes.js") },
    {
      name: "queues",
      icon: "queue",
      load: () => import("../pages/queues.js"),
      record: () => import("../pages/queue.js"),
    },
    { name: "containments", icon: "stop", load: () => import("../pages/containments.js") },
    { name: "limits", icon: "gauge", load: () => import("../pages/limits.js") },
    {
      name: "tenants",
      icon: "tenant",
      load: () => import("../pages/tenants.js"),
      record: () => import("../pages/tenant.js"),
      isOpen: (who) => who.isOperator,
    },
  ],
  Settings: [
    { name: "keys", icon: "key", load: () => import("../pages/keys.js") },
    { name: "notices", icon: "info", load: () => import("../pages/notices.js") },
  ],
};

const PAGES = Object.values(GROUPS).flat();

/** Return the title of a page. @param {Page} page */
export const titleOf = ({ name }) => (name ? titled(name) : "Overview");

/** Return the page of a name. */
export const pageOf = (name) => PAGES.find((page) => page.name === name);

/** Return those of these pages that a user may open. */
export const openPages = (who, pages = PAGES) =>
  pages.filter(({ isOpen }) => !isOpen || isOpen(who));

/**
 * Load the modules of all pages, so that each page opens at once, and also while the network is
 * cut.
 */
export function loadPages() {
  for (const { load, record } of PAGES) for (const each of [load, record]) each?.().catch(() => {});
}
