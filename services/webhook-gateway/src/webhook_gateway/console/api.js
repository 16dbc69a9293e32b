// The public API: fetch with the person's token, and problem documents as errors.

import { Problem, problemOf } from "./parts/problem.js";
import * as session from "./session.js";

/** @typedef {Record<string, string | number | boolean | null | undefined>} Query */

const BASE = "/api/v1";

/** @type {() => Promise<void>} */
let signInAgain = () => Promise.reject(new Problem("Sign in first.", { status: 401 }));

/**
 * Register the handler of an ended session; it resolves once the person is signed in again.
 * @param {() => Promise<void>} ask
 */
export function onSessionEnd(ask) {
  signInAgain = ask;
}

/** Milliseconds for which a repeat of an unanswered request reuses its idempotency key. */
const UNANSWERED_MS = 5 * 60_000;
/** Idempotency keys of unanswered requests, by method, path and body. @type {Map<string, { key: string, until: number }>} */
const unanswered = new Map();

/**
 * @param {string} method
 * @param {string} path below `/api/v1`
 * @param {{ query?: Query, body?: unknown, key?: string, signal?: AbortSignal }} [options]
 * @returns {Promise<any>}
 */
async function call(method, path, { query = {}, body, key, signal } = {}) {
  const answer = await send(path + search(query), {
    method,
    signal,
    headers: {
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...(key === undefined ? {} : { "Idempotency-Key": key }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return answer.status === 204 ? null : answer.json();
}

/**
 * Send a request with the token; after an ended session the person signs in again and the request is repeated.
 * @param {string} path
 * @param {RequestInit} request
 * @returns {Promise<Response>}
 */
export async function send(path, request) {
  for (;;) {
    const signed = session.current();
    if (signed) {
      const headers = { ...request.headers, Authorization: `Bearer ${signed.token}` };
      const answer = await reach(BASE + path, { ...request, headers });
      if (answer.ok) return answer;
      if (answer.status !== 401) throw await problemOf(answer);
      session.refuse(signed.token);
    }
    await signInAgain();
  }
}

/**
 * @param {string} address
 * @param {RequestInit} request
 */
async function reach(address, request) {
  try {
    return await fetch(address, request);
  } catch (error) {
    if (request.signal?.aborted) throw error;
    throw new Problem("The server can't be reached right now. What was saved stays as it is. Check your internet connection, then try again.", {
      retryAfter: 5,
    });
  }
}

/** Milliseconds between attempts to reach the server when the browser fires no `online` event. */
const AGAIN = 5000;

/**
 * Call `act` once the network may be back.
 * @param {() => void} act
 * @param {AbortSignal} signal
 */
export function onNetwork(act, signal) {
  const waiting = new AbortController();
  const now = () => {
    clearTimeout(timer);
    waiting.abort();
    if (!signal.aborted) act();
  };
  const timer = setTimeout(now, AGAIN);
  addEventListener("online", now, { signal: waiting.signal });
  signal.addEventListener("abort", () => clearTimeout(timer), { signal: waiting.signal });
}

const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join("-");

/** @param {Query} query */
export function search(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

/** @type {(path: string, query?: Query, signal?: AbortSignal) => Promise<any>} */
export const get = (path, query, signal) => call("GET", path, { query, signal });
/** @type {(path: string, body?: unknown) => Promise<any>} */
export const post = async (path, body) => {
  const what = `${path} ${JSON.stringify(body)}`;
  const before = unanswered.get(what);
  const key = before && before.until > Date.now() ? before.key : newKey();
  unanswered.set(what, { key, until: Date.now() + UNANSWERED_MS });
  try {
    const answer = await call("POST", path, { body, key });
    unanswered.delete(what);
    return answer;
  } catch (error) {
    // A refusal changed no data, so its key is done. After any other failure a repeat must reuse the key.
    const refused = error instanceof Problem && error.status > 0 && error.status < 500;
    if (refused && error.kind !== "in-progress") unanswered.delete(what);
    throw error;
  }
};
/** @type {(path: string, body: unknown) => Promise<any>} */
export const patch = (path, body) => call("PATCH", path, { body });
/** @type {(path: string, body: unknown) => Promise<any>} */
export const put = (path, body) => call("PUT", path, { body });
/** @type {(path: string) => Promise<any>} */
export const remove = (path) => call("DELETE", path);

/** @type {(strings: TemplateStringsArray, ...ids: string[]) => string} */
export const at = (strings, ...ids) => String.raw({ raw: strings }, ...ids.map(encodeURIComponent));
