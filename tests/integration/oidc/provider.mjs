// A certified OpenID provider whose people sign in by a hint, and which the tests control by POST /control.
// Prints its issuer, and ends when its standard input closes.

import { createServer } from "node:http";
import { exportJWK, generateKeyPair, importJWK, SignJWT } from "jose";
import { Provider } from "oidc-provider";

const AUDIENCE = process.argv[2];
const accounts = new Map();
const logoutTokens = [];
let provider, callback, keys;
let issuesRefreshTokens = true;
let skew = 0;
const now = Date.now;
Date.now = () => now() + skew * 1000;

async function newKey() {
  const { privateKey } = await generateKeyPair("RS256", { extractable: true });
  const kid = `key-${Math.random()}`;
  return { ...(await exportJWK(privateKey)), kid, use: "sig", alg: "RS256" };
}

function start(issuer) {
  const shared = { redirect_uris: [`${AUDIENCE}/oidc/callback`], client_secret: "secret-of-a-client" };
  provider = new Provider(issuer, {
    clients: [
      {
        ...shared,
        client_id: "ava",
        grant_types: ["authorization_code", "refresh_token"],
        post_logout_redirect_uris: [`${AUDIENCE}/`],
        backchannel_logout_uri: `${issuer}/captured`,
        backchannel_logout_session_required: true,
      },
      { ...shared, client_id: "other", grant_types: ["authorization_code", "refresh_token"] },
    ],
    jwks: { keys },
    acrValues: ["urn:strong"],
    claims: { openid: ["sub"], profile: ["name", "groups", "ava_user"], email: ["email", "email_verified"] },
    scopes: ["openid", "offline_access"],
    cookies: { keys: ["a-key-of-the-tests"] },
    // Its own refuses addresses of this machine, where the tests receive logout tokens.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    findAccount: (_, id) =>
      accounts.has(id) ? { accountId: id, claims: () => ({ sub: id, ...accounts.get(id) }) } : undefined,
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    issueRefreshToken: () => issuesRefreshTokens,
    loadExistingGrant: async ({ oidc }) => {
      const grant = new provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
      grant.addOIDCScope("openid profile email offline_access");
      if (oidc.params.resource) grant.addResourceScope(oidc.params.resource, "jobs");
      await grant.save();
      return grant;
    },
    extraTokenClaims: (_, token) => accounts.get(token.accountId),
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, audience) => ({
          scope: "jobs",
          audience,
          accessTokenFormat: "jwt",
          accessTokenTTL: 300,
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
  });
  callback = provider.callback();
}

/** Sign in as the hinted person. */
async function interact(request, response) {
  const { params } = await provider.interactionDetails(request, response);
  const acr = params.acr_values ? "urn:strong" : undefined;
  const login = { accountId: params.login_hint ?? "alice", acr, amr: ["pwd"] };
  await provider.interactionFinished(request, response, { login });
}

const CONTROLS = {
  account: ({ id, claims }) => (claims ? accounts.set(id, claims) : accounts.delete(id)),
  rotate: async () => {
    keys = [await newKey()];
    start(provider.issuer);
  },
  refresh: ({ on }) => (issuesRefreshTokens = on),
  skew: ({ seconds }) => (skew = seconds),
  /** Returns a token with these claims that the provider's key signs. */
  mint: async ({ claims, header = {} }) => {
    const key = await importJWK(keys[0], "RS256");
    return new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: keys[0].kid, ...header }).sign(key);
  },
  /** Logs a person out, and returns the token that the provider sends to its client. */
  logout: async ({ id, sid }) => {
    const client = await provider.Client.find("ava");
    await client.backchannelLogout(id, sid);
    return logoutTokens.pop();
  },
};

async function bodyOf(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

const server = createServer(async (request, response) => {
  if (request.url.startsWith("/interaction/")) return interact(request, response);
  if (request.url === "/captured") {
    logoutTokens.push(new URLSearchParams(await bodyOf(request)).get("logout_token"));
    return response.end();
  }
  if (request.url !== "/control") return callback(request, response);
  const { op, ...options } = JSON.parse(await bodyOf(request));
  const result = await CONTROLS[op](options);
  return response.end(JSON.stringify(typeof result === "string" ? result : null));
});
server.listen(0, "127.0.0.1", async () => {
  keys = [await newKey()];
  start(`http://127.0.0.1:${server.address().port}`);
  console.log(provider.issuer);
});
process.stdin.resume().on("end", () => process.exit());
