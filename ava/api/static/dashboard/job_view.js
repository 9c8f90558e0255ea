// How the list of jobs is shown: its columns, density, clock and order. The address holds all of it, so that a view can be shared.

import { h, put } from "./dom.js";
import { ask, button, field, options } from "./parts.js";

/** The columns: their name in the address, their title, their width, and whether they are shown at first. */
export const COLUMNS = [
  ["status", "Status", "7rem", true], ["job", "Job", "minmax(9rem, 1.6fr)", true], ["worker", "Worker", "minmax(8rem, 1.2fr)", true],
  ["priority", "Priority", "4rem", true], ["trigger", "Trigger", "5.5rem", true], ["user", "User", "minmax(7rem, 1fr)", false],
  ["created", "Created", "8rem", true], ["waited", "Waited", "5.5rem", false], ["duration", "Duration", "5.5rem", true],
  ["ended", "Ended", "8rem", false], ["attempt", "Attempt", "4.5rem", false], ["tags", "Tags", "minmax(7rem, 1fr)", false],
];
const TIMES = ["created", "ended"];
const SORTS = [
  ["", "Newest first"], ["-duration", "Longest first"], ["duration", "Shortest first"], ["-waited", "Longest wait first"],
  ["priority", "Most urgent first"], ["-priority", "Least urgent first"],
];
const DENSITIES = [["", "Normal"], ["compact", "Compact"], ["roomy", "Roomy"]];
/** The parameters of the address that the API does not know. */
const SHOWN_ONLY = ["columns", "density", "times"];
const VIEWS = "ava.jobs.views";

const keep = (name, value) => localStorage.setItem(`ava.jobs.${name}`, value);
const kept = (query, name) => query.get(name) ?? localStorage.getItem(`ava.jobs.${name}`) ?? "";

/** What the API is asked for. */
export const askedOf = (query) => Object.fromEntries([...query].filter(([name]) => !SHOWN_ONLY.includes(name)));

/** The address of the list with some parameters changed; an empty value removes one. */
export const address = (query, changes) => {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) value ? next.set(name, value) : next.delete(name);
  return `#/jobs${next.size ? `?${next}` : ""}`;
};

/** What the address says of the view, else what was chosen last. */
export function viewOf(query) {
  const names = kept(query, "columns").split(",").filter(Boolean);
  const found = COLUMNS.filter(([name, , , isShown]) => (names.length ? names.includes(name) : isShown));
  const columns = found.length ? found : COLUMNS.filter(([, , , isShown]) => isShown);
  return { columns, density: kept(query, "density"), isExact: kept(query, "times") === "exact" };
}

/** The widths of the columns; an exact time is wider than how long ago it was. */
export const widths = ({ columns, isExact }) =>
  ["1.2rem", ...columns.map(([name, , width]) => (isExact && TIMES.includes(name) ? "10rem" : width))].join(" ");

/** The order of the list, beside the filters. Sorted lists are among the newest 20,000 jobs. */
export function sortField(change) {
  const control = h("select", { name: "sort", title: "Other orders sort what matches among the newest 20,000 jobs", onchange: () => change({ sort: control.value, cursor: "", page: "" }) }, options(SORTS, ""));
  return { element: field("Order", control), show: (query) => (control.value = query.get("sort") ?? "") };
}

/** The menu of the columns, the density, the clock and the saved views. It stays open while they are changed. */
export function viewMenu(queryNow) {
  const change = (name, value) => {
    keep(name, value);
    location.hash = address(queryNow(), { [name]: value });
  };
  const boxes = COLUMNS.map(([name, title]) => [name, h("input", { type: "checkbox", onchange: (event) => {
    const shown = viewOf(queryNow()).columns.map(([each]) => each);
    change("columns", COLUMNS.map(([each]) => each).filter((each) => (each === name ? event.target.checked : shown.includes(each))).join(","));
  } }), title]);
  const density = h("select", { name: "density", onchange: () => change("density", density.value) }, options(DENSITIES, ""));
  const exact = h("input", { type: "checkbox", onchange: () => change("times", exact.checked ? "exact" : "") });
  const views = h("div", { class: "views" });
  const box = (control, title) => h("label", { class: "row check" }, control, title);
  const element = h("details", { class: "menu" }, h("summary", {}, "View"), h("div", {},
    boxes.map(([, control, title]) => box(control, title)),
    field("Rows", density), box(exact, "Exact times"), views,
    button("Save this view", () => saveView(queryNow(), showViews), { kind: "quiet" })));
  const showViews = () => put(views, Object.entries(savedViews()).map(([name, query]) => h("div", { class: "row between" },
    h("a", { href: `#/jobs?${query}` }, name),
    h("button", { type: "button", class: "quiet", "aria-label": `Forget the view ${name}`, onclick: () => (saveViews({ ...savedViews(), [name]: undefined }), showViews()) }, "×"))));
  showViews();
  element.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || !element.open) return;
    element.open = false;
    element.querySelector("summary").focus();
  });
  return {
    element,
    show(query) {
      const view = viewOf(query);
      for (const [name, control] of boxes) control.checked = view.columns.some(([other]) => other === name);
      density.value = view.density;
      exact.checked = view.isExact;
    },
  };
}

function savedViews() {
  try {
    return JSON.parse(localStorage.getItem(VIEWS)) ?? {};
  } catch {
    return {};
  }
}

const saveViews = (views) => localStorage.setItem(VIEWS, JSON.stringify(views));

function saveView(query, saved) {
  ask({
    title: "Save this view", action: "Save", text: "This browser keeps its filters, order and columns under a name. The address holds them too, for others.",
    fields: [field("Name", h("input", { name: "name", required: true, maxlength: "40", autocomplete: "off" }))],
    submit: ({ name }) => {
      // A place in the list is no part of a view.
      const address = new URLSearchParams([...query].filter(([each]) => !["cursor", "page"].includes(each)));
      const view = viewOf(query);
      address.set("columns", view.columns.map(([each]) => each).join(","));
      saveViews({ ...savedViews(), [name]: String(address) });
      saved();
    },
  });
}
