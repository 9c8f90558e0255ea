// The log of a job as a list that draws only the blocks of lines near the part that is seen.

import { counted, full, precise } from "../format.js";
import { Button, CheckBox, Component, html, notify, Select, useEffect } from "../ui/index.js";
import { useLayoutEffect, useReducer, useRef, useState } from "../ui/index.js";
import { Marked } from "../ui/json.js";
import { isFinal } from "./job_states.js";
import { beforeOf, countOf, keyOf } from "./log_lines.js";

const WRAP = "ava.log.wrap";
const SEARCH_MS = 300;
/** How far around the part that is seen blocks are drawn. */
const NEAR = "800px 0px";
/** Pixels from an end at which more lines are read. */
const EDGE = 200;
const LEVELS = [
  ["", "All levels"],
  ["info", "Info"],
  ["warn", "Warnings"],
  ["error", "Errors"],
];
const KEYS = "Enter goes to the lines, the arrow keys move between them";

const report = (reading) => Promise.resolve(reading).catch((error) => notify(error.message, "bad"));

/**
 * The log of a job, which `log` reads. `lineKey` is the line to show first, `onLine(key)` is called
 * with a line that was chosen, whose address is `hrefOf(key)`.
 * @param {{ job: any, log: import("./log_reader.js").LogReader, lineKey?: string | null,
 *   hrefOf: (key: string) => string, onLine: (key: string) => void }} props
 */
export function Log({ job, log, lineKey, hrefOf, onLine }) {
  const [, changed] = useReducer((n) => n + 1, 0);
  const [wraps, setWraps] = useState(localStorage.getItem(WRAP) !== "no");
  useEffect(() => {
    log.onChange = () => changed(null);
    if (lineKey && log.selected !== lineKey) report(log.openAt(lineKey));
    return () => {
      log.onChange = () => {};
    };
  }, [log, lineKey]);
  const wrap = (event) => {
    localStorage.setItem(WRAP, event.target.checked ? "yes" : "no");
    setWraps(event.target.checked);
  };
  const follow = (event) => report(log.setFollows(event.target.checked));
  const choose = (level) => report(log.choose({ level }));
  return html`<section class="log-part" aria-label="Log">
    <div class="row log-bar">
      <${Select} aria-label="Level" name="level" value=${log.filter.level} options=${LEVELS}
        onchange=${choose} />
      <${Search} log=${log} />
      <${CheckBox} label="Wrap" checked=${wraps} onchange=${wrap} />
      <${CheckBox} label="Follow" checked=${log.follows} onchange=${follow} />
      <${Button} kind="quiet" icon="download" onclick=${() => log.download()}>Download<//>
      <span class="muted log-count" role="status">${sumOf(log, job)}</span>
    </div>
    ${
      beforeOf(log.lines) &&
      html`<${Button} kind="quiet" onclick=${() => log.readUp()}>Older lines<//>`
    }
    <${Lines} log=${log} wraps=${wraps} hrefOf=${hrefOf} onLine=${onLine} />
  </section>`;
}

function Search({ log }) {
  const pause = useRef(0);
  const search = (event) => {
    const text = event.target.value;
    clearTimeout(pause.current);
    pause.current = setTimeout(() => report(log.choose({ text })), SEARCH_MS);
  };
  return html`<input type="search" name="log-search" aria-label="Search the log"
    placeholder="Search" autocomplete="off" spellcheck="false" defaultValue=${log.filter.text}
    oninput=${search} />`;
}

function sumOf(log, job) {
  if (log.isHidden) return "Your role or API key may not see log lines.";
  const lines = counted(countOf(log.lines), "line");
  const isCut = log.lines.after || beforeOf(log.lines);
  const part = log.lines.after ? `${lines} of a part` : isCut ? `last ${lines}` : lines;
  return `${part}${isFinal(job) ? "" : ", live"}`;
}

/** The scrolled list. It stays at the end while it follows, and in place when lines come above. */
function Lines({ log, wraps, hrefOf, onLine }) {
  const scroller = useRef(null);
  const near = useNear(scroller);
  const { blocks, firstN, after } = log.lines;
  const before = useRef({ firstN, height: 0 });
  const top = useRef(0);
  useLayoutEffect(() => {
    const list = scroller.current;
    // Lines may still arrive while the page of the job is removed.
    if (!list) return;
    const { scrollHeight: height } = list;
    if (log.follows) list.scrollTop = height;
    else if (firstN < before.current.firstN) list.scrollTop += height - before.current.height;
    before.current = { firstN, height };
  });
  useEffect(() => {
    scroller.current?.querySelector(".selected")?.scrollIntoView({ block: "center" });
  }, [log.selected, blocks.length > 0]);
  const scrolled = () => {
    const list = scroller.current;
    const left = list.scrollHeight - list.scrollTop - list.clientHeight;
    // A resized window leaves the end without a reader who scrolled up.
    if (log.follows && list.scrollTop < top.current && left > EDGE) log.setFollows(false);
    top.current = list.scrollTop;
    if (list.scrollTop < EDGE && beforeOf(log.lines)) report(log.readUp());
    if (left < EDGE && after) report(log.readDown());
  };
  const onSelect = (key) => {
    log.selected = key;
    onLine(key);
  };
  const shared = { near, selected: log.selected, wanted: log.filter.text.toLowerCase() };
  return html`<div class=${wraps ? "log" : "log nowrap"} ref=${scroller} role="log" tabindex="0"
    aria-label="Log lines" aria-description=${KEYS} onscroll=${scrolled} onkeydown=${moveFocus}>
    ${blocks.map(
      (block) => html`<${Block} key=${block.n} ...${{ block, hrefOf, onSelect, ...shared }} />`,
    )}
  </div>`;
}

/** Observe which blocks are near the part that is seen: `acts` has what each element is told. */
function useNear(scroller) {
  const made = useRef(null);
  made.current ??= { acts: new Map(), observer: null };
  useLayoutEffect(() => {
    const { acts } = made.current;
    const observer = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) acts.get(entry.target)?.(entry);
      },
      { root: scroller.current, rootMargin: NEAR },
    );
    made.current.observer = observer;
    for (const element of acts.keys()) observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return made.current;
}

/** A block: its lines, or their place if they are far from the part that is seen. */
class Block extends Component {
  state = { isNear: true, height: 0 };

  place = (element) => {
    const { acts, observer } = this.props.near;
    if (this.element) {
      observer?.unobserve(this.element);
      acts.delete(this.element);
    }
    this.element = element;
    if (!element) return;
    acts.set(element, ({ isIntersecting: isNear, boundingClientRect: { height } }) => {
      if (isNear !== this.state.isNear) this.setState({ isNear, height });
    });
    observer?.observe(element);
  };

  shouldComponentUpdate(next, { isNear }) {
    const isSame = ["block", "wanted", "selected"].every((name) => next[name] === this.props[name]);
    return !isSame || isNear !== this.state.isNear;
  }

  /** @param {any} props */
  render({ block, ...shared }, { isNear, height }) {
    const isDrawn = isNear || !height;
    const style = { blockSize: isDrawn ? "auto" : `${height}px` };
    return html`<div class="block" ref=${this.place} style=${style}>
      ${isDrawn && block.lines.map((line) => lineOf(line, shared))}
    </div>`;
  }
}

/**
 * @param {import("./log_lines.js").Line} line
 * @param {{ wanted: string, selected?: string | null, hrefOf?: (key: string) => string,
 *   onSelect?: (key: string) => void, [prop: string]: any }} shared
 */
function lineOf(line, { wanted, selected, hrefOf, onSelect }) {
  const key = keyOf(line);
  const select = (event) => {
    event.preventDefault();
    onSelect(key);
  };
  const time = html`<time title=${full(line.ts)}>${precise(line.ts)}</time>`;
  return html`<p data-level=${line.level} class=${key === selected ? "selected" : null}>
    ${hrefOf ? html`<a href=${hrefOf(key)} tabindex="-1" onclick=${select}>${time}</a>` : time}
    <span class="level">${line.level}</span>
    <span class="msg"><${Marked} text=${line.msg} wanted=${wanted} /></span>
  </p>`;
}

/** Enter moves the focus to the last line, the arrows move it between lines, and Escape back. */
function moveFocus(event) {
  const list = event.currentTarget;
  const links = [...list.querySelectorAll("p > a")];
  const here = links.indexOf(document.activeElement);
  const isInside = here >= 0;
  const next = {
    Enter: isInside ? null : links.at(-1),
    ArrowUp: isInside ? links[here - 1] : null,
    ArrowDown: isInside ? links[here + 1] : null,
    Escape: isInside ? list : null,
  }[event.key];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/** Lines that stay as they are, such as those of a bar of the waterfall. */
export const PlainLines = ({ lines }) =>
  html`<div class="log plain-log">${lines.map((line) => lineOf(line, { wanted: "" }))}</div>`;
