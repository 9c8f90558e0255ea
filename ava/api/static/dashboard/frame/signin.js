// Signing in: an API key, or the four headers, become a session.

import { isKey, provider, ROLES, session } from "../session.js";
import { Choice, Field, html, Input, LOGO, useEffect, useRef } from "../ui/index.js";
import { useState } from "../ui/index.js";

export const TENANT = {
  pattern: "ten_[0-9a-z_]{1,60}",
  title: "ten_ and 1 to 60 of a-z, 0-9 and _",
};
const USER = { pattern: "usr_[0-9a-z_]{1,60}", title: "usr_ and 1 to 60 of a-z, 0-9 and _" };
const PLAIN = { required: true, autocomplete: "off", spellcheck: false, autocapitalize: "none" };

/** The link to the identity provider, which leads back to the page of the address. */
function WithProvider() {
  const next = encodeURIComponent(`/${location.search}${location.hash || "#/"}`);
  return html`<p><a class="button primary" href=${`/oidc/sign-in?next=${next}`}>
    Sign in with ${provider()}</a></p>`;
}

/**
 * The page that signs in. `refusal` says why a link did not.
 * @param {{ onDone: () => void, refusal?: string }} props
 */
export function SignIn({ onDone, refusal = "" }) {
  const secret = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [hasKey, setKey] = useState(false);
  const [message, setMessage] = useState(refusal);
  const [last] = useState(() => session.last());
  useEffect(() => secret.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    try {
      await session.start(/** @type {any} */ (Object.fromEntries(new FormData(event.target))));
      onDone();
    } catch (error) {
      setMessage(error.status ? error.message : "Cannot reach the API.");
    }
  };
  const user = last.user?.startsWith("usr_") ? last.user : undefined;
  return html`<form class="card signin" onsubmit=${submit}>
    <div class="row"><img src=${LOGO} alt="" width="32" height="32" />
    <h1>Sign in to AVA Jobs</h1></div>
    <p>For 12 hours, in every tab of this browser.</p>
    ${provider() && html`<${WithProvider} />`}
    <${Field} label="API key or internal secret">
      <input ref=${secret} type="password" name="secret" ...${PLAIN} autocomplete="current-password"
        oninput=${(event) => setKey(isKey(event.currentTarget.value))} /><//>
    <fieldset class="plain" disabled=${hasKey}>
      <${Input} label="Tenant" name="tenant" placeholder="ten_01hxyz" ...${PLAIN} ...${TENANT}
        value=${last.tenant} />
      <${Input} label="User" name="user" placeholder="usr_01hxyz" ...${PLAIN} ...${USER}
        value=${user} />
      <${Choice} label="Role" name="role" options=${ROLES}
        value=${last.role ?? "tenant-system-admin"} />
    </fieldset>
    <p class="refusal" role="alert">${message}</p>
    <button type="submit" class="primary">Sign in</button>
    <p><small>No key yet? <code>ava dashboard</code> prints a link that signs in once.</small></p>
  </form>`;
}
