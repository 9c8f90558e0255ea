// The icons: drawn on 16 by 16 pixels with strokes in the current colour, so that they need no file
// and follow the theme.

import { html } from "./preact.js";

export const LOGO = new URL("../icon.svg", import.meta.url).href;

const PATHS = {
  audit: "M3.5 2h6.2L12.5 5v9h-9zM9.5 2v3.2h3M5.8 8h4.4M5.8 10.8h4.4",
  chart: "M2 2v12h12M5 11V8M8.2 11V4.5M11.4 11V6.5",
  check: "m3 8.5 3.4 3.3L13 4.5",
  clock: "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8M8 4.6V8l2.4 1.6",
  columns: "M2 3h12v10H2zM6 3v10M10 3v10",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  cross: "m4 4 8 8M12 4l-8 8",
  dot: "M8 5.4a2.6 2.6 0 1 1 0 5.2 2.6 2.6 0 0 1 0-5.2",
  dots: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  download: "M8 2v8M4.6 7 8 10.4 11.4 7M2.5 13.5h11",
  edit: "m3 10.2 7.6-7.6 2.8 2.8L5.8 13H3z",
  event: "M9 1.8 3.5 9H8l-1 5.2L12.5 7H8z",
  filter: "M2 3h12L9.5 8.5V13l-3-1.5v-3z",
  gauge: "M2.5 12a6.3 6.3 0 1 1 11 0M8 9.5l2.7-3.6",
  hook: "M14 8.5V13H2V8.5M8 2v7M5 6.2 8 9.2l3-3",
  info: "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8M8 7.4v3.8M8 4.8v.1",
  jobs: "M2.5 4h.01M2.5 8h.01M2.5 12h.01M5.5 4h8M5.5 8h8M5.5 12h8",
  key: "M10.5 2.2a3.3 3.3 0 1 1 0 6.6 3.3 3.3 0 0 1 0-6.6M8 7.8l-5.8 5.8M4.6 11.2l2 2",
  link: "M6.5 9.5l3-3M7.5 4.5 9 3a2.8 2.8 0 0 1 4 4l-1.5 1.5M8.5 11.5 7 13a3 3 0 0 1-4-4l1.5-1.5",
  menu: "M2 4h12M2 8h12M2 12h12",
  moon: "M13.5 9.6A6 6 0 1 1 6.4 2.5a4.8 4.8 0 0 0 7.1 7.1",
  node: "M2 2.5h12v4.6H2zM2 8.9h12v4.6H2zM4.6 4.8h.01M4.6 11.2h.01",
  out: "M6 2.5H2.5v11H6M6.5 8h7M10.5 5l3 3-3 3",
  overview: "M2.2 2.2h4.6v6H2.2zM9.2 2.2h4.6v3.6H9.2zM2.2 10.8h4.6v3H2.2zM9.2 8.4h4.6v5.4H9.2z",
  pause: "M5.2 3.2v9.6M10.8 3.2v9.6",
  play: "M4.5 2.8 12.8 8l-8.3 5.2z",
  plus: "M8 2.5v11M2.5 8h11",
  queue: "M8 1.8 14.5 5 8 8.2 1.5 5zM1.8 8.2 8 11.2l6.2-3M1.8 11.2l6.2 3 6.2-3",
  retry: "M13.5 8A5.5 5.5 0 1 1 11.6 3.8L13.5 5.5M13.5 2v3.5H10",
  search: "M7 2.2a4.8 4.8 0 1 1 0 9.6 4.8 4.8 0 0 1 0-9.6M10.5 10.5l3.4 3.4",
  sidebar: "M2 2.8h12v10.4H2zM6.2 2.8v10.4",
  skip: "m3.5 3.5 6 4.5-6 4.5zM12.5 3.5v9",
  stop: "M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8M3.8 3.8l8.4 8.4",
  subscription: "M2.5 13.5h.01M2.5 9a4.5 4.5 0 0 1 4.5 4.5M2.5 5a8.5 8.5 0 0 1 8.5 8.5M2.5 2.5",
  tag: "M2.5 2.5H8l5.8 5.8-5.5 5.5L2.5 8zM5.4 5.4h.01",
  tenant: "M2.5 14V2.5h7V14M9.5 6.5h4V14M1 14h14M5 5.5h2M5 8.5h2M5 11.5h2",
  tree: "M8 1.8v3M3.5 14v-3M12.5 14v-3M3.5 11V8h9v3M8 4.8V8",
  user: "M8 2a3 3 0 1 1 0 6 3 3 0 0 1 0-6M2.5 14a5.5 5.5 0 0 1 11 0",
  wait: "M4 2h8M4 14h8M4.8 2v2.6L8 8l3.2-3.4V2M4.8 14v-2.6L8 8l3.2 3.4V14",
  warn: "M8 2.2 14.5 13.5h-13zM8 6.5v3.2M8 11.6v.1",
  webhook: "m1.8 7.6 12.4-5.4-4.6 12-2.6-5zM7 9.2l7-7",
  worker:
    "M4.5 4.5h7v7h-7zM6.5 1.5v3M9.5 1.5v3M6.5 11.5v3M9.5 11.5v3M1.5 6.5h3M1.5 9.5h3M11.5 6.5h3",
};

/** @typedef {keyof typeof PATHS} IconName */

/**
 * A small picture beside a word, which names it; readers of the screen skip it.
 * @param {{ name: string }} props
 */
export function Icon({ name }) {
  const path = PATHS[/** @type {IconName} */ (name)] ?? PATHS.dot;
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" data-icon=${name}>
    <path d=${path} /></svg>`;
}
