import { WebhookUnverified } from "./errors.js";
import { fromWire } from "./wire.js";

export interface WebhookEvent {
  id: string;
  type: string;
  createdAt: string;
  tenantId: string;
  /** The record of the event as the API sends it, with names in snake_case. */
  data: Record<string, unknown>;
}

/**
 * Verifies that a webhook is genuine and recent, and returns its event. `body` holds the raw bytes of the request,
 * `secret` the endpoint's, or several while it is rotated. The same event may be delivered twice, with the same id.
 * Throws `WebhookUnverified`: do not respond with 2xx then.
 */
export async function verifyWebhook(
  body: string | Uint8Array,
  headers: Headers | Record<string, string | string[] | undefined>,
  secret: string | readonly string[],
  { toleranceSeconds = 300, now = Date.now() / 1000 }: { toleranceSeconds?: number; now?: number } = {},
): Promise<WebhookEvent> {
  const id = headerOf(headers, "webhook-id");
  const timestamp = headerOf(headers, "webhook-timestamp");
  const signatures = headerOf(headers, "webhook-signature").split(" ").filter((one) => one.startsWith("v1,"));
  if (!id || !timestamp || signatures.length === 0) {
    throw new WebhookUnverified("The header webhook-id, webhook-timestamp or webhook-signature is missing.");
  }
  if (!/^\d{1,14}$/.test(timestamp)) throw new WebhookUnverified("The webhook-timestamp is not a number of seconds.");
  if (Math.abs(now - Number(timestamp)) > toleranceSeconds) {
    throw new WebhookUnverified(`The webhook is more than ${toleranceSeconds} s old or in the future.`);
  }
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const signed = joined(new TextEncoder().encode(`${id}.${timestamp}.`), bytes);
  const fits: boolean[] = [];
  for (const one of typeof secret === "string" ? [secret] : secret) {
    const key = await crypto.subtle.importKey("raw", keyOf(one), { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    for (const signature of signatures) {
      const given = fromBase64(signature.slice("v1,".length));
      // Web Crypto compares in constant time.
      fits.push(given !== null && (await crypto.subtle.verify("HMAC", key, given, signed)));
    }
  }
  if (!fits.includes(true)) throw new WebhookUnverified("No signature matches the body and the secret.");
  return eventOf(bytes, id);
}

function eventOf(bytes: Uint8Array, id: string): WebhookEvent {
  let event: WebhookEvent | null;
  try {
    event = fromWire<WebhookEvent | null>(JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    throw new WebhookUnverified("The body is not JSON.");
  }
  if (event?.id !== id) throw new WebhookUnverified("The id in the body differs from webhook-id.");
  return event;
}

function headerOf(headers: Headers | Record<string, string | string[] | undefined>, name: string): string {
  if (headers instanceof Headers) return headers.get(name) ?? "";
  const found = Object.entries(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  return (Array.isArray(found) ? found[0] : found) ?? "";
}

function keyOf(secret: string): Uint8Array<ArrayBuffer> {
  if (secret === "" || secret === "whsec_") throw new WebhookUnverified("The secret is empty.");
  if (!secret.startsWith("whsec_")) return new TextEncoder().encode(secret);
  const key = fromBase64(secret.slice("whsec_".length));
  if (key === null) throw new WebhookUnverified("The secret begins with whsec_, but the rest is not base64.");
  return key;
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
