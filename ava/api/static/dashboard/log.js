// A job's log: read from its end, upwards when the reader scrolls there, and followed while it is written.

import { get, save, url } from "./api.js";
import { h, put, say } from "./dom.js";
import { full, precise } from "./format.js";
import { button, card, field, notify, options } from "./parts.js";

/** Lines that one request reads. */
const PER_READ = 500;
/** The most lines that stay on the page while new ones come; older ones are read again when the reader scrolls up. */
const MAX_LINES = 10000;
/** Requests of one search, each of which looks at up to 100,000 lines, before the reader is asked. */
const MAX_READS = 5;
const WRAP = "ava.log.wrap";

export class LogView {
  #blocks = [];
  #waiting = [];
  #reading = null;
  #generation = 0;
  #isOpening = false;

  /** The reader does not see payloads, so there are no lines. */
  hide() {
    say(this.summary, "Your role or API key may not see log lines.");
  }

  constructor(jobId, { signal }) {
    Object.assign(this, { signal, jobId, path: `/v1/ava/jobs/${jobId}/logs` });
    this.lines = h("div", { class: "log", role: "log", tabindex: "0", "aria-label": "Log lines", onscroll: () => this.#scrolled() });
    this.older = button("Older lines", () => this.#readUp(), { kind: "quiet" });
    this.older.hidden = true;
    this.summary = h("span", { class: "muted" });
    this.level = h("select", { onchange: () => this.open() }, options([["", "All"], ["warn", "Warnings"], ["error", "Errors"]], ""));
    this.text = h("input", { type: "search", "aria-label": "Search the log", placeholder: "Search", name: "log-search", autocomplete: "off", spellcheck: "false" });
    let pause;
    this.text.addEventListener("input", () => {
      clearTimeout(pause);
      pause = setTimeout(() => this.open(), 300);
    });
    this.follows = h("input", { type: "checkbox", checked: true });
    this.wraps = h("input", { type: "checkbox", checked: localStorage.getItem(WRAP) !== "no", onchange: () => this.#wrap() });
    const download = button("Download", () => save(url(`${this.path}/download`, this.#choice), `${jobId}.log`), { kind: "quiet" });
    this.element = card("Log", { wide: true, actions: h("div", { class: "row" }, this.summary, field("Level", this.level), this.text,
      h("label", { class: "row check" }, this.wraps, "Wrap"), h("label", { class: "row check" }, this.follows, "Follow"), download) }, this.older, this.lines);
    this.#wrap();
  }

  get #choice() {
    return { "filter[level]": this.level.value, q: this.text.value };
  }

  #wrap() {
    localStorage.setItem(WRAP, this.wraps.checked ? "yes" : "no");
    this.lines.classList.toggle("nowrap", !this.wraps.checked);
  }

  update(job) {
    this.isLive = !["completed", "failed", "cancelled"].includes(job.status);
    this.#sum();
  }

  #sum() {
    const count = this.#blocks.reduce((sum, block) => sum + block.element.childElementCount, 0);
    const lines = `${count.toLocaleString("en")} ${count === 1 ? "line" : "lines"}`;
    say(this.summary, `${this.#before ? `last ${lines}` : lines}${this.isLive ? ", live" : ""}`);
    this.older.hidden = !this.#before;
  }

  get #before() {
    return this.#blocks[0]?.before ?? null;
  }

  /** Read the end of the log, as it is filtered now. Returns the place after its last line, from which a stream goes on. */
  async open() {
    const generation = (this.#generation += 1);
    this.#isOpening = true;
    const read = await this.#read({ tail: PER_READ });
    if (generation !== this.#generation) return null;
    const end = read.pagination.next_cursor;
    this.#isOpening = false;
    this.#blocks = [];
    put(this.lines);
    this.#show(read, true);
    // Lines that the stream has delivered since; their positions are compared as strings.
    this.#waiting = this.#waiting.filter(({ place }) => end === null || place > end);
    this.#draw();
    this.#toEnd();
    if (!read.data.logs.length) await this.#readUp();
    return end;
  }

  #read(place) {
    return get(this.path, { query: { ...this.#choice, ...place }, signal: this.signal });
  }

  #show({ data, pagination }, isEnd = false) {
    const block = { before: pagination.previous_cursor, element: h("div", { class: "block" }, data.logs.map((line) => this.#line(line))) };
    if (isEnd) this.lines.append(block.element);
    else this.lines.prepend(block.element);
    if (isEnd) this.#blocks.push(block);
    else this.#blocks.unshift(block);
    this.#sum();
  }

  /** Read what precedes, until there are lines or the search has looked at many. */
  async #readUp() {
    if (this.#reading) return this.#reading;
    this.#reading = (async () => {
      const generation = this.#generation;
      for (let reads = 0; this.#before && reads < MAX_READS; reads += 1) {
        const read = await this.#read({ before: this.#before, limit: PER_READ });
        if (generation !== this.#generation) return;
        const { scrollHeight, scrollTop } = this.lines;
        this.#show(read);
        this.lines.scrollTop = scrollTop + this.lines.scrollHeight - scrollHeight;
        if (read.data.logs.length) return;
      }
    })();
    try {
      await this.#reading;
    } finally {
      this.#reading = null;
    }
  }

  #scrolled() {
    if (this.lines.scrollTop < 200 && this.#before) {
      this.#readUp().catch((error) => this.signal.aborted || notify(error.message, "bad"));
    }
  }

  /** Add a line of the stream, and the places after it and before it. */
  add(line, place, before) {
    const text = this.text.value.toLowerCase();
    if ((this.level.value && line.level !== this.level.value) || !line.msg.toLowerCase().includes(text)) return;
    this.#waiting.push({ line, place, before });
    if (this.#waiting.length === 1) requestAnimationFrame(() => this.#isOpening || this.#draw());
  }

  #draw() {
    const waiting = this.#waiting.splice(0);
    while (waiting.length) {
      let last = this.#blocks.at(-1);
      if (!last || last.element.childElementCount >= PER_READ) {
        last = { before: this.#blocks.length ? waiting[0].before : null, element: h("div", { class: "block" }) };
        this.#blocks.push(last);
        this.lines.append(last.element);
      }
      const room = PER_READ - last.element.childElementCount;
      last.element.append(...waiting.splice(0, Math.max(1, room)).map(({ line }) => this.#line(line)));
    }
    while (this.follows.checked && this.#blocks.length > MAX_LINES / PER_READ) this.#blocks.shift().element.remove();
    this.#sum();
    if (this.follows.checked) this.#toEnd();
  }

  #line(line) {
    return h("p", { "data-level": line.level },
      h("time", { title: full(line.ts) }, precise(line.ts)), h("span", { class: "level" }, line.level), h("span", { class: "msg" }, this.#marked(line.msg)));
  }

  /** The text, with what was searched for marked. */
  #marked(text) {
    const wanted = this.text.value.toLowerCase();
    if (!wanted) return text;
    const parts = [];
    const lower = text.toLowerCase();
    let from = 0;
    for (let at = lower.indexOf(wanted); at >= 0 && parts.length < 200; at = lower.indexOf(wanted, from)) {
      parts.push(text.slice(from, at), h("mark", {}, text.slice(at, at + wanted.length)));
      from = at + wanted.length;
    }
    return [...parts, text.slice(from)];
  }

  #toEnd() {
    this.lines.scrollTop = this.lines.scrollHeight;
  }
}
