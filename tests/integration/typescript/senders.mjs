// Senders of events: Standard Webhooks signs a request to a hook, and CloudEvents writes one event in both forms.
import { CloudEvent, HTTP } from "cloudevents";
import { Webhook } from "standardwebhooks";

const { AVA_URL: url, AVA_API_KEY: key } = process.env;
const authorization = { Authorization: `Bearer ${key}` };

const made = await fetch(`${url}/v1/ava/hooks`, {
  method: "POST",
  headers: { ...authorization, "Content-Type": "application/json" },
  body: JSON.stringify({ name: "senders", provider: "standard", worker_id: "wkr_flow" }),
});
const { data: hook } = await made.json();
const at = new Date();
const body = JSON.stringify({ type: "order.paid", number: 7 });
const headers = {
  "webhook-id": "msg_1",
  "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
  "webhook-signature": new Webhook(hook.secret).sign("msg_1", at, body),
};
const delivered = await fetch(hook.url, { method: "POST", headers, body });
const tampered = await fetch(hook.url, { method: "POST", headers, body: body.replace("7", "8") });

const event = new CloudEvent({ id: "1", source: "/senders", type: "order.paid", data: { number: 7 } });
const events = [];
for (const message of [HTTP.binary(event), HTTP.structured(event)]) {
  const answer = await fetch(`${url}/v1/ava/events`, {
    method: "POST",
    headers: { ...message.headers, ...authorization },
    body: String(message.body),
  });
  events.push([answer.status, (await answer.json()).data.duplicate]);
}
console.log(JSON.stringify({ delivered: delivered.status, tampered: tampered.status, events }));
