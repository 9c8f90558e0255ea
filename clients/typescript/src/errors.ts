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

/** A job, an operation or a wait of a handler that has not ended in time. */
export class WaitTimeout extends Error {
  override readonly name = "WaitTimeout";
}

/** A webhook that is not genuine, or too old. */
export class WebhookUnverified extends Error {
  override readonly name = "WebhookUnverified";
}

/** A child that did not complete. */
export class ChildFailed extends Error {
  override readonly name = "ChildFailed";
  constructor(
    message: string,
    /** The child, with its `id`, `status` and `error`. */
    readonly child: { readonly id: string; readonly status: string; readonly error: string | null; toJSON(): object },
  ) {
    super(message);
  }

  toJSON(): object {
    return this.child.toJSON();
  }
}

/** A child cannot be created: an unknown worker, one that is not in the key's `triggers`, an invalid input, a limit. */
export class ChildRefused extends Error {
  override readonly name = "ChildRefused";
}

/** Two calls of one run have the same name in the journal; give one call another `key`. */
export class DuplicateName extends Error {
  override readonly name = "DuplicateName";
}

/** A step does not fit into the journal: too large, too many, not JSON, or with a nested journal call. */
export class StepError extends Error {
  override readonly name = "StepError";
}

/** A step that runs at most once had begun when its run ended; whether it took effect is unknown. */
export class StepInterrupted extends Error {
  override readonly name = "StepInterrupted";
}

/** The handler waits: its run ends, and a later run enters it again from its top. A `catch` must throw it again. */
export class Suspended extends Error {
  override readonly name = "Suspended";
}

/** The handler went on after it was suspended, because it caught `Suspended`; throw it again. */
export class SuspensionSwallowed extends Error {
  override readonly name = "SuspensionSwallowed";
  constructor(options?: ErrorOptions) {
    super("The handler went on after it was suspended, because it caught Suspended; throw it again.", options);
  }
}

/** A call of the handler was made but not awaited, so it did nothing. */
export class CallNotAwaited extends Error {
  override readonly name = "CallNotAwaited";
}

/** The tenant has reached its limit of waiting jobs, so the handler cannot wait now. */
export class TooManyWaiting extends Error {
  override readonly name = "TooManyWaiting";
}

/** A wait would abandon other calls of the handler; make branches that wait with `env.gather`. */
export class WaitInTask extends Error {
  override readonly name = "WaitInTask";
}
