import createRequests, { type Client as Requests } from "openapi-fetch";

import { AvaError } from "./errors.js";
import type { paths } from "./openapi.js";

export interface CallOptions {
  /** The address of the API, such as `https://jobs.example.com`. */
  url: string;
  /** An API key. */
  key: string;
  /** How often a call is repeated after a failure that may pass. */
  retries?: number;
  fetch?: typeof fetch;
}

export type Api = Requests<paths>;

const RETRIED = new Set([429, 502, 503, 504]);
const MAX_WAIT_MS = 30_000;

/** Waits, or until the signal is aborted. */
export function sleep(ms: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** Returns the pause before a call is repeated: that of Retry-After, else 0.2 s, 0.4 s … with jitter. */
export function pauseMs(attempt: number, response?: Response): number {
  const after = Number(response?.headers.get("retry-after") ?? Number.NaN);
  const wanted = Number.isFinite(after) ? after * 1000 : 200 * 2 ** attempt * (0.8 + 0.4 * Math.random());
  return Math.min(wanted, MAX_WAIT_MS);
}

/** Returns the typed calls of the API. Each is repeated after a failure that may pass, so each must be repeatable. */
export function makeApi({ url, key, retries = 4, fetch: send = fetch }: CallOptions): Api {
  const repeated = async (request: Request): Promise<Response> => {
    for (let attempt = 0; ; attempt += 1) {
      const isLast = attempt >= retries || request.signal.aborted;
      try {
        const response = await send(isLast ? request : request.clone());
        if (isLast || !RETRIED.has(response.status)) return response;
        await response.body?.cancel();
        await sleep(pauseMs(attempt, response), request.signal);
      } catch (error) {
        if (isLast || request.signal.aborted) throw error;
        await sleep(pauseMs(attempt), request.signal);
      }
    }
  };
  return createRequests<paths>({
    baseUrl: url.replace(/\/+$/, ""),
    headers: { Authorization: `Bearer ${key}` },
    fetch: repeated,
  });
}

interface Answer<Data> {
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
    throw new AvaError(`The API is out of reach: ${String(cause)}`, 0, "unreachable", "", {}, { cause });
  }
  if (answer.data === undefined || answer.data === null) throw errorOf(answer.response, answer.error);
  return answer.data;
}

export function errorOf(response: Response, body: unknown): AvaError {
  const given = (body as { error?: { code?: string; message?: string; request_id?: string; fields?: object } })?.error;
  return new AvaError(
    given?.message ?? `The API answered ${response.status}`,
    response.status,
    given?.code ?? "unknown",
    given?.request_id ?? response.headers.get("x-request-id") ?? "",
    { ...given?.fields },
  );
}
