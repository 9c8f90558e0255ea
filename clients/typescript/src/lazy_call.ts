import type { Part } from "./branches.js";

/** A call of a handler, which begins once it is awaited. `env.gather` begins it in a branch of its own. */
export class LazyCall<T> implements Promise<T> {
  readonly [Symbol.toStringTag] = "LazyCall";
  #promise: Promise<T> | null = null;
  readonly #part: Part;
  readonly #act: (part: Part) => Promise<T>;

  constructor(part: Part, act: (part: Part) => Promise<T>) {
    this.#part = part;
    this.#act = act;
  }

  /** @internal */
  begin(part: Part = this.#part): Promise<T> {
    return (this.#promise ??= this.#act(part));
  }

  then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.begin().then(onFulfilled, onRejected);
  }

  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<T | B> {
    return this.begin().catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<T> {
    return this.begin().finally(onFinally);
  }
}
