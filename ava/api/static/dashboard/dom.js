// Creates elements from strings and attributes. The dashboard never parses a string as HTML.

const SVG = "http://www.w3.org/2000/svg";
/** Characters that turn the direction of the text around them, so that it reads as another one. */
const TURNING = /[\u202a-\u202e\u2066-\u2069]/g;

/** Create an element: `h("a", { href, onclick }, "text", child)`. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Create an SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  // Edited values are sent back, so they stay unchanged.
  element.append(...shown(children, element.tagName === "TEXTAREA" ? String : plain));
  return element;
}

function shown(children, write = plain) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (typeof child === "string" ? write(child) : child));
}

/** Returns a text with the characters that turn its direction written as JSON does. */
function plain(text) {
  return text.replace(TURNING, (found) => `\\u${found.charCodeAt(0).toString(16)}`);
}

/** Set an element's text if it differs, so that a selection inside it survives. */
export function say(element, text) {
  const wanted = plain(String(text ?? ""));
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Replace an element's children. */
export function put(element, ...children) {
  element.replaceChildren(...shown(children));
  return element;
}

/**
 * Keeps a list of elements in step with items. An element that stays is moved only if the order has changed, so that it
 * keeps its focus. `make(item)` returns `{ element, update(item) }`, and `close()` if something ends with the element.
 */
export class Keyed {
  #known = new Map();

  constructor(parent, keyOf, make) {
    Object.assign(this, { parent, keyOf, make });
  }

  show(items) {
    const wanted = new Set(items.map(this.keyOf));
    for (const [key, part] of this.#known) {
      if (!wanted.has(key)) {
        part.element.remove();
        part.close?.();
        this.#known.delete(key);
      }
    }
    let place = this.parent.firstChild;
    for (const item of items) {
      const key = this.keyOf(item);
      if (!this.#known.has(key)) this.#known.set(key, this.make(item));
      const part = this.#known.get(key);
      part.update(item);
      if (part.element === place) place = place.nextSibling;
      else this.parent.insertBefore(part.element, place);
    }
  }
}
