// Calls of the API with the session's cookie, and errors with the API's messages.

import { session } from "./session.js";

export { session };

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, {
      status,
      code: error.code,
      fields: error.fields ?? {},
      requestId: error.request_id,
    });
  }
}

/** No response: the network is cut, or the API is down or slow. */
export class Unreachable extends Error {
  constructor(message = "The API cannot be reached.") {
    super(message);
  }
}

/** Milliseconds without a response after which a call ends; streams take longer. */
const MAX_CALL_MS = 60000;
let respondedAt = 0;

/** Milliseconds since the API last responded to this page, with any status. */
export const silentMs = () => Date.now() - respondedAt;

/** `fetch`, which throws `Unreachable` if there is no response. */
async function send(address, options) {
  try {
    const response = await fetch(address, options);
    respondedAt = Date.now();
    return response;
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable();
  }
}

/** The body of a response, which may break off. */
async function read(response) {
  try {
    return await response.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Unreachable();
  }
}

// The API takes a write with the cookie only if it names the tenant, which pages of others cannot
// do.
const headers = (more = {}, tenant = session.get()?.tenant) => ({
  ...(tenant && { "x-tenant-id": tenant }),
  ...more,
});

async function failure(response) {
  const body = await response.json().catch(() => null);
  const error = body?.error ?? {
    code: "unknown",
    message: `The server answered with status ${response.status}.`,
  };
  if (response.status === 401) window.dispatchEvent(new Event("signed-out"));
  return new ApiError(response.status, error);
}

/**
 * The last answers of what is read again and again, by address, so that an unchanged one is not
 * sent again.
 */
const kept = new Map();
const MAX_KEPT = 8;

function keep(address, etag, answer) {
  kept.delete(address);
  kept.set(address, { etag, answer });
  if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value);
}

/** An address with the parameters that have a value. */
export function url(path, query) {
  const parameters = query
    ? new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString()
    : "";
  return parameters ? `${path}?${parameters}` : path;
}

/**
 * One call. Returns the response as an object. Throws `ApiError`, or `Unreachable` if there is no
 * response. With `isRepeated` an unchanged answer is the object of the call before.
 * @param {string} method
 * @param {string} path
 * A platform role may name another `tenant`.
 * @param {{ query?: Record<string, any>, body?: any, signal?: AbortSignal, isRepeated?: boolean,
 *   tenant?: string, headers?: Record<string, string> }} [options]
 */
export async function call(
  method,
  path,
  { query, body, signal, isRepeated, tenant, ...more } = {},
) {
  const address = url(path, query);
  const last = isRepeated ? kept.get(address) : undefined;
  const given = {
    ...more.headers,
    ...(last && { "if-none-match": last.etag }),
    ...(body !== undefined && { "content-type": "application/json" }),
  };
  const late = AbortSignal.timeout(MAX_CALL_MS);
  const response = await send(address, {
    method,
    signal: signal ? AbortSignal.any([signal, late]) : late,
    headers: headers(given, tenant),
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  if (response.status === 304) return last.answer;
  if (!response.ok) throw await failure(response);
  const etag = response.headers.get("etag");
  if (isRepeated && etag) {
    const answer = await read(response);
    keep(address, etag, answer);
    return answer;
  }
  return response.status === 204 ? null : read(response);
}

/**
 * Entries of the first pages of a list, all pages by default. `hasMore`: others follow.
 * @param {string} path
 * @param {{ query?: Record<string, any>, pages?: number, signal?: AbortSignal }} [options]
 */
export async function list(path, { query, pages = Infinity, ...options } = {}) {
  const entries = [];
  let cursor = "";
  for (let page = 0; page < pages; page += 1) {
    const { data, pagination } = await get(path, {
      ...options,
      query: { ...query, per_page: "100", cursor },
    });
    entries.push(...data);
    if (!pagination.has_more) return { entries, hasMore: false };
    cursor = pagination.next_cursor;
  }
  return { entries, hasMore: true };
}

export const get = (path, options) => call("GET", path, options);
/** Save a record: `found`, or a new one if it is null. Returns the saved record. */
export async function saveRecord(path, found, body) {
  const saved = found
    ? call("PATCH", `${path}/${encodeURIComponent(found.id)}`, { body })
    : post(path, body);
  return (await saved).data;
}

export const post = (path, body = {}, options = {}) => call("POST", path, { ...options, body });

/** Save what an address returns as a file. A link would not name the tenant. */
export async function save(address, name) {
  const response = await send(address, { headers: headers(), cache: "no-store" });
  if (!response.ok) throw await failure(response);
  saveBlob(await response.blob(), name);
}

/** Save data as a file. */
export function saveBlob(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Read Server-Sent Events, like `EventSource` but with headers. Returns when the stream ends. */
export async function follow(path, { signal, lastId, onEvent }) {
  const more = { accept: "text/event-stream", ...(lastId ? { "last-event-id": lastId } : {}) };
  const response = await send(path, { headers: headers(more), signal, cache: "no-store" });
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
  return event.data.length
    ? { name: event.name, id: event.id, data: JSON.parse(event.data.join("\n")) }
    : null;
}
