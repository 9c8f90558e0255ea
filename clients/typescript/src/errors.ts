/** A call that the API has refused, or that could not reach it. */
export class ApiError extends Error {
  override readonly name: string = "ApiError";
  constructor(
    message: string,
    /** The HTTP status; 0 without a response. */
    readonly status: number,
    /** The code of the error, as in the API's table of errors. */
    readonly code: string,
    /** The id of the request in the server's log. */
    readonly requestId: string,
    /** The errors of each field. */
    readonly fields: Readonly<Record<string, unknown>> = {},
    /** The API's Retry-After in seconds; null without one. */
    readonly retryAfterSeconds: number | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Thrown by a handler: the job fails immediately, without further attempts. */
export class GiveUp extends Error {
  override readonly name = "GiveUp";
}

/** Thrown by a handler: the job starts again after some seconds, and the attempt does not count. */
export class RetryLater extends Error {
  override readonly name = "RetryLater";
  /** Seconds, 0 or more. */
  readonly seconds: number;
  constructor(seconds: number, reason = "") {
    super(reason);
    this.seconds = Math.max(0, seconds) || 0;
  }
}

/** The reason of the `AbortSignal` of a run that must stop. */
export class RunStopped extends Error {
  override readonly name = "RunStopped";
  constructor(
    /** Why: `stop` (cancelled, or timed out on the server), `timeout`, `lost` or `shutdown`. */
    readonly why: "stop" | "timeout" | "lost" | "shutdown",
  ) {
    super(`the run must stop: ${why}`);
  }
}

/** A job or an operation that has not ended in time. */
export class WaitTimeout extends Error {
  override readonly name = "WaitTimeout";
}

/** A webhook that is not genuine, or too old. */
export class WebhookUnverified extends Error {
  override readonly name = "WebhookUnverified";
}
