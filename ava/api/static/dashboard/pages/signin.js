// Signing in: an API key, or the four headers, become a session.

import { h, put, say } from "../dom.js";
import { field, options } from "../parts.js";
import { isKey, session } from "../session.js";

const ROLES = ["tenant-user", "tenant-admin", "tenant-system-admin", "platform-admin", "platform-system-admin"];

export function open(main, { done, refusal = "" }) {
  document.title = "Sign in · AVA Jobs";
  const last = session.last();
  const message = h("p", { class: "refusal", role: "alert" }, refusal);
  const input = (name, attributes) => h("input", { name, required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "none", ...attributes });
  const secret = input("secret", { type: "password", autocomplete: "current-password" });
  const identity = h("fieldset", { class: "plain" },
    field("Tenant", input("tenant", { placeholder: "ten_01hxyz", pattern: "ten_[0-9a-z_]{1,60}", title: "ten_ and 1 to 60 of a-z, 0-9 and _", value: last.tenant })),
    field("User", input("user", { placeholder: "usr_01hxyz", pattern: "usr_[0-9a-z_]{1,60}", title: "usr_ and 1 to 60 of a-z, 0-9 and _", value: last.user?.startsWith("usr_") ? last.user : null })),
    field("Role", h("select", { name: "role" }, options(ROLES.map((role) => [role]), last.role ?? "tenant-system-admin"))));
  const form = h("form", { class: "card signin" },
    h("h1", {}, "Sign in"),
    h("p", {}, "For 12 hours, in every tab of this browser."),
    field("API key or internal secret", secret), identity, message,
    h("button", { type: "submit", class: "primary" }, "Sign in"));
  secret.addEventListener("input", () => (identity.disabled = isKey(secret.value)));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await session.start(Object.fromEntries(new FormData(form)));
      done();
    } catch (error) {
      say(message, error.status ? error.message : "Cannot reach the API.");
    }
  });
  put(main, form);
  secret.focus();
}
