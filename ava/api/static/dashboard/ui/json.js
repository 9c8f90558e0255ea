// JSON that folds, is searched and copied.

import { bytes } from "../format.js";
import { Button, Copy } from "./elements.js";
import { findJson, jsonLines, marked } from "./json_lines.js";
import { html, useMemo, useState } from "./preact.js";

const LINES = 500;

/**
 * A JSON value. `name` is what it is called: "Input".
 * @param {{ value: any, isHidden?: boolean, name: string }} props
 */
export function Json({ value, isHidden, name }) {
  const [chosen, setChosen] = useState(/** @type {Map<string, boolean>} */ (new Map()));
  const [sought, setSought] = useState("");
  const [max, setMax] = useState(LINES);
  const whole = useMemo(() => JSON.stringify(value, null, 2) ?? "null", [value]);
  const size = useMemo(() => new TextEncoder().encode(whole).length, [whole]);
  const found = useMemo(() => findJson(value, sought), [value, sought]);
  if (isHidden) return html`<p class="muted">Your role or API key may not see payloads.</p>`;
  const open = new Map([
    ...chosen,
    ...[...found.paths].map((path) => /** @type {const} */ ([path, false])),
  ]);
  const { lines, isCut } = jsonLines(value, open, max);
  const fold = ({ path, isFolded }) => setChosen(new Map(chosen).set(path, !isFolded));
  const isLong = lines.length > 12 || isCut || sought;
  return html`<div class="json-box">
    <div class="row json-tools">
      <small>${bytes(size)}</small>
      ${
        isLong &&
        html`<input type="search" placeholder="Search" aria-label=${`Search in ${name}`}
        value=${sought}
        oninput=${(event) => setSought(event.currentTarget.value)} />`
      }
      ${sought && html`<small role="status">${found.count} found</small>`}
      <${Copy} text=${whole} label=${`Copy ${name}`} />
    </div>
    <pre class="json" tabindex="0" aria-label=${name}>
      ${lines.map(
        (line, at) => html`<${Line} key=${at} line=${line} sought=${sought}
        onFold=${fold} />`,
      )}
    </pre>
    ${isCut && html`<${Button} kind="quiet" onclick=${() => setMax(max * 4)}>More lines<//>`}
  </div>`;
}

function Line({ line, sought, onFold }) {
  const { path, depth, name, text, kind, isFolded, end } = line;
  return html`<div class="line" style=${{ "--depth": String(depth) }}>
    ${
      path !== null &&
      html`<button type="button" class="fold" aria-expanded=${!isFolded}
        onclick=${() => onFold(line)}
        aria-label=${`${isFolded ? "Unfold" : "Fold"} ${name ?? "the value"}`}></button>`
    }
    ${name !== null && html`<span class="key"><${Marked} text=${name} wanted=${sought} /></span>: `}
    <span class=${kind || undefined}><${Marked} text=${text} wanted=${sought} /></span>${end}
  </div>`;
}

/** A text in which each place of another one is marked. */
export const Marked = ({ text, wanted }) =>
  marked(text, wanted.toLowerCase()).map(([part, isWanted]) =>
    isWanted ? html`<mark>${part}</mark>` : part,
  );
