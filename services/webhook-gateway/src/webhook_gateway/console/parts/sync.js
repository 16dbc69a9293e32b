// "Sync this person now", and other work on one record at Planning Center: the outcome is shown.

import { at, get, post } from "../api.js";
import { follow } from "../live.js";
import { announce, h, slot, update } from "./dom.js";
import { action, status, when } from "./look.js";
import { Problem, sentenceOf } from "./problem.js";
import { PRODUCTS, ago, exact } from "./words.js";

/**
 * Syncs of all products.
 * @typedef {Partial<import("../types.d.ts").RecordSync> & import("../types.d.ts").EventSync} Sync
 */

const ASKING = "Asking Planning Center…";
/** Milliseconds between polls; the last one repeats. */
const PAUSES = [250, 400, 600, 1000, 1500, 2500, 4000, 6000, 10_000];
const LONGEST = 60_000;

/** Why a sync is impossible; empty if it is not. @param {import("../types.d.ts").ConnectionCard} card */
function impossible({ product, state }) {
  if (state === "connected") return "";
  return `This needs ${PRODUCTS[product]}, which ${state === "reconnect_required" ? "has to be reconnected first" : "is not connected"}.`;
}

/** Tone and word of outcomes other than done. @type {Record<string, [import("./look.js").Tone, string]>} */
const NOT_DONE = {
  rejected: ["bad", "Refused by Planning Center"],
  conflict: ["bad", "In conflict"],
  held: ["warn", "Held match"],
  gone: ["warn", "Gone in Planning Center"],
  merged: ["warn", "Merged in Planning Center"],
  later: ["warn", "Not yet"],
  kept_out: ["calm", "Kept out of the sync"],
  missing: ["warn", "Not shown there"],
  not_linked: ["warn", "Not linked"],
  handed_off: ["warn", "Not there yet"],
  unclear: ["warn", "More than one matches"],
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

/** Requested and unfinished syncs by the path that asks for them, for readers who come back to the page. @type {Map<string, Sync>} */
const waiting = new Map();

/** Announce the sentence, with the time of the next attempt. @param {string} sentence @param {string | null} again */
const tell = (sentence, again) => announce(again ? `${sentence} We try again ${ago(again)}: ${exact(again)}.` : sentence);

/** @param {number} time */
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

/**
 * A button for administrators and its outcome, as nodes that survive every live update.
 * @param {import("../app.js").Context} context of the record's page
 * @param {{ label: string, path: string, done: () => unknown, product?: import("../types.d.ts").Product, key?: string, before?: () => Promise<boolean>, said?: string }} about
 *   `done` reads the record again; `before` asks the reader whether to go on; `said`: an outcome that the page itself shows
 */
export function syncNow({ signal, admin }, { label, path, done, product = "people", key = "sync", before: agreed, said: elsewhere }) {
  const said = h("div", { key: `${key}-said`, id: `${key}-said`, class: "stack tight" });
  const button = action(label, press, { key: `${key}-now` });
  /** Why a sync is impossible, or empty. */
  let reason = "";
  /** @type {Sync | null} */
  let sync = null;
  let trouble = "";
  let asking = false;
  /** Number of the newest press, the only one whose sync is followed. */
  let turn = 0;

  async function press() {
    if (agreed && !(await agreed())) return;
    asking = true;
    render();
    announce(ASKING);
    try {
      /** @type {Sync} */
      const asked = await post(path);
      void watch(asked);
    } catch (error) {
      asking = false;
      render();
      void learn();
      throw error;
    }
  }

  /** @param {Sync} asked */
  async function watch(asked) {
    const mine = (turn += 1);
    const left = () => signal.aborted || mine !== turn;
    sync = asked;
    trouble = "";
    asking = sync.state === "queued";
    let told = false;
    for (let looks = 0; asking; looks += 1) {
      waiting.set(path, sync);
      render();
      if (sync.again_at && !told) tell(sync.sentence, sync.again_at);
      told ||= sync.again_at !== null;
      const least = sync.again_at ? Date.parse(sync.again_at) - Date.now() : 0;
      await pause(Math.max(PAUSES[Math.min(looks, PAUSES.length - 1)] ?? 0, Math.min(least, LONGEST)));
      if (left()) return;
      try {
        sync = /** @type {Sync} */ (await get(at`/${product}/syncs/${asked.id}`, undefined, signal));
        if (left()) return;
        trouble = "";
        asking = sync.state === "queued";
      } catch (error) {
        if (left()) return;
        trouble = sentenceOf(error);
        asking = !(error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429);
      }
    }
    waiting.delete(path);
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
    if (!sync || sync.outcome === elsewhere) return null;
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
      sync.outcome === "merged" ? h("p", { key: "merged" }, h("a", { href: `/held?member=${encodeURIComponent(sync.record_id ?? "")}` }, "Go to Held matches")) : null,
    ];
  }

  /** Read whether a sync is possible; if that fails, the answer to a press tells. */
  async function learn() {
    /** @type {import("../types.d.ts").Connections | null} */
    const known = await get("/connections", undefined, signal).catch(() => null);
    if (signal.aborted) return;
    reason = known ? impossible(known[product]) : "";
    render();
  }

  if (admin) {
    void learn();
    follow("/connections", learn, signal);
    const before = waiting.get(path);
    if (before) void watch(before);
  }
  return {
    /** Drop the outcome "gone" once the person is back or requested again. */
    back() {
      if (asking || sync?.outcome !== "gone") return;
      sync = null;
      render();
    },
    /** Drop an outcome that later changes contradict. */
    forget() {
      if (asking) return;
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
