// How fresh a page is: a banner that stays while its numbers are not loaded again, with the numbers
// dimmed and their age.

import { silentMs, Unreachable } from "./api.js";
import { ago, plain } from "./format.js";

/**
 * Milliseconds for which one failed call says nothing about an API that has responded to others.
 */
const DOUBT_MS = 3000;
/** Milliseconds after which a part that fails beside others that are loaded is named. */
const PART_MS = 10000;
const main = document.getElementById("main");
const banner = Object.assign(document.createElement("p"), {
  className: "stale",
  role: "status",
  hidden: true,
});
main.before(banner);
const feeds = new Set();

/**
 * Watch over what a page loads again and again: call `good` after each success, and `bad` with each
 * error.
 */
export function feed(signal) {
  const state = { goodAt: null, error: null, failingSince: 0 };
  // A page that was left while it was opened is not watched.
  if (!signal.aborted) feeds.add(state);
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
      if (!state.error) state.failingSince = Date.now();
      state.error = error;
      draw();
    },
  };
}

/**
 * What an error means to a reader: the API's sentence, that there is no response, or that the page
 * is at fault.
 */
export const reason = (error) =>
  error.status || error instanceof Unreachable
    ? error.message
    : "A part of this page could not be shown.";

/**
 * What the banner says of a part that fails; null if nothing yet, because the API responds to other
 * calls.
 */
function claim({ error, failingSince }) {
  if (!(error instanceof Unreachable) || silentMs() > DOUBT_MS) return reason(error);
  return Date.now() - failingSince > PART_MS ? "A part of this page was not loaded." : null;
}

function draw() {
  const failing = [...feeds].filter((state) => state.error && claim(state));
  main.toggleAttribute("aria-busy", false);
  if ([...feeds].some((state) => state.goodAt === null)) main.setAttribute("aria-busy", "true");
  main.classList.toggle("dimmed", failing.length > 0);
  banner.hidden = failing.length === 0;
  if (!failing.length) return;
  const oldest = failing.reduce((one, other) =>
    (other.goodAt ?? "") < (one.goodAt ?? "") ? other : one,
  );
  const age = oldest.goodAt ? `Updated ${ago(oldest.goodAt)}` : "Nothing is loaded yet";
  const text = plain(`${claim(oldest)} ${age}; trying again.`);
  // Keep an unchanged element, so that a selection in it survives.
  if (banner.textContent !== text) banner.textContent = text;
}

setInterval(draw, 1000);
