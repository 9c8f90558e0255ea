// How the list of jobs is shown: columns, density, clock, length. The address holds all of it.

import { ask, Button, changeQuery, CheckBox, Choice, html, Icon, Input } from "./ui/index.js";
import { useRef, useState } from "./ui/index.js";

/** The columns: name in the address, title, width, and whether they are shown at first. */
export const COLUMNS = [
  ["status", "Status", "7rem", true],
  ["job", "Job", "minmax(8rem, 1fr)", true],
  ["worker", "Worker", "minmax(8rem, 1.4fr)", true],
  ["priority", "Priority", "4rem", false],
  ["trigger", "Trigger", "5.5rem", false],
  ["user", "User", "minmax(7rem, 1fr)", false],
  ["tags", "Tags", "minmax(7rem, 1.4fr)", true],
  ["input", "Input", "minmax(8rem, 2fr)", false],
  ["created", "Created", "7rem", true],
  ["waited", "Waited", "5.5rem", false],
  ["duration", "Duration", "6.5rem", true],
  ["ended", "Ended", "7rem", false],
  ["attempt", "Attempt", "4.5rem", false],
];
/** The columns that are left beside an open job. */
const BESIDE = ["status", "job", "worker", "duration"];
const TIMES = ["created", "ended"];
export const SORTS = [
  ["", "Newest first"],
  ["-duration", "Longest first"],
  ["duration", "Shortest first"],
  ["-waited", "Longest wait first"],
  ["priority", "Most urgent first"],
  ["-priority", "Least urgent first"],
];
const DENSITIES = [
  ["", "Normal"],
  ["compact", "Compact"],
  ["roomy", "Roomy"],
];
const LENGTHS = [
  ["", "25"],
  ["50", "50"],
  ["100", "100"],
];
const VIEWS = "ava.jobs.views";

const stored = (query, name) => query.get(name) ?? localStorage.getItem(`ava.jobs.${name}`) ?? "";

/** Return the view of the address, else the one that was chosen last. */
export function viewOf(query) {
  const names = stored(query, "columns").split(",").filter(Boolean);
  const isShown = ([name, , , isDefault]) => (names.length ? names.includes(name) : isDefault);
  const columns = COLUMNS.filter(isShown);
  return {
    columns: columns.length ? columns : COLUMNS.filter(([, , , isDefault]) => isDefault),
    density: stored(query, "density"),
    isExact: stored(query, "times") === "exact",
    perPage: stored(query, "per_page"),
  };
}

/** Return the view beside an open job, with the columns that tell the jobs apart. */
export function narrowed(view) {
  const columns = view.columns.filter(([name]) => BESIDE.includes(name));
  return { ...view, columns: columns.length ? columns : view.columns.slice(0, 2) };
}

/** Return the width of a column; an exact time is wider than how long ago it was. */
export function widthOf(name, { isExact }) {
  return isExact && TIMES.includes(name) ? "10rem" : COLUMNS.find(([each]) => each === name)[2];
}

function savedViews() {
  try {
    return JSON.parse(localStorage.getItem(VIEWS)) ?? {};
  } catch {
    return {};
  }
}

/** Return the address of a view without its place in the list and its open job. */
function viewAddress(query) {
  const columns = viewOf(query)
    .columns.map(([name]) => name)
    .join();
  return changeQuery(`#/jobs?${query}`, { columns, cursor: "", page: "", job: "" });
}

/** The saved views of this browser, and the button that saves the current one. */
function Views({ query }) {
  const [views, setViews] = useState(savedViews);
  const keep = (changes) => {
    localStorage.setItem(VIEWS, JSON.stringify({ ...views, ...changes }));
    setViews(savedViews());
  };
  const save = () =>
    void ask({
      title: "Save this view",
      action: "Save",
      text: "This browser keeps it under a name. The address holds it too, for others.",
      body: html`<${Input} label="Name" name="name" required maxlength="40" />`,
      submit: ({ name }) => keep({ [name]: viewAddress(query) }),
    });
  const line = ([name, address]) => html`<div class="row between" key=${name}>
    <a href=${address}>${name}</a>
    <${Button} kind="quiet" icon="cross" title=${`Forget the view ${name}`}
      onclick=${() => keep({ [name]: undefined })} />
  </div>`;
  return html`<div class="views">
    ${Object.entries(views).map(line)}<${Button} kind="quiet" onclick=${save}>Save this view<//>
  </div>`;
}

/** The menu of the columns, density, clock and saved views. It stays open while they change. */
export function ViewMenu({ query, setQuery }) {
  const view = viewOf(query);
  const menu = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  const change = (name, value) => {
    localStorage.setItem(`ava.jobs.${name}`, value);
    setQuery({ [name]: value, cursor: "", page: "" });
  };
  const shown = view.columns.map(([name]) => name);
  const toggle = (name, isShown) => {
    const next = COLUMNS.map(([each]) => each);
    change(
      "columns",
      next.filter((each) => (each === name ? isShown : shown.includes(each))).join(),
    );
  };
  const close = (event) => {
    if (event.key !== "Escape" || !menu.current.open) return;
    event.preventDefault();
    menu.current.open = false;
    menu.current.querySelector("summary").focus();
  };
  const choice = (label, name, value, options) => html`<${Choice} label=${label}
    ...${{ name, value, options }} onchange=${(next) => change(name, next)} />`;
  return html`<details class="menu" ref=${menu} onkeydown=${close}>
    <summary class="button"><${Icon} name="columns" /> View</summary>
    <div>
      ${COLUMNS.map(
        ([name, title]) => html`<${CheckBox} key=${name} label=${title}
          checked=${shown.includes(name)}
          onchange=${(event) => toggle(name, event.target.checked)} />`,
      )}
      ${choice("Rows", "density", view.density, DENSITIES)}
      ${choice("Jobs on a page", "per_page", view.perPage, LENGTHS)}
      <${CheckBox} label="Exact times" checked=${view.isExact}
        onchange=${(event) => change("times", event.target.checked ? "exact" : "")} />
      <${Views} query=${query} />
    </div>
  </details>`;
}
