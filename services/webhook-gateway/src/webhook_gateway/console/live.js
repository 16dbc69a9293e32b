// Live updates: one stream of facts that reconnects; after a gap, affected parts read again.

import { send } from "./api.js";
import { Problem } from "./parts/problem.js";

/** @typedef {{ type: string, body: any }} Fact */
/** @typedef {{ path: string, read: (fact: Fact | null) => void }} Listener */

const RECORDS = "people.record.v1";
const TOPICS = [
  "auth.connection.v1",
  "people.sync-run.v1",
  "conflicts.conflict.v1",
  "calendar.event.v1",
  "calendar.sync-run.v1",
  "webhooks.outcome.v1",
  "webhooks.subscription.v1",
];
const LONGEST_WAIT = 30_000;

/** @type {Set<Listener>} */
const listeners = new Set();
/** @type {AbortController | undefined} */
let stream;
let withRecords = false;
/** Settles once the page is shown. @type {Promise<void>} */
let shown = Promise.resolve();
/** @type {(connected: boolean) => void} */
let tell = () => {};

/**
 * Call `read` with each fact that affects `path`; null means that any fact may have been missed: read again.
 * @param {string} path below `/api/v1`
 * @param {(fact: Fact | null) => void} read
 * @param {AbortSignal} signal
 */
export function follow(path, read, signal) {
  const listener = { path, read };
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
  if (stream && !withRecords && needsRecords()) restart();
}

// A full sync of a large church changes tens of thousands of records: only pages that show records subscribe.
const needsRecords = () => [...listeners].some(({ path }) => path === "/people/members" || path === "/people/families");

/**
 * Keep the stream open as long as the page is.
 * @param {(connected: boolean) => void} onConnected
 */
export async function start(onConnected) {
  tell = onConnected;
  addEventListener("pagehide", leave);
  let wait = 500;
  for (;;) {
    await shown;
    stream = new AbortController();
    withRecords = needsRecords();
    const topics = withRecords ? [...TOPICS, RECORDS] : TOPICS;
    try {
      const answer = await send(`/live?topics=${topics.join(",")}`, { signal: stream.signal });
      wait = 500;
      tell(true);
      for await (const [name, data] of events(/** @type {ReadableStream<Uint8Array>} */ (answer.body))) {
        if (name === "expired") break;
        take(name, data);
      }
    } catch (error) {
      // No message here: each part shows its own failure, and the next greeting makes all parts read again.
      if (error instanceof Problem && error.status === 429) wait = Math.max(wait, error.retryAfter * 1000);
    }
    if (!stream.signal.aborted) {
      tell(false);
      await new Promise((resolve) => {
        setTimeout(resolve, wait * (0.75 + Math.random() / 2));
        addEventListener("online", resolve, { once: true });
      });
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
  }
}

function restart() {
  stream?.abort();
}

/** Close the stream when the page is left: browsers cache pages for *Back*, and their streams would use up all six connections. */
function leave() {
  shown = new Promise((resolve) => addEventListener("pageshow", () => resolve(undefined), { once: true }));
  restart();
}

/**
 * @param {string} name
 * @param {any} data
 */
function take(name, data) {
  const greeting = name === "hello";
  if (name === RECORDS && !needsRecords()) return restart();
  /** @type {string[]} */
  const reread = data.reread.map((/** @type {string} */ path) => path.replace("/api/v1", ""));
  for (const { path, read } of [...listeners]) if (reread.includes(path)) read(greeting ? null : data);
}

/**
 * Server-sent events: name and parsed data.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<[string, any]>}
 */
async function* events(body) {
  const reader = body.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      let name = "message";
      let data = "";
      for (const line of block.split(/\r?\n/)) {
        if (line.startsWith("event:")) name = line.slice(6).trim();
        else if (line.startsWith("data:")) data += line.slice(5).trim();
      }
      if (data) yield [name, JSON.parse(data)];
    }
  }
}
