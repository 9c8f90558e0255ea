import createRequests, { defaultPathSerializer, type Client as Requests } from "openapi-fetch";

import { AvaError } from "./errors.js";
import type { paths } from "./openapi.js";

export interface CallOptions {
  /** The URL of the API, such as `https://jobs.example.com`. */
  url: string;
  /** An API key. */
  key: string;
  /** Max retries of a call after a temporary failure; 4 by default. */
  retries?: number;
  /** Timeout of a call in seconds; 60 by default. */
  timeoutSeconds?: number;
  fetch?: typeof fetch;
}

export type Api = Requests<paths>;

const RETRIED = new Set([429, 502, 503, 504]);
/** POSTs that are not idempotent and take no idempotency key. */
const DONE_ANEW = /\/v1\/(webhooks\/.+|hooks(\/.*)?)$|\/v1\/ava\/(session(\/links)?|(hooks|subscriptions)\/.*test)$/;
const MAX_PAUSE_MS = 30_000;
/** The longest time of a timer. */
const MAX_TIMER_MS = 2 ** 31 - 1;

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

/** Returns the pause before a call is repeated: what the API asked for, else 0.2 s, 0.4 s … with jitter. */
export function pauseMs(attempt: number, retryAfterSeconds?: number | null): number {
  const wanted = retryAfterSeconds == null ? 200 * 2 ** attempt * (0.8 + 0.4 * Math.random()) : retryAfterSeconds * 1000;
  return Math.min(wanted, MAX_PAUSE_MS);
}

/** Returns true if a call that failed so may succeed later. */
export function mayPass(error: unknown): boolean {
  return !(error instanceof AvaError) || error.status === 0 || RETRIED.has(error.status) || error.status >= 500;
}

/** Returns a new idempotency key, also on a page without https, where `crypto.randomUUID` is missing. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Returns the header of a key. Throws for one that no header can have, such as one with a line end, without naming it. */
export function authorization(key: string): string {
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new TypeError("The API key contains a space, a line end or another invalid character.");
  }
  return `Bearer ${key}`;
}

/**
 * Returns an id as one part of a path. Throws for a text that could call another route: quotes do not suffice, because
 * `fetch` removes `.` and `..`, and a server decodes `%2F` before it chooses the route.
 */
export function segment(id: unknown): string {
  const text = String(id);
  if (text.includes("/") || /^\.*$/.test(text)) {
    throw new AvaError(`${JSON.stringify(text)} is no id.`, 404, "resource_not_found", "");
  }
  return encodeURIComponent(text);
}

/**
 * Returns the typed calls of the API. Each is repeated after a failure that may pass, a POST with one idempotency key,
 * except those of which each does something anew and no key is taken.
 */
export function makeApi(
  { url, key, retries = 4, timeoutSeconds = 60, fetch: send = fetch }: CallOptions,
  headers: Record<string, string> = {},
): Api {
  const repeated = async (request: Request): Promise<Response> => {
    const isPost = request.method === "POST";
    const tries = isPost && DONE_ANEW.test(new URL(request.url).pathname) ? 0 : retries;
    if (isPost && tries > 0 && !request.headers.has("Idempotency-Key")) request.headers.set("Idempotency-Key", newKey());
    for (let attempt = 0; ; attempt += 1) {
      const isLast = attempt >= tries || request.signal.aborted;
      const { signal, end } = limited(request.signal, timeoutSeconds * 1000);
      try {
        const response = await send(isLast ? request : request.clone(), { signal });
        if (isLast || !RETRIED.has(response.status)) return whole(response, end);
        end();
        await response.body?.cancel();
        await sleep(pauseMs(attempt, retryAfterOf(response)), request.signal);
      } catch (error) {
        end();
        if (isLast || request.signal.aborted) throw error;
        await sleep(pauseMs(attempt), request.signal);
      }
    }
  };
  return createRequests<paths>({
    baseUrl: url.replace(/\/+$/, ""),
    headers: { Authorization: authorization(key), ...headers },
    fetch: repeated,
    pathSerializer: (path, ids) => {
      Object.values(ids).forEach(segment);
      return defaultPathSerializer(path, ids);
    },
  });
}

/**
 * Returns a signal that is aborted with another one, or after some time, and what ends both. Node 20 forgets those of
 * `AbortSignal.any` and `AbortSignal.timeout` when it collects garbage.
 */
function limited(signal: AbortSignal, ms: number): { signal: AbortSignal; end: () => void } {
  const call = new AbortController();
  const stop = (): void => call.abort(signal.reason);
  const isLate = (): void => call.abort(new DOMException(`The call took more than ${ms / 1000} s.`, "TimeoutError"));
  const timer = setTimeout(isLate, Math.min(ms, MAX_TIMER_MS));
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  return {
    signal: call.signal,
    end: () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    },
  };
}

/** Returns a response that calls `end` once its body is read, has failed, or is not wanted any more. */
function whole(response: Response, end: () => void): Response {
  const reader = response.body?.getReader();
  if (reader === undefined) {
    end();
    return response;
  }
  const body = new ReadableStream<Uint8Array>({
    async pull(read) {
      try {
        const { done, value } = await reader.read();
        if (!done) return read.enqueue(value);
        read.close();
      } catch (error) {
        read.error(error);
      }
      end();
    },
    cancel(reason) {
      end();
      return reader.cancel(reason);
    },
  });
  return new Response(body, response);
}

function retryAfterOf(response: Response): number | null {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) ? seconds : null;
}

export interface Answer<Data> {
  data?: Data;
  error?: unknown;
  response: Response;
}

/** Returns the answer of a call. Throws `AvaError`. */
export async function answerOf<Data>(call: Promise<Answer<Data>>): Promise<NonNullable<Data>> {
  let answer: Answer<Data>;
  try {
    answer = await call;
  } catch (cause) {
    if (cause instanceof AvaError) throw cause;
    throw new AvaError(`The API is unreachable: ${reasonOf(cause)}`, 0, "unreachable", "", {}, null, { cause });
  }
  if (answer.data === undefined || answer.data === null) throw errorOf(answer.response, answer.error);
  return answer.data;
}

export function errorOf(response: Response, body: unknown): AvaError {
  const given = (body as { error?: { code?: string; message?: string; request_id?: string; fields?: object } })?.error;
  return new AvaError(
    given?.message ?? `The API responded with status ${response.status}`,
    response.status,
    given?.code ?? "unknown",
    given?.request_id ?? response.headers.get("x-request-id") ?? "",
    { ...given?.fields },
    retryAfterOf(response),
  );
}

/** Returns why a fetch failed; Node says it in the cause alone. */
function reasonOf(error: unknown): string {
  const cause = (error as { cause?: { code?: unknown; message?: unknown } } | null)?.cause;
  return [String(error), cause?.code ?? cause?.message].filter((part) => part).join(", ");
}
