// Signing in: OpenID Connect authorization code with PKCE, as a public client. The token is kept in sessionStorage, never
// on disk; a new tab gets it from another open tab.

import { problemOf } from "./parts/problem.js";

/** @typedef {import("./types.d.ts").ConsoleSettings} ConsoleSettings */
/** @typedef {{ token: string, expires: number }} Session */
/** @typedef {{ verifier: string, back: string, popup: boolean }} Attempt */

const KEY = "session";
const RETURN = "/signed-in";
const channel = new BroadcastChannel("session");

/** @type {Promise<ConsoleSettings> | undefined} */
let settings;

function readSettings() {
  settings ??= (async () => {
    const answer = await fetch("/api/v1/console-settings");
    if (!answer.ok) throw await problemOf(answer);
    return answer.json();
  })();
  settings.catch(() => (settings = undefined));
  return settings;
}

/** @returns {Session | null} */
export function current() {
  const stored = sessionStorage.getItem(KEY);
  if (!stored) return null;
  /** @type {Session} */
  const session = JSON.parse(stored);
  return session.expires > Date.now() ? session : null;
}

/**
 * Drop a token that the server refused before its expiry; a newer one stays.
 * @param {string} token
 */
export function refuse(token) {
  const session = current();
  if (session?.token === token) keep({ token: "", expires: 0 });
}

/** Milliseconds that a new tab waits for the answer of a signed-in one. */
const PATIENCE = 200;

/** Take over the session of another tab of this browser, if one is signed in. */
export async function share() {
  if (hadSession()) return;
  await new Promise((resolve) => {
    /** @param {MessageEvent} event */
    const heard = ({ data }) => {
      if (!data?.shared || hadSession()) return;
      keep(data.shared);
      resolve(undefined);
    };
    channel.addEventListener("message", heard);
    channel.postMessage({ asks: true });
    setTimeout(() => {
      channel.removeEventListener("message", heard);
      resolve(undefined);
    }, PATIENCE);
  });
}

channel.addEventListener("message", ({ data }) => {
  const session = data?.asks && current();
  if (session) channel.postMessage({ shared: session });
  if (!data?.signedOut || !hadSession()) return;
  sessionStorage.removeItem(KEY);
  location.reload();
});

export const hadSession = () => sessionStorage.getItem(KEY) !== null;

/** @param {Session} session */
function keep(session) {
  sessionStorage.setItem(KEY, JSON.stringify(session));
}

/** @param {ArrayBuffer | Uint8Array<ArrayBuffer>} bytes */
const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");

const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

/**
 * The address to sign in at. `state` identifies the answer.
 * @param {string} back where to go afterwards
 * @param {boolean} popup
 */
async function begin(back, popup) {
  const { authorization_endpoint, client_id } = await readSettings();
  const state = random();
  const verifier = random();
  /** @type {Attempt} */
  const attempt = { verifier, back, popup };
  sessionStorage.setItem(`attempt:${state}`, JSON.stringify(attempt));
  const challenge = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  const address = new URL(authorization_endpoint);
  for (const [name, value] of Object.entries({
    response_type: "code",
    client_id,
    redirect_uri: location.origin + RETURN,
    scope: "openid profile email",
    state,
    code_challenge: base64url(challenge),
    code_challenge_method: "S256",
  })) {
    address.searchParams.set(name, value);
  }
  return { address: address.href, state };
}

/** Leave for the identity provider and come back to this address. */
export async function signIn() {
  const { address } = await begin(location.pathname + location.search, false);
  location.assign(address);
}

/**
 * Sign in again in a separate window, so that this page keeps its input.
 * Resolves once the window is open, so that a window closed too soon can be reopened; rejects if it cannot open.
 * @param {(user: import("./types.d.ts").UserIdentity) => void} signedIn called with the signed-in person, who may be another one
 */
export async function signInAgain(signedIn) {
  const { address, state } = await begin("/", true);
  const opened = open(address, "sign-in", "popup,width=520,height=680");
  if (!opened) throw new Error("Your browser did not open the sign-in window. Allow it for this site and try again.");
  /** @param {MessageEvent} event */
  const heard = async (event) => {
    if (event.data?.state !== state) return;
    channel.removeEventListener("message", heard);
    /** @type {Session} */
    const session = event.data.session;
    const answer = await fetch("/api/v1/me", { headers: { Authorization: `Bearer ${session.token}` } }).catch(() => null);
    if (!answer?.ok) return; // the dialog stays open for another attempt
    const { user } = await answer.json();
    keep(session);
    signedIn(user);
  };
  channel.addEventListener("message", heard);
}

/** Whether this address is the identity provider's redirect. */
export const returning = () => location.pathname === RETURN;

/**
 * Finish a sign-in. Resolves to the address to open; null in a window that signs in for another one.
 * @returns {Promise<string | null>}
 */
export async function finish() {
  const query = new URLSearchParams(location.search);
  history.replaceState(null, "", RETURN);
  const state = query.get("state") ?? "";
  const stored = sessionStorage.getItem(`attempt:${state}`);
  sessionStorage.removeItem(`attempt:${state}`);
  if (!stored) throw new Error("This sign-in was not begun here, or was used already. Sign in again.");
  const code = query.get("code");
  if (!code) throw new Error("You did not sign in. Nothing was changed.");
  /** @type {Attempt} */
  const attempt = JSON.parse(stored);
  const { token_endpoint, client_id } = await readSettings();
  const answer = await fetch(token_endpoint, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      code,
      redirect_uri: location.origin + RETURN,
      client_id,
      code_verifier: attempt.verifier,
    }),
  });
  if (!answer.ok) throw new Error("The identity provider did not accept this sign-in. Sign in again.");
  const granted = await answer.json();
  const session = { token: granted.access_token, expires: Date.now() + (granted.expires_in ?? 300) * 1000 };
  if (!attempt.popup) {
    keep(session);
    return attempt.back;
  }
  channel.postMessage({ state, session });
  close();
  return null;
}

/** Forget the token in every tab and, where the identity provider offers it, end its session too. */
export async function signOut() {
  sessionStorage.removeItem(KEY);
  channel.postMessage({ signedOut: true });
  const known = await readSettings().catch(() => null);
  if (!known?.end_session_endpoint) return location.assign("/");
  const address = new URL(known.end_session_endpoint);
  address.searchParams.set("client_id", known.client_id);
  address.searchParams.set("post_logout_redirect_uri", `${location.origin}/`);
  location.assign(address.href);
}
