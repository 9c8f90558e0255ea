// Calls of the API with the session's cookie, and errors with the API's messages.

import { session } from "./session.js";

export { session };

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, { status, code: error.code, fields: error.fields ?? {}, requestId: error.request_id });
  }
}

// The API takes a write with the cookie only if it names the tenant, which pages of others cannot do.
const headers = (more = {}) => ({ "x-tenant-id": session.get()?.tenant ?? "", ...more });

async function failure(response) {
  const body = await response.json().catch(() => null);
  const error = body?.error ?? { code: "unknown", message: `The server answered with status ${response.status}.` };
  if (response.status === 401) window.dispatchEvent(new Event("signed-out"));
  return new ApiError(response.status, error);
}

/** One call. Returns the response as an object. Throws `ApiError`, or the browser's error if there is no response. */
export async function call(method, path, { query, body, signal } = {}) {
  const parameters = query ? new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString() : "";
  const response = await fetch(parameters ? `${path}?${parameters}` : path, {
    method,
    signal,
    headers: headers(body === undefined ? {} : { "content-type": "application/json" }),
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  if (!response.ok) throw await failure(response);
  return response.status === 204 ? null : response.json();
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body = {}, options = {}) => call("POST", path, { ...options, body });

/** Read Server-Sent Events, like `EventSource` but with headers. Returns when the stream ends. */
export async function follow(path, { signal, lastId, onEvent }) {
  const more = { accept: "text/event-stream", ...(lastId ? { "last-event-id": lastId } : {}) };
  const response = await fetch(path, { headers: headers(more), signal, cache: "no-store" });
  if (!response.ok) throw await failure(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = parse(block);
      if (event) onEvent(event);
    }
  }
}

function parse(block) {
  const event = { name: "message", id: "", data: [] };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon < 1) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (line.startsWith("event:")) event.name = value;
    else if (line.startsWith("id:")) event.id = value;
    else if (line.startsWith("data:")) event.data.push(value);
  }
  return event.data.length ? { name: event.name, id: event.id, data: JSON.parse(event.data.join("\n")) } : null;
}
