// Reads a job's log from its end, upwards when the reader scrolls there, around a line, and live.

import { get, save, url } from "../api.js";
import * as held from "./log_lines.js";

/** Lines that one request reads. */
const PER_READ = "500";
/** Requests of one search, each over up to 100,000 lines, before the reader is asked. */
const MAX_READS = 5;

/** The lines of one job's log. `onChange` is called after each change of what it holds. */
export class LogReader {
  /** Lines of the stream that came while another part of the log was read. */
  #arrived = [];
  #generation = 0;
  #reading = null;
  #isOpening = false;
  #frame = 0;

  constructor(jobId) {
    this.jobId = jobId;
    this.path = `/v1/ava/jobs/${encodeURIComponent(jobId)}/logs`;
    this.lines = held.NO_LINES;
    this.filter = { level: "", text: "" };
    this.isHidden = false;
    /** Whether the reader is at the end and stays there. */
    this.follows = true;
    this.selected = null;
    this.onChange = () => {};
  }

  get #query() {
    return { "filter[level]": this.filter.level, q: this.filter.text };
  }

  hide() {
    this.isHidden = true;
    this.onChange();
  }

  /** Choose which lines are shown, and read the end of these. */
  choose(changes) {
    Object.assign(this.filter, changes);
    return this.open();
  }

  setFollows(follows) {
    this.follows = follows;
    if (follows && this.lines.after) return this.open();
    return this.onChange();
  }

  /** Read the end of the log, unless a line was chosen. Returns the place after its last line. */
  async start() {
    if (!this.selected) return this.open();
    return (await this.#read({ tail: "1" })).pagination.next_cursor;
  }

  /** Read the end of the log. Returns the place after its last line. */
  async open() {
    const generation = this.#begin(null);
    const read = await this.#read({ tail: PER_READ });
    if (generation !== this.#generation) return null;
    const { previous_cursor: before, next_cursor: end } = read.pagination;
    this.follows = true;
    this.isHidden = Boolean(read.data.payload_hidden);
    this.#show(held.prepend(held.NO_LINES, read.data.logs, before), end);
    if (!read.data.logs.length) await this.readUp();
    return end;
  }

  /** Read the lines around the line with this key. */
  async openAt(key) {
    const generation = this.#begin(key);
    const since = held.timeOfKey(key);
    const reads = ["1", PER_READ].map((limit) => this.#read({ since, limit }));
    const [{ pagination: first }, following] = await Promise.all(reads);
    const above = first.next_cursor
      ? await this.#read({ before: first.next_cursor, limit: PER_READ })
      : null;
    if (generation !== this.#generation) return;
    this.follows = false;
    // The last line above is the first line of `following`.
    const lines = [...(above?.data.logs.slice(0, -1) ?? []), ...following.data.logs];
    const { has_more: hasMore, next_cursor: after } = following.pagination;
    const all = held.append(held.NO_LINES, lines, hasMore ? after : null);
    if (all.blocks[0]) all.blocks[0].before = above?.pagination.previous_cursor ?? null;
    this.#show(all, after);
  }

  #begin(key) {
    this.#isOpening = true;
    this.selected = key;
    this.#generation += 1;
    return this.#generation;
  }

  /** Show these lines and those of the stream after `end`; positions are compared as strings. */
  #show(lines, end) {
    this.#isOpening = false;
    this.lines = lines;
    this.#arrived = this.#arrived.filter(({ place }) => end === null || place > end);
    this.#draw();
  }

  #read(place) {
    return get(this.path, { query: { ...this.#query, ...place } });
  }

  /** Read what precedes, until there are lines or the search has looked at many. */
  readUp() {
    return this.#once(async (generation) => {
      for (let reads = 0; held.beforeOf(this.lines) && reads < MAX_READS; reads += 1) {
        const read = await this.#read({ before: held.beforeOf(this.lines), limit: PER_READ });
        if (generation !== this.#generation) return;
        this.lines = held.prepend(this.lines, read.data.logs, read.pagination.previous_cursor);
        this.onChange();
        if (read.data.logs.length) return;
      }
    });
  }

  /** Read what follows; at the end of the log the lines of the stream go on. */
  readDown() {
    return this.#once(async (generation) => {
      if (!this.lines.after) return;
      const read = await this.#read({ after: this.lines.after, limit: PER_READ });
      if (generation !== this.#generation) return;
      const { has_more: hasMore, next_cursor: after } = read.pagination;
      this.#show(held.append(this.lines, read.data.logs, hasMore ? after : null), after);
    });
  }

  async #once(act) {
    this.#reading ??= act(this.#generation).finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  /** Add a line of the stream. */
  add(line) {
    const { level, text } = this.filter;
    if (level && line.level !== level) return;
    if (!line.msg.toLowerCase().includes(text.toLowerCase())) return;
    this.#arrived.push(line);
    // A frame draws all lines that arrived since the one before.
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (!this.#isOpening) this.#draw();
    });
  }

  #draw() {
    const arrived = this.#arrived.splice(0);
    // A reader who is further up reads them once the end is reached.
    if (this.lines.after) this.#arrived = arrived.slice(-Number(PER_READ));
    else if (arrived.length) this.lines = this.#extended(arrived);
    this.onChange();
  }

  #extended(arrived) {
    const all = held.append(this.lines, arrived);
    if (this.follows) return held.trim(all);
    const isTooLong = held.countOf(all) > held.MAX_LINES && arrived[0].before;
    return isTooLong ? { ...this.lines, after: arrived[0].before } : all;
  }

  /** Save the lines that are chosen as a file. */
  download() {
    return save(url(`${this.path}/download`, this.#query), `${this.jobId}.log`);
  }
}
