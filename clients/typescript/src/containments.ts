import type { CallOptions, CreateOptions, WaitOptions } from "./calls.js";
import type { Job } from "./jobs.js";
import type { components } from "./openapi.js";
import type { Operation } from "./operations.js";
import { Resource } from "./resource.js";
import type { Query, Received, Sent } from "./wire.js";

type Schemas = components["schemas"];

export type Containment = Received<Schemas["ContainmentRecord"]>;
export type Proofs = Received<Schemas["ProofsRecord"]>;
export type Rehearsal = Received<Schemas["RehearsalRecord"]>;
export type NewContainment = Omit<Sent<Schemas["ContainmentBody"]>, "dryRun">;

/** A JWKS (RFC 7517): `x` is the public key in base64url. */
export interface SigningKeys {
  keys: { kty: "OKP"; crv: "Ed25519"; x: string; kid: string; use: "sig"; alg: "EdDSA" }[];
}

const CONTAINMENTS = "/v1/ava/containments";
const CONTAINMENT = "/v1/ava/containments/{containment_id}";
const SIGNING_KEYS = "/.well-known/ava-signing-keys";

/** Stops everything in a scope of jobs, until it is lifted. */
export class Containments extends Resource {
  /** Contains the jobs that match all parts of a scope. */
  async create(body: NewContainment, options: CreateOptions = {}): Promise<Containment> {
    return (await this.calls.data("post", CONTAINMENTS, [], { ...options, body })) as Containment;
  }

  /** Returns the jobs that a containment would hold and stop now; changes nothing. */
  async rehearse(body: NewContainment, options: CallOptions = {}): Promise<Rehearsal> {
    return (await this.calls.data("post", CONTAINMENTS, [], { ...options, body: { ...body, dryRun: true } })) as Rehearsal;
  }

  async get(id: string, options: CallOptions = {}): Promise<Containment> {
    return this.calls.data("get", CONTAINMENT, [id], options);
  }

  /** Yields the containments, newest first. */
  list(query: Query<"/v1/ava/containments"> = {}, options: CallOptions = {}): AsyncGenerator<Containment> {
    return this.calls.list(CONTAINMENTS, [], { perPage: 100, ...query }, options);
  }

  /** Yields the jobs that a containment holds, and the running ones that it has asked to stop. */
  jobs(id: string, options: CallOptions = {}): AsyncGenerator<Job> {
    return this.calls.list(`${CONTAINMENT}/jobs`, [id], { perPage: 100 }, options) as AsyncGenerator<Job>;
  }

  /** Yields all of these jobs, over one connection. */
  export(id: string, options: CallOptions = {}): AsyncGenerator<Job> {
    return this.calls.lines(`${CONTAINMENT}/jobs/export`, [id], {}, options);
  }

  /** Returns the signed records (JWS) of the times when it became complete, and when it was lifted. */
  async proofs(id: string, options: CallOptions = {}): Promise<Proofs> {
    return this.calls.data("get", `${CONTAINMENT}/proof`, [id], options);
  }

  /** Returns the public keys that verify proofs, as a JWKS. */
  async signingKeys(options: CallOptions = {}): Promise<SigningKeys> {
    return this.calls.json(SIGNING_KEYS, options) as Promise<SigningKeys>;
  }

  /** Lifts a containment. The operation releases the held jobs, or cancels them. */
  async lift(id: string, body: Sent<Schemas["LiftBody"]> = {}, options: CallOptions = {}): Promise<Operation> {
    return this.calls.data("post", `${CONTAINMENT}/lift`, [id], { ...options, body });
  }

  /** Waits until a containment is complete, or no longer active, and returns it. Throws `WaitTimeout`. */
  async wait(id: string, options: WaitOptions = {}): Promise<Containment> {
    const ask = (request: CallOptions): Promise<Containment> => this.get(id, request);
    return this.calls.wait(ask, ({ completeAt, state }) => completeAt !== null || state !== "active", options);
  }
}
