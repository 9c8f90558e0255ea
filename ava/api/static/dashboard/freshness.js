// How fresh a page is: a banner that stays while the API cannot be reached, with the numbers dimmed and their age named.

import { h, say } from "./dom.js";
import { ago } from "./format.js";

const main = document.getElementById("main");
const banner = h("p", { class: "stale", role: "status", hidden: true });
main.before(banner);
const feeds = new Set();

/** Watch over what a page loads again and again: call `good` after each success, and `bad` with each error. */
export function feed(signal) {
  const state = { goodAt: null, error: null };
  feeds.add(state);
  signal.addEventListener("abort", () => {
    feeds.delete(state);
    draw();
  });
  draw();
  return {
    good() {
      Object.assign(state, { goodAt: new Date().toISOString(), error: null });
      draw();
    },
    bad(error) {
      state.error = error;
      draw();
    },
  };
}

/** What the banner says of an error and of the time of the last success. */
export const sentence = (error, goodAt) =>
  `${error.status ? error.message : "The API cannot be reached."} ${goodAt ? `Updated ${ago(goodAt)}` : "Nothing is loaded yet"}; trying again.`;

function draw() {
  const failing = [...feeds].filter((state) => state.error);
  main.toggleAttribute("aria-busy", false);
  if ([...feeds].some((state) => state.goodAt === null)) main.setAttribute("aria-busy", "true");
  main.classList.toggle("dimmed", failing.length > 0);
  banner.hidden = failing.length === 0;
  if (!failing.length) return;
  const oldest = failing.reduce((one, other) => ((other.goodAt ?? "") < (one.goodAt ?? "") ? other : one));
  say(banner, sentence(oldest.error, oldest.goodAt));
}

setInterval(draw, 1000);
