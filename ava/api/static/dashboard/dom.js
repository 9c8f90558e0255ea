// Elements, made of text and attributes alone. Nothing here or elsewhere reads a string as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `h("a", { href, onclick }, "text", child)`. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an element of SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set an element's text where it differs, so that a selection inside it survives. */
export function say(element, text) {
  const wanted = String(text ?? "");
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Replace what an element holds. */
export function put(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * Keep a list of elements in step with items. What stays is moved only where the order has changed, so that it keeps its
 * focus. `make(item)` gives `{ element, update(item) }`.
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
