// JSON as foldable lines, for the component `Json`.

/** Characters of a string that are shown before it is unfolded. */
const LONG = 2000;
/** Depth from which on a value is folded at first. */
const DEEP = 3;

/**
 * One line. `kind` is its colour; `path` is the path of a foldable value, or null.
 * @typedef {{ path: string | null, depth: number, name: string | null, text: string, kind: string,
 *   isFolded: boolean, end: string }} Line
 */

/**
 * Return the path of a value within another, as a JSON Pointer.
 * @param {string} path
 * @param {string | number} name
 */
const within = (path, name) =>
  `${path}/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;

const entriesOf = (value) =>
  Array.isArray(value) ? value.map((each, at) => [at, each]) : Object.entries(value);
const isNested = (value) =>
  typeof value === "object" && value !== null && entriesOf(value).length > 0;

/**
 * Return whether a value is folded: as the reader chose, else from a depth on, unless it is short.
 * @param {any} value
 * @param {number} depth
 * @param {boolean | undefined} chosen
 */
function isFolded(value, depth, chosen) {
  if (chosen !== undefined) return chosen;
  if (typeof value === "string") return value.length > LONG;
  return depth >= DEEP || (depth > 0 && entriesOf(value).length > 100);
}

/**
 * Return the first lines of a value, at most `max`. `chosen` holds, by path, whether the reader
 * folded a value.
 * @param {any} value
 * @param {Map<string, boolean>} chosen
 * @param {number} max
 * @returns {{ lines: Line[], isCut: boolean }}
 */
export function jsonLines(value, chosen, max) {
  /** @type {Line[]} */
  const lines = [];
  const add = (name, value, path, depth, end) => {
    if (lines.length >= max) return;
    const line = { path: null, depth, name, text: "", kind: "", isFolded: false, end };
    lines.push(line);
    if (!isNested(value)) {
      Object.assign(line, scalar(value, path, depth, chosen));
      return;
    }
    const [open, close] = Array.isArray(value) ? "[]" : "{}";
    const entries = entriesOf(value);
    line.path = path;
    line.isFolded = isFolded(value, depth, chosen.get(path));
    line.text = line.isFolded ? `${open} ${entries.length} … ${close}` : open;
    if (line.isFolded) return;
    line.end = "";
    entries.forEach(([key, each], at) => {
      const own = Array.isArray(value) ? null : JSON.stringify(key);
      add(own, each, within(path, key), depth + 1, at < entries.length - 1 ? "," : "");
    });
    if (lines.length >= max) return;
    lines.push({ path: null, depth, name: null, text: close, kind: "", isFolded: false, end });
  };
  add(null, value, "", 0, "");
  return { lines, isCut: lines.length >= max };
}

/** Return what a line shows of a value without parts. */
function scalar(value, path, depth, chosen) {
  if (typeof value !== "string") {
    const kind =
      typeof value === "number"
        ? "number"
        : typeof value === "object" && value !== null
          ? ""
          : "word";
    return { text: JSON.stringify(value) ?? "null", kind };
  }
  const canFold = value.length > LONG;
  const folded = canFold && isFolded(value, depth, chosen.get(path));
  const text = JSON.stringify(folded ? value.slice(0, LONG) : value);
  return {
    text: folded ? `${text.slice(0, -1)}… ${value.length.toLocaleString("en")} characters"` : text,
    kind: "string",
    path: canFold ? path : null,
    isFolded: folded,
  };
}

/**
 * Return the paths of the values that contain a text in a name or a value, and of all that they are
 * in.
 * @param {any} value
 * @param {string} text
 * @returns {{ count: number, paths: Set<string> }}
 */
export function findJson(value, text) {
  const wanted = text.toLowerCase();
  const paths = new Set();
  let count = 0;
  const look = (name, value, path) => {
    const own = isNested(value)
      ? ""
      : typeof value === "string"
        ? value
        : (JSON.stringify(value) ?? "");
    let isFound = [name, own].some((each) =>
      String(each ?? "")
        .toLowerCase()
        .includes(wanted),
    );
    if (isFound) count += 1;
    if (isNested(value)) {
      for (const [key, each] of entriesOf(value)) {
        const isInside = look(Array.isArray(value) ? null : key, each, within(path, key));
        isFound ||= isInside;
        if (isInside) paths.add(path);
      }
    }
    return isFound;
  };
  if (wanted) look(null, value, "");
  return { count, paths };
}

/** Places of a text that are marked. */
const MAX_MARKS = 200;

/** Split a text at each place where `wanted` is, up to `MAX_MARKS`: `[text, isWanted]`. */
export function marked(text, wanted) {
  if (!wanted) return [[text, false]];
  const found = [];
  const lower = text.toLowerCase();
  let from = 0;
  while (found.length < 2 * MAX_MARKS) {
    const place = lower.indexOf(wanted, from);
    if (place < 0) break;
    const end = place + wanted.length;
    found.push([text.slice(from, place), false], [text.slice(place, end), true]);
    from = end;
  }
  return [...found, [text.slice(from), false]].filter(([part]) => part);
}
