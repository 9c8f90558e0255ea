// The palette's results: pages, actions and workers with words that begin with the input.

/**
 * An entry. `run` opens or does it; `hint` is shown behind its title, and `words` are also found.
 * @typedef {{ key: string, title: string, icon: string, run: () => any, hint?: string,
 *   words?: string }} Entry
 */

/**
 * Return how well a text fits an entry: 3 if its title begins with it, 2 if each word of the text
 * begins a word of the entry, 1 if the entry contains the text, else 0.
 * @param {string} text
 * @param {Pick<Entry, "title" | "words" | "hint">} entry
 */
export function fit(text, { title, words = "", hint = "" }) {
  const wanted = text.trim().toLowerCase();
  const all = `${title} ${words} ${hint}`.toLowerCase();
  if (!wanted || title.toLowerCase().startsWith(wanted)) return 3;
  const found = all.split(/[^\p{L}\p{N}]+/u);
  if (wanted.split(/\s+/).every((part) => found.some((word) => word.startsWith(part)))) return 2;
  return all.includes(wanted) ? 1 : 0;
}

/**
 * Return the entries that fit a text, the best first; entries that fit equally well keep their
 * order.
 * @template {Entry} T
 * @param {string} text
 * @param {T[]} entries
 * @param {number} max
 */
export function fitting(text, entries, max) {
  return entries
    .map((entry) => ({ entry, value: fit(text, entry) }))
    .filter(({ value }) => value > 0)
    .sort((one, other) => other.value - one.value)
    .slice(0, max)
    .map(({ entry }) => entry);
}
