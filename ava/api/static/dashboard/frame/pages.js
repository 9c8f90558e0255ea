// The pages, in the groups of the sidebar.

/**
 * A page: its name in the address, its title, its icon, and what loads its module. `record` loads
 * the page of one of its records, `#/jobs/job_…`; `isOpen` returns whether a user may open it.
 * @typedef {{ name: string, title: string, icon: string, load: () => Promise<any>,
 *   record?: () => Promise<any>, isOpen?: (who: any) => boolean }} Page
 */

/** @type {[string, Page[]][]} */
export const GROUPS = [
  [
    "Work",
    [
      { name: "", title: "Overview", icon: "overview", load: () => import("../pages/overview.js") },
      {
        name: "jobs",
        title: "Jobs",
        icon: "jobs",
        load: () => import("../pages/jobs.js"),
        record: () => import("../pages/job.js"),
      },
      {
        name: "schedules",
        title: "Schedules",
        icon: "clock",
        load: () => import("../pages/schedules.js"),
      },
      {
        name: "workers",
        title: "Workers",
        icon: "worker",
        load: () => import("../pages/workers.js"),
        record: () => import("../pages/worker.js"),
      },
    ],
  ],
  [
    "Traffic",
    [
      {
        name: "webhooks",
        title: "Webhooks",
        icon: "webhook",
        load: () => import("../pages/webhooks.js"),
      },
      { name: "hooks", title: "Hooks", icon: "hook", load: () => import("../pages/hooks.js") },
      { name: "events", title: "Events", icon: "event", load: () => import("../pages/events.js") },
      {
        name: "subscriptions",
        title: "Subscriptions",
        icon: "subscription",
        load: () => import("../pages/subscriptions.js"),
      },
    ],
  ],
  [
    "Insight",
    [
      {
        name: "analytics",
        title: "Analytics",
        icon: "chart",
        load: () => import("../pages/analytics.js"),
      },
      { name: "errors", title: "Errors", icon: "warn", load: () => import("../pages/errors.js") },
      { name: "audit", title: "Audit", icon: "audit", load: () => import("../pages/audit.js") },
    ],
  ],
  [
    "Fleet",
    [
      { name: "nodes", title: "Nodes", icon: "node", load: () => import("../pages/nodes.js") },
      {
        name: "queues",
        title: "Queues",
        icon: "queue",
        load: () => import("../pages/queues.js"),
        record: () => import("../pages/queue.js"),
      },
      { name: "limits", title: "Limits", icon: "gauge", load: () => import("../pages/limits.js") },
      {
        name: "tenants",
        title: "Tenants",
        icon: "tenant",
        load: () => import("../pages/tenants.js"),
        record: () => import("../pages/tenant.js"),
        isOpen: (who) => who.isOperator,
      },
    ],
  ],
  [
    "Settings",
    [{ name: "keys", title: "Keys", icon: "key", load: () => import("../pages/keys.js") }],
  ],
];

const PAGES = GROUPS.flatMap(([, pages]) => pages);

/** Return the page of a name. */
export const pageOf = (name) => PAGES.find((page) => page.name === name);

/** Return the pages that a user may open. */
export const openPages = (who) => PAGES.filter(({ isOpen }) => !isOpen || isOpen(who));

/**
 * Load the modules of all pages, so that each page opens at once, and also while the network is
 * cut.
 */
export function loadPages() {
  for (const { load, record } of PAGES) for (const each of [load, record]) each?.().catch(() => {});
}
