import type { CallOptions, CreateOptions, WaitOptions } from "./calls.js";
import type { Job } from "./jobs.js";
import { ContainmentsCalls, type Containment, type Rehearsal } from "./methods.js";
import type { components } from "./openapi.js";
import type { Sent } from "./wire.js";

export type NewContainment = Omit<Sent<components["schemas"]["ContainmentBody"]>, "dryRun">;

/** A JWKS (RFC 7517): `x` is the public key in base64url. */
export interface SigningKeys {
  keys: { kty: "OKP"; crv: "Ed25519"; x: string; kid: string; use: "sig"; alg: "EdDSA" }[];
}

const CONTAINMENTS = "/v1/ava/containments";
const SIGNING_KEYS = "/.well-known/ava-signing-keys";

/** Stops everything in a scope of jobs, until it is lifted. */
export class Containments extends ContainmentsCalls {
  /** Contains the jobs that match all parts of a scope. */
  async create(body: NewContainment, options: CreateOptions = {}): Promise<Containment> {
    return (await this.calls.data("post", CONTAINMENTS, [], { ...options, body })) as Containment;
  }

  /** Returns the jobs that a containment would hold and stop now; changes nothing. */
  async rehearse(body: NewContainment, options: CallOptions = {}): Promise<Rehearsal> {
    return (await this.calls.data("post", CONTAINMENTS, [], { ...options, body: { ...body, dryRun: true } })) as Rehearsal;
  }

  /** Yields the jobs that a containment holds, and the running ones that it has asked to stop. */
  jobs(id: string, options: CallOptions = {}): AsyncGenerator<Job> {
    return this.calls.list("/v1/ava/containments/{containment_id}/jobs", [id], { perPage: 100 }, options) as AsyncGenerator<Job>;
  }

  /** Returns the public keys that verify proofs, as a JWKS. */
  async signingKeys(options: CallOptions = {}): Promise<SigningKeys> {
    return this.calls.json(SIGNING_KEYS, options) as Promise<SigningKeys>;
  }

  /** Waits until a containment is complete, or no longer active, and returns it. Throws `WaitTimeout`. */
  async wait(id: string, options: WaitOptions = {}): Promise<Containment> {
    const ask = (request: CallOptions): Promise<Containment> => this.get(id, request);
    return this.calls.wait(ask, ({ completeAt, state }) => completeAt !== null || state !== "active", options);
  }
}
