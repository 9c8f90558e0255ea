import { ApiError, WaitTimeout } from "./errors.js";
import { linesOf } from "./streams.js";
import {
  fromWire, queryText, toWire, type Body, type Ids, type Item, type Method, type Path, type Reply,
} from "./wire.js";

export interface ClientOptions {
  /** The URL of the API, such as `https://jobs.example.com`. */
  url: string;
  apiKey: string;
  /** Max retries of a call after a transient failure; 4 by default. */
  retries?: number;
  /** Timeout of a call in seconds; 60 by default. */
  timeoutSeconds?: number;
  /** The API only validates changes and makes none. It refuses changes that it cannot validate without making them. */
  dryRun?: boolean;
  fetch?: typeof fetch;
}

/** Options of every call. */
export interface CallOptions {
  /** Ends the call, which then throws the signal's reason. */
  signal?: AbortSignal | undefined;
}

/** Options of a call that creates a record. */
export interface CreateOptions extends CallOptions {
  /** Calls with the same key create one record in 24 hours. By default the attempts of a call share a new key. */
  idempotencyKey?: string | undefined;
}

export interface WaitOptions extends CallOptions {
  /** Max seconds to wait; then `WaitTimeout` is thrown. Unlimited by default. */
  timeoutSeconds?: number | undefined;
}

interface Request extends CallOptions {
  /** Null: the body has the keys. */
  idempotencyKey?: string | null | undefined;
  query?: object | undefined;
  body?: unknown;
  headers?: Record<string, string>;
  /** Seconds for which the server may hold its response. */
  holdSeconds?: number | undefined;
  retries?: number;
}

interface Page {
  data: unknown;
  pagination?: { page?: number; hasMore?: boolean; nextCursor?: string | null; previousCursor?: string | null };
}

const TRANSIENT = new Set([0, 429, 502, 503, 504]);
/** POSTs that are not idempotent and take no idempotency key. */
const NOT_IDEMPOTENT = /^\/v1\/(hooks\/.+|(webhooks|ava\/notices)\/.+(test|redeliver)|ava\/(session(\/links)?|containments\/.+lift|(hooks|subscriptions)\/.*test))$/;
const MAX_PAUSE_MS = 30_000;
/** Max delay of a timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Max seconds that one request waits, within the API's limit, and the additional seconds for its response. */
const HOLD_SECONDS = 30;
const RESPONSE_SECONDS = 15;

/** Waits, or until the signal is aborted. */
export function sleep(ms: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, Math.min(ms, MAX_TIMER_MS));
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** Returns the retry delay of a call: the API's Retry-After, otherwise 0.2 s, 0.4 s … with jitter. */
export function pauseMs(attempt: number, retryAfterSeconds?: number | null): number {
  const backoffSeconds = 0.2 * 2 ** attempt * (0.8 + 0.4 * Math.random());
  return Math.min((retryAfterSeconds ?? backoffSeconds) * 1000, MAX_PAUSE_MS);
}

/** Returns true for an outage of the network or the API, or a refusal because of too many requests. */
export function isTransient(error: unknown): error is ApiError {
  return error instanceof ApiError && TRANSIENT.has(error.status);
}

/** Returns a new idempotency key, also on a page without https, where `crypto.randomUUID` is missing. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns an id as one segment of a path. Throws for a string that could select another route. */
function segment(id: unknown): string {
  // `fetch` removes `.` and `..`, and a server or its proxy may decode `%2F` or read `\` before it selects the route.
  if (typeof id !== "string" || /[/\\%?#\p{Cc}\p{Cs}]|^\.*$/u.test(id)) {
    throw new ApiError(`${JSON.stringify(id) ?? String(id)} is no id.`, 404, "resource_not_found", "");
  }
  return encodeURIComponent(id);
}

/** Sends the calls of one caller. */
export class Calls {
  readonly retries: number;
  readonly url: string;
  readonly #headers: Record<string, string>;
  readonly #timeoutSeconds: number;
  readonly #isDryRun: boolean;
  readonly #fetch: typeof fetch;

  constructor(options: ClientOptions, headers = {}) {
    const { url, apiKey, retries = 4, timeoutSeconds = 60, dryRun = false, fetch: send = fetch } = options;
    if (!url || !apiKey) throw new TypeError("Set `url` to the API's URL and `apiKey` to an API key.");
    // The message does not contain the key.
    if (!/^[\x21-\x7e]+$/.test(apiKey)) {
      throw new TypeError("The API key contains a space, a line end or another invalid character.");
    }
    this.url = url.replace(/\/+$/, "");
    this.#headers = { Authorization: `Bearer ${apiKey}`, ...headers };
    this.retries = retries;
    this.#timeoutSeconds = timeoutSeconds;
    this.#isDryRun = dryRun;
    this.#fetch = send;
  }

  /** Returns the `data` of a response. Throws `ApiError`. */
  async data<M extends Method, P extends Path>(
    method: M,
    path: P,
    ids: Ids<P>,
    request: Request & { body?: Body<P, M> } = {},
  ): Promise<Reply<P, M>> {
    return (await this.page(method, path, ids, request)).data as Reply<P, M>;
  }

  /** Yields the entries of a list. Pages are fetched as the iterator reaches them. */
  async *list<P extends Path>(path: P, ids: Ids<P>, query: object, options: CallOptions = {}): AsyncGenerator<Item<P>> {
    for (let place: object | undefined = {}; place !== undefined; ) {
      const { data, pagination } = await this.page("get", path, ids, { ...options, query: { ...query, ...place } });
      yield* data as Item<P>[];
      const { page = 1, hasMore = false, nextCursor } = pagination ?? {};
      // A sorted list has no cursor.
      place = hasMore ? (nextCursor == null ? { page: page + 1 } : { cursor: nextCursor }) : undefined;
    }
  }

  /**
   * Sends a request, and repeats it after a transient failure: a POST with one idempotency key, but not one that is not
   * idempotent and takes no key.
   */
  async page(method: Method, path: Path, ids: string[], request: Request = {}): Promise<Page> {
    const { signal, holdSeconds = 0, retries = this.retries } = request;
    const isPost = method === "post";
    const tries = isPost && NOT_IDEMPOTENT.test(path) ? 0 : retries;
    const { idempotencyKey = isPost && tries > 0 ? newKey() : undefined } = request;
    const headers = { ...request.headers, ...(idempotencyKey == null ? {} : { "Idempotency-Key": idempotencyKey }) };
    const seconds = Math.max(this.#timeoutSeconds, holdSeconds && holdSeconds + RESPONSE_SECONDS);
    return repeat(tries, signal, async () => {
      const { response, end } = await this.open(method, path, ids, { ...request, headers }, seconds);
      return fromWirePage(await response.text().catch(unreachable).finally(end));
    });
  }

  /** Returns the body of a response that is beside the API's paths, as it is. */
  async json(path: string, options: CallOptions): Promise<unknown> {
    return repeat(this.retries, options.signal, async () => {
      const { response, end } = await this.open("get", path as Path, [], options, this.#timeoutSeconds);
      return response.json().catch(unreachable).finally(end);
    });
  }

  /** Sends a request once. Returns the response, and a function to call once its body is read. Throws `ApiError`. */
  async open(
    method: Method,
    path: Path,
    ids: string[],
    { query = {}, body, headers, signal }: Request,
    seconds?: number,
  ): Promise<{ response: Response; end: () => void }> {
    const rest = [...ids];
    const place = path.replace(/\{\w+\}/g, () => segment(rest.shift()));
    const isDryRun = this.#isDryRun && method !== "get";
    const address = this.url + place + queryText({ ...query, ...(isDryRun ? { dryRun: true } : {}) });
    const init: RequestInit = { method: method.toUpperCase(), headers: { ...this.#headers, ...headers } };
    if (body !== undefined) {
      init.headers = { ...init.headers, "Content-Type": "application/json" };
      init.body = JSON.stringify(toWire(body));
    }
    signal?.throwIfAborted();
    const limit = limited(signal, (seconds ?? this.#timeoutSeconds) * 1000);
    try {
      const sent = this.#fetch.call(globalThis, address, { ...init, signal: limit.signal });
      const response = await sent.catch(unreachable);
      if (!response.ok) throw refusal(response, await response.text().catch(unreachable));
      // Only the caller's signal ends a stream.
      if (seconds === undefined) limit.clear();
      return { response, end: limit.end };
    } catch (error) {
      limit.end();
      signal?.throwIfAborted();
      throw error;
    }
  }

  /**
   * Calls `ask` with the seconds for which the server may hold its response, until the result is final. Waits out an
   * outage; gives up if the API itself fails (500) more often than `retries` in sequence.
   */
  /** Yields the records of an export, over one connection. */
  async *lines<T>(path: Path, ids: string[], query: object, { signal }: CallOptions): AsyncGenerator<T> {
    const open = () => this.open("get", path, ids, { query: { ...query }, signal });
    const { response, end } = await repeat(this.retries, signal, open);
    try {
      for await (const line of linesOf(response)) yield fromWire<T>(JSON.parse(line));
    } catch (error) {
      signal?.throwIfAborted();
      unreachable(error);
    } finally {
      end();
    }
  }

  async wait<T>(
    ask: (request: Request & { query: { wait?: number } }) => Promise<T>,
    isFinal: (found: T) => boolean,
    { signal, timeoutSeconds = Number.POSITIVE_INFINITY }: WaitOptions,
  ): Promise<T> {
    const deadline = performance.now() + timeoutSeconds * 1000;
    for (let failures = 0; ; ) {
      const left = Math.ceil(Math.min(HOLD_SECONDS, (deadline - performance.now()) / 1000));
      const query = left > 0 ? { wait: left } : {};
      try {
        const found = await ask({ signal, query, holdSeconds: left, retries: 0 });
        if (isFinal(found)) return found;
        if (left <= 0) throw new WaitTimeout(`It has not ended after ${timeoutSeconds} s.`);
        failures = 0;
      } catch (error) {
        failures += 1;
        if (left <= 0 || !mayRepeat(error, failures, this.retries)) throw error;
        const pause = pauseMs(Math.min(failures - 1, 6), (error as ApiError).retryAfterSeconds);
        await sleep(Math.min(pause, Math.max(0, deadline - performance.now())), signal);
      }
    }
  }
}

/** Returns what `send` returns, and calls it again after a transient failure, up to `tries` times. */
export async function repeat<T>(tries: number, signal: AbortSignal | undefined, send: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      signal?.throwIfAborted();
      if (attempt >= tries || !isTransient(error)) throw error;
      await sleep(pauseMs(attempt, error.retryAfterSeconds), signal);
    }
  }
}

/** Returns true if a wait or a stream that has failed so often in sequence may go on. */
export function mayRepeat(error: unknown, failures: number, retries: number): boolean {
  return isTransient(error) || (error instanceof ApiError && error.status >= 500 && failures <= retries);
}

/**
 * Returns a signal that is aborted with another one, or after some time, and what ends both, or only the time. Node 20
 * forgets those of `AbortSignal.any` and `AbortSignal.timeout` when it collects garbage.
 */
function limited(signal: AbortSignal | undefined, ms: number) {
  const call = new AbortController();
  const stop = (): void => call.abort(signal?.reason);
  const isLate = (): void => call.abort(new DOMException(`The call took more than ${ms / 1000} s.`, "TimeoutError"));
  const timer = setTimeout(isLate, Math.min(ms, MAX_TIMER_MS));
  signal?.addEventListener("abort", stop);
  const clear = (): void => clearTimeout(timer);
  const end = (): void => {
    clear();
    signal?.removeEventListener("abort", stop);
  };
  return { signal: call.signal, clear, end };
}

function fromWirePage(text: string): Page {
  try {
    const { data, pagination } = JSON.parse(text) as Page;
    if (data !== undefined && data !== null) return { data: fromWire(data), pagination: fromWire(pagination) };
  } catch (error) {
    unreachable(error);
  }
  return unreachable("the response has no data");
}

function refusal(response: Response, text: string): ApiError {
  let given: { code?: string; message?: string; request_id?: string; fields?: object } | undefined;
  try {
    given = (JSON.parse(text) as { error?: object } | null)?.error;
  } catch {
    // A proxy's response.
  }
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return new ApiError(
    given?.message ?? `The API responded with status ${response.status}`,
    response.status,
    given?.code ?? "unknown",
    given?.request_id ?? response.headers.get("x-request-id") ?? "",
    { ...given?.fields },
    Number.isFinite(seconds) ? seconds : null,
  );
}

/** Throws `ApiError` for a request without a response. Node names the reason only in the cause. */
export function unreachable(cause: unknown): never {
  const inner = (cause as { cause?: { code?: unknown; message?: unknown } } | null)?.cause;
  const reason = [String(cause), inner?.code ?? inner?.message].filter((part) => part).join(", ");
  throw new ApiError(`The API is unreachable: ${reason}`, 0, "unreachable", "", {}, null, { cause });
}
