// The loaded lines of a log, in blocks; the list draws the visible ones. No DOM.

/** Lines of one block. */
export const PER_BLOCK = 100;
/** The most lines that stay while new ones come; a reader who scrolls up reads older ones again. */
export const MAX_LINES = 10000;

/**
 * `before` of a line is the cursor before it, if it is known.
 * @typedef {{ ts: string, level: string, msg: string, before?: string, place?: string }} Line
 * `before` of a block is the cursor from which the preceding lines are read; null: there are none,
 * or it is not known.
 * @typedef {{ n: number, before: string | null, lines: Line[] }} Block
 * `after` is the cursor from which the following lines are read; null at the end of the log.
 * @typedef {{ blocks: Block[], after: string | null, nextN: number, firstN: number }} Lines
 */

/** @type {Lines} */
export const NO_LINES = { blocks: [], after: null, nextN: 0, firstN: 0 };

/** The number of lines. */
export const countOf = ({ blocks }) => blocks.reduce((sum, { lines }) => sum + lines.length, 0);

/** The cursor from which the lines before the first one are read; null if there are none. */
export const beforeOf = ({ blocks }) => blocks[0]?.before ?? null;

const parts = (lines) =>
  Array.from({ length: Math.ceil(lines.length / PER_BLOCK) }, (_, n) =>
    lines.slice(n * PER_BLOCK, (n + 1) * PER_BLOCK),
  );

/** Add lines above. `before` is the cursor from which those above them are read. */
export function prepend(held, lines, before) {
  const found = parts(lines);
  const firstN = held.firstN - Math.max(found.length, 1);
  // A block without lines stores the position of an unfinished search.
  const added = (found.length ? found : [[]]).map((each, n) => ({
    n: firstN + n,
    before: n ? null : before,
    lines: each,
  }));
  const others = held.blocks.filter((each) => each.lines.length);
  return { ...held, firstN, blocks: [...added, ...others] };
}

/**
 * Add lines below, which fill the last block first. `after` is the cursor of those that follow.
 * @param {Lines} held
 * @param {Line[]} lines
 * @param {string | null} [after]
 * @returns {Lines}
 */
export function append(held, lines, after = null) {
  const blocks = [...held.blocks];
  let { nextN } = held;
  let from = 0;
  while (from < lines.length) {
    const last = blocks.at(-1);
    const room = last?.lines.length ? PER_BLOCK - last.lines.length : 0;
    const taken = lines.slice(from, from + (room || PER_BLOCK));
    if (room) blocks[blocks.length - 1] = { ...last, lines: [...last.lines, ...taken] };
    else blocks.push({ n: nextN++, before: taken[0].before ?? null, lines: taken });
    from += taken.length;
  }
  return { ...held, blocks, nextN, after };
}

/** Drop the first blocks beyond `MAX_LINES`, up to one before which lines can be read again. */
export function trim(held) {
  const excess = held.blocks.length - MAX_LINES / PER_BLOCK;
  if (excess <= 0) return held;
  const first = held.blocks.findIndex(({ before }, n) => n >= excess && before);
  return first < 0 ? held : { ...held, blocks: held.blocks.slice(first) };
}

/** The address of a line: its time, and a number of its text, as some lines have the same time. */
export function keyOf({ ts, msg }) {
  let sum = 0;
  for (let place = 0; place < msg.length; place += 1) {
    sum = (Math.imul(sum, 31) + msg.charCodeAt(place)) | 0;
  }
  return `${ts}~${(sum >>> 0).toString(36)}`;
}

/** The time of a line's address. */
export const timeOfKey = (key) => key.split("~")[0];
