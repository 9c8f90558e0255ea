// The sidebar's counts: what is read for them, and how responses become counts.

const entry = (count, what, href, isBad = false) =>
  count > 0 && { count, what, href, isBad, isMore: false };
/** The API counts a list up to this many. */
const listed = ({ total }, ...more) => {
  const found = entry(total, ...more);
  return found && { ...found, isMore: total >= 1000 };
};

function ofJobs({ data: { queued, scheduled, queued_is_exact: isExact } }) {
  const waiting = entry(queued - scheduled, "waiting", "#/jobs?filter%5Bstatus%5D=queued");
  return { jobs: waiting && { ...waiting, isMore: !isExact } };
}

function ofContainments({ data: [newest], pagination }) {
  const active = listed(pagination, "active", "#/containments", true);
  return { containments: active && { ...active, newest } };
}

/**
 * What is read, with its query, and the counts that a response has, by the name of their page.
 * @type {[string, Record<string, string>, (response: any) => Record<string, any>][]}
 */
export const SOURCES = [
  ["overview", {}, ofJobs],
  [
    "errors",
    { "filter[status]": "open", per_page: "1" },
    ({ pagination }) => ({ errors: listed(pagination, "open", "#/errors", true) }),
  ],
  [
    "queues",
    { "filter[paused]": "true" },
    ({ data }) => ({ queues: entry(data.queues.length, "paused", "#/queues") }),
  ],
  [
    "approvals",
    { "filter[mine]": "true", per_page: "1" },
    ({ pagination }) => ({ approvals: listed(pagination, "to decide", "#/approvals") }),
  ],
  ["containments", { "filter[state]": "active", per_page: "1" }, ofContainments],
];

/**
 * Return the counts by the name of their page. `responses` are those of `SOURCES`; one that is
 * refused is null, and only its counts are missing.
 * @param {any[]} responses
 */
export const countsOf = (responses) =>
  Object.assign({}, ...SOURCES.map(([, , counts], at) => responses[at] && counts(responses[at])));
