// The way to the API: the four headers, kept for this browser tab's session alone, and errors in the API's own words.

const KEY = "ava.session";

export const session = {
  get() {
    try {
      return JSON.parse(sessionStorage.getItem(KEY));
    } catch {
      return null;
    }
  },
  set(value) {
    sessionStorage.setItem(KEY, JSON.stringify(value));
  },
  clear() {
    sessionStorage.removeItem(KEY);
  },
  /** Whether the role may trigger, cancel and retry; the API decides, this only spares a refusal. */
  get mayWrite() {
    return !["tenant-user", "tenant-admin"].includes(session.get()?.role);
  },
};

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, { status, code: error.code, fields: error.fields ?? {}, requestId: error.request_id });
  }
}

function headers(more = {}, who = session.get()) {
  return {
    "x-internal-secret": who?.secret ?? "",
    "x-tenant-id": who?.tenant ?? "",
    "x-user-id": who?.user ?? "",
    "x-platform-role": who?.role ?? "",
    ...more,
  };
}

async function failure(answer) {
  const body = await answer.json().catch(() => null);
  const error = body?.error ?? { code: "unknown", message: `The server answered ${answer.status}.` };
  if (answer.status === 401) window.dispatchEvent(new Event("signed-out"));
  return new ApiError(answer.status, error);
}

/** One call; its whole answer as an object. Throws `ApiError`, or the browser's own error where nobody answers. */
export async function call(method, path, { query, body, signal, who } = {}) {
  const parameters = query ? new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString() : "";
  const answer = await fetch(parameters ? `${path}?${parameters}` : path, {
    method,
    signal,
    headers: headers(body === undefined ? {} : { "content-type": "application/json" }, who ?? session.get()),
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  if (!answer.ok) throw await failure(answer);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body = {}, options = {}) => call("POST", path, { ...options, body });

/** Follow Server-Sent Events, as `EventSource` would if it could send headers. Ends when the stream does. */
export async function follow(path, { signal, lastId, onEvent }) {
  const more = { accept: "text/event-stream", ...(lastId ? { "last-event-id": lastId } : {}) };
  const answer = await fetch(path, { headers: headers(more), signal, cache: "no-store" });
  if (!answer.ok) throw await failure(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
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
