// A job's log, followed while it is written.

import { h, say } from "./dom.js";
import { card, field, options } from "./parts.js";

/** The most lines kept on the page; the API has the older ones. */
const MOST_LINES = 5000;

export class LogView {
  #waiting = [];
  #count = 0;

  constructor(onLine) {
    this.onLine = onLine;
    this.lines = h("div", { class: "log", role: "log", tabindex: "0", "aria-label": "Log lines" });
    this.summary = h("span", { class: "muted" });
    this.level = h("select", { onchange: () => (this.lines.dataset.least = this.level.value) }, options([["info", "All"], ["warn", "Warnings"], ["error", "Errors"]], "info"));
    this.follows = h("input", { type: "checkbox", checked: true });
    this.element = card("Log", { wide: true, actions: h("div", { class: "row" }, this.summary, field("Level", this.level),
      h("label", { class: "row check" }, this.follows, "Follow")) }, this.lines);
    this.lines.dataset.least = "info";
  }

  update(job) {
    say(this.summary, ["completed", "failed", "cancelled"].includes(job.status) ? `${this.#count} lines` : "live");
  }

  add(line) {
    this.onLine(line);
    this.#waiting.push(line);
    if (this.#waiting.length === 1) requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    const lines = this.#waiting.splice(0);
    this.#count += lines.length;
    this.lines.append(...lines.map((line) => h("p", { "data-level": line.level },
      h("time", { title: line.ts }, line.ts.slice(11, 23)), h("span", { class: "level" }, line.level), h("span", { class: "msg" }, line.msg))));
    while (this.lines.childElementCount > MOST_LINES) this.lines.firstChild.remove();
    if (this.summary.textContent !== "live") say(this.summary, `${this.#count} lines`);
    if (this.follows.checked) this.lines.scrollTop = this.lines.scrollHeight;
  }
}
