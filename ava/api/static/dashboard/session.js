// Who is signed in. A cookie that scripts cannot read holds the session, so every tab has it; a tab
// only knows its user and tenant.

import { call } from "./api.js";

const PATH = "/v1/ava/session";
const LAST = "ava.last";
/** The roles, each with the rights of those before it. */
export const ROLES = [
  "tenant-user",
  "tenant-admin",
  "tenant-system-admin",
  "platform-admin",
  "platform-system-admin",
];
const PLATFORM = ROLES.slice(3);
let who = null;

/** True if a text has the form of an API key, which says which tenant and role it is of. */
export const isKey = (text) => /^ava_[a-z0-9]{2}\.[A-Za-z0-9_-]{59}$/.test(text);

/** The identity provider by which people sign in, as its host, if there is one. */
export const provider = () => document.documentElement.dataset.signIn;

/** The tenant that this tab looks at, if its address names one: `/?tenant=ten_acme#/jobs`. */
const named = () => new URLSearchParams(location.search).get("tenant");

/**
 * Keep whose session it is. A role of the platform may look at every tenant that the address names,
 * and a person at each of its own.
 */
function keep({ tenant_id: own, user_id: user, name, role, tenants }) {
  const roles = Object.fromEntries(tenants.map((each) => [each.tenant_id, each.role]));
  const isOperator = PLATFORM.includes(role);
  const tenant = named() && (isOperator || named() in roles) ? named() : own;
  const ids = Object.keys(roles);
  const canSwitch = isOperator || ids.length > 1;
  const shown = { tenant, role: roles[tenant] ?? role };
  who = { own, user, name, isOperator, canSwitch, tenants: ids, ...shown };
  remember();
  return who;
}

// The address of a user of several tenants names the tenant, so that a copied link shows the same
// to a colleague.
function remember() {
  localStorage.setItem(
    LAST,
    JSON.stringify({ tenant: who.tenant, user: who.user, role: who.role, isIn: true }),
  );
  if (who.canSwitch && named() !== who.tenant)
    history.replaceState(null, "", `/?tenant=${who.tenant}${location.hash}`);
}

function forget() {
  who = null;
  localStorage.setItem(LAST, JSON.stringify({ ...last(), isIn: false }));
}

/**
 * Who was signed in last, which the form begins with, and whether there may be a session of theirs.
 */
function last() {
  try {
    return JSON.parse(localStorage.getItem(LAST)) ?? {};
  } catch {
    return {};
  }
}

export const session = {
  get: () => who,

  /**
   * True if the role may trigger, cancel and retry. The API decides; this only hides what it would
   * refuse.
   */
  get mayWrite() {
    return !["tenant-user", "tenant-admin"].includes(who?.role);
  },

  /** The tenant in the address, if it is none that this user may look at. */
  get foreign() {
    return who && named() && named() !== who.tenant ? named() : null;
  },

  last,
  forget,

  /** Take up the session that the cookie names, if there is one. */
  async resume() {
    if (!last().isIn && !provider()) return null;
    try {
      return keep((await call("GET", PATH)).data);
    } catch (error) {
      if (error.status !== 401) throw error;
      return forget();
    }
  },

  /** Start a session with what the form holds: an API key, or the four headers. */
  async start({ secret, tenant, user, role }) {
    const headers = isKey(secret)
      ? { authorization: `Bearer ${secret}` }
      : {
          "x-internal-secret": secret,
          "x-tenant-id": tenant,
          "x-user-id": user,
          "x-platform-role": role,
        };
    return keep((await call("POST", PATH, { headers })).data);
  },

  /** Start a session with the token of a link, which works once. */
  async open(token) {
    const headers = { authorization: `Link ${token}` };
    return keep((await call("POST", PATH, { headers })).data);
  },

  /** Look at another tenant, in this tab and in those that are opened from now on. */
  async look(tenant) {
    const { data } = await call("PATCH", PATH, { body: { tenant_id: tenant } });
    Object.assign(who, { tenant, role: data.role });
    remember();
  },

  /** End the session, for every tab. Return where to sign out of the identity provider. */
  async end() {
    const tenant = who?.tenant;
    forget();
    if (!tenant) return null;
    const ended = await call("DELETE", PATH, { tenant }).catch(() => null);
    return ended?.data.sign_out_url;
  },

  /** Call `act` when another tab has signed in. */
  onStart(act) {
    window.addEventListener(
      "storage",
      (event) => event.key === LAST && !who && last().isIn && act(),
    );
  },
};
