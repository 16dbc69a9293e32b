// "Sync this person now": syncs one record and shows the outcome.

import { at, get, post } from "../api.js";
import { follow } from "../live.js";
import { announce, h, slot, update } from "./dom.js";
import { action, status, when } from "./look.js";
import { Problem, sentenceOf } from "./problem.js";
import { ago, exact } from "./words.js";

/** @typedef {import("../types.d.ts").RecordSync} RecordSync */

const ASKING = "Asking Planning Center…";
/** Milliseconds between polls; the last one repeats. */
const PAUSES = [250, 400, 600, 1000, 1500, 2500, 4000, 6000, 10_000];
const LONGEST = 60_000;

const UNCONNECTED = "This needs Planning Center People, which is not connected.";
/** Why a sync is impossible, by the connection's state. @type {Record<string, string>} */
const IMPOSSIBLE = { connected: "", reconnect_required: "This needs Planning Center People, which has to be reconnected first." };

/** Tone and word of outcomes other than done. @type {Record<string, [import("./look.js").Tone, string]>} */
const NOT_DONE = {
  rejected: ["bad", "Refused by Planning Center"],
  conflict: ["bad", "In conflict"],
  held: ["warn", "Held match"],
  gone: ["warn", "Gone in Planning Center"],
  merged: ["warn", "Merged in Planning Center"],
  later: ["warn", "Not yet"],
  kept_out: ["calm", "Kept out of the sync"],
  not_done: ["warn", "Not done"],
};

/** Reasons of a sync that no person requested. @type {Record<string, string>} */
const REASONS = {
  answered: "A held match about it was answered.",
  joined: "It was joined with another record here.",
  incomplete: "Planning Center had not sent everything about it during the last sync.",
  stray: "It was made twice in Planning Center during an earlier sync.",
  unanswered: "Planning Center had not answered a change of it during the last sync.",
};

/** Requested and unfinished syncs by record, for readers who come back to the page. @type {Map<string, RecordSync>} */
const waiting = new Map();

/** Announce the sentence, with the time of the next attempt. @param {string} sentence @param {string | null} again */
const tell = (sentence, again) => announce(again ? `${sentence} We try again ${ago(again)}: ${exact(again)}.` : sentence);

/** @param {number} time */
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/**
 * A button for administrators and its outcome, as nodes that survive every live update.
 * @param {import("../app.js").Context} context of the record's page
 * @param {{ label: string, path: string, done: () => unknown }} about `done` reads the record again
 */
export function syncNow({ id, signal, admin }, { label, path, done }) {
  const said = h("div", { key: "sync-said", id: "sync-said", class: "stack tight" });
  const button = action(label, press, { key: "sync-now" });
  /** Why a sync is impossible, or empty. */
  let reason = "";
  /** @type {RecordSync | null} */
  let sync = null;
  let trouble = "";
  let asking = false;
  /** Number of the newest press, the only one whose sync is followed. */
  let turn = 0;

  async function press() {
    asking = true;
    render();
    announce(ASKING);
    try {
      /** @type {RecordSync} */
      const asked = await post(path);
      void watch(asked);
    } catch (error) {
      asking = false;
      render();
      void learn();
      throw error;
    }
  }

  /** @param {RecordSync} asked */
  async function watch(asked) {
    const mine = (turn += 1);
    const left = () => signal.aborted || mine !== turn;
    sync = asked;
    trouble = "";
    asking = sync.state === "queued";
    let told = false;
    for (let looks = 0; asking; looks += 1) {
      waiting.set(id, sync);
      render();
      if (sync.again_at && !told) tell(sync.sentence, sync.again_at);
      told ||= sync.again_at !== null;
      const least = sync.again_at ? Date.parse(sync.again_at) - Date.now() : 0;
      await pause(Math.max(PAUSES[Math.min(looks, PAUSES.length - 1)] ?? 0, Math.min(least, LONGEST)));
      if (left()) return;
      try {
        sync = /** @type {RecordSync} */ (await get(at`/people/syncs/${asked.id}`, undefined, signal));
        if (left()) return;
        trouble = "";
        asking = sync.state === "queued";
      } catch (error) {
        if (left()) return;
        trouble = sentenceOf(error);
        asking = !(error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429);
      }
    }
    waiting.delete(id);
    render();
    tell(trouble || sync.sentence, trouble ? null : sync.again_at);
    await done();
  }

  function render() {
    if (!button.hasAttribute("data-busy")) button.toggleAttribute("disabled", reason !== "");
    if (reason) button.setAttribute("aria-describedby", said.id);
    else button.removeAttribute("aria-describedby");
    update(said, outcome(), reason ? h("p", { key: "reason", class: "quiet small" }, reason, " ", h("a", { href: "/integrations" }, "Go to Integrations")) : null);
  }

  function outcome() {
    const again = sync?.again_at ? h("p", { key: "again", class: "small" }, "We try again ", when(sync.again_at), ".") : null;
    if (asking) {
      const words = trouble || (sync?.state === "queued" ? sync.sentence : ASKING);
      return [h("p", { key: "asking" }, status("busy", again ? "Waiting" : "Syncing", { pill: true }), " ", words), again];
    }
    if (trouble) return h("p", { key: "trouble" }, status("bad", "Not known", { pill: true }), " ", trouble);
    if (!sync) return null;
    return [
      h(
        "p",
        { key: "done" },
        status(...(NOT_DONE[sync.outcome ?? ""] ?? /** @type {const} */ (["good", "Done"])), { pill: true }),
        " ",
        sync.sentence,
        " ",
        h("span", { class: "quiet small" }, when(sync.finished_at, "")),
      ),
      again,
      ...(sync.reasons ?? []).filter((one) => one in REASONS).map((one) => h("p", { key: one, class: "quiet small" }, REASONS[one])),
      sync.outcome === "held" ? h("p", { key: "held" }, h("a", { href: "/held" }, "Go to Held matches")) : null,
      sync.outcome === "merged" ? h("p", { key: "merged" }, h("a", { href: `/held?member=${encodeURIComponent(sync.record_id)}` }, "Go to Held matches")) : null,
    ];
  }

  /** Read whether a sync is possible; if that fails, the answer to a press tells. */
  async function learn() {
    /** @type {import("../types.d.ts").Connections | null} */
    const known = await get("/connections", undefined, signal).catch(() => null);
    if (signal.aborted) return;
    reason = known ? (IMPOSSIBLE[known.people.state] ?? UNCONNECTED) : "";
    render();
  }

  if (admin) {
    void learn();
    follow("/connections", learn, signal);
    const before = waiting.get(id);
    if (before) void watch(before);
  }
  return {
    /** Drop the outcome "gone" once the person is back or requested again. */
    back() {
      if (asking || sync?.outcome !== "gone") return;
      sync = null;
      render();
    },
    get button() {
      return admin ? slot(button) : null;
    },
    get said() {
      return admin ? slot(said) : null;
    },
  };
}
