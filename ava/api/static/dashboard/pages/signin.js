// Signing in: the four headers of every request.

import { get, session } from "../api.js";
import { h, put, say } from "../dom.js";
import { field, options } from "../parts.js";

const ROLES = ["tenant-user", "tenant-admin", "tenant-system-admin", "platform-admin", "platform-system-admin"];

export function open(main, { done }) {
  document.title = "Sign in · AVA Jobs";
  const refusal = h("p", { class: "refusal", role: "alert" });
  const input = (name, attributes) => h("input", { name, required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "none", ...attributes });
  const secret = input("secret", { type: "password", autocomplete: "current-password" });
  const form = h("form", { class: "card signin" },
    h("h1", {}, "Sign in"),
    h("p", {}, "These values are sent as headers with every request and kept until this tab is closed."),
    field("Internal secret", secret),
    field("Tenant", input("tenant", { placeholder: "ten_01hxyz", pattern: "ten_[0-9a-z_]{1,60}", title: "ten_ and 1 to 60 of a-z, 0-9 and _" })),
    field("User", input("user", { placeholder: "usr_01hxyz", pattern: "usr_[0-9a-z_]{1,60}", title: "usr_ and 1 to 60 of a-z, 0-9 and _" })),
    field("Role", h("select", { name: "role" }, options(ROLES.map((role) => [role]), "tenant-system-admin"))),
    refusal,
    h("button", { type: "submit", class: "primary" }, "Sign in"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const who = Object.fromEntries(new FormData(form));
    try {
      await get("/v1/ava/workers", { query: { per_page: "1" }, who });
      session.set(who);
      done();
    } catch (error) {
      say(refusal, error.status ? error.message : "Cannot reach the API.");
    }
  });
  put(main, form);
  secret.focus();
}
