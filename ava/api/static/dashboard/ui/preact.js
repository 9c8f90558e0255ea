// Preact and htm, the dashboard's only renderer. It never parses a string as HTML.

import htm from "htm";
import { Component, h, options, render } from "preact";
import { plain } from "../format.js";
import { feed } from "../freshness.js";

export * from "preact";
export * from "preact/hooks";

/** Preact draws each string as a node without a type; its text must not turn what is beside it. */
options.vnode = (node) => {
  const text = /** @type {{ type: unknown, props: unknown }} */ (node);
  if (text.type === null && typeof text.props === "string") text.props = plain(text.props);
};

/** Describe elements and components: html`<${Card} title="Runs">${rows}<//>`. */
export const html = htm.bind(h);

/** Seconds after which a part that could not be drawn is drawn again. */
const REDRAW_SECONDS = 5;

/**
 * A part of the page: if it cannot be drawn, the banner says so, and it is drawn again some seconds
 * later.
 */
export class Boundary extends Component {
  state = { error: null };

  componentDidCatch(error) {
    console.error(error);
    this.leaving = new AbortController();
    feed(this.leaving.signal).bad(error);
    this.setState({ error });
    this.timer = setTimeout(() => this.redraw(), REDRAW_SECONDS * 1000);
  }

  redraw() {
    this.leaving.abort();
    this.setState({ error: null });
  }

  componentWillUnmount() {
    clearTimeout(this.timer);
    this.leaving?.abort();
  }

  render({ children }, { error }) {
    if (!error) return children;
    return html`<p class="empty" role="alert">A part of this page could not be shown.</p>`;
  }
}

/**
 * Draw into `main` until `signal` aborts.
 * @param {Element} main
 * @param {import("preact").ComponentChild} vnode
 * @param {AbortSignal} signal
 */
export function mount(main, vnode, signal) {
  render(html`<${Boundary}>${vnode}<//>`, main);
  signal.addEventListener("abort", () => render(null, main));
}

/**
 * Return what opens a page: it draws a component, whose `rest` is the address's path after the
 * page's name. It returns true, because the component follows the address's query by `useQuery`.
 * @param {(props: { rest: string[] }) => any} Page
 * @returns {(main: Element, here: { signal: AbortSignal, rest: string[] }) => boolean}
 */
export const page =
  (Page) =>
  (main, { signal, rest }) => {
    mount(main, html`<${Page} rest=${rest} />`, signal);
    return true;
  };
