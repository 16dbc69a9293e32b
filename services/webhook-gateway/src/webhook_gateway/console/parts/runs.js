// Syncs, newest first.

import { get } from "../api.js";
import { h } from "./dom.js";
import { chips, list } from "./list.js";
import { when } from "./look.js";
import { runStatus } from "./progress.js";
import { duration, number, outcomeName, runKind, runTrigger, sentenceCase, tookSeconds } from "./words.js";

/** @typedef {import("../types.d.ts").Run} Run */

/**
 * The list of syncs with its filters.
 * @param {import("../app.js").Context} context
 * @param {{ path: "/people/runs" | "/calendar/runs", here: string, href: (id: string) => string, file?: (query: import("../api.js").Query) => HTMLElement }} about
 *   `here`: address of the page; `href`: address of one sync
 */
export function runsOf(context, { path, here, href, file }) {
  const { query, signal, admin } = context;
  const states = chips("State", context, "state", [
    ["", "All"],
    ["running", "Syncing"],
    ["waiting", "Waiting"],
    ["done", "Done"],
    ["stopped", "Stopped"],
    ["failed", "Failed"],
  ]);
  const runs = list(context, {
    caption: "Syncs",
    columns: ["Started", "By", "What", "State", "Took", "Outcome", "Requests"],
    noun: ["sync", "syncs"],
    load: (after, limit) => get(path, { after, limit, state: query.get("state") }, signal),
    id: (/** @type {Run} */ run) => run.id,
    href: (run) => href(run.id),
    cells: (run) => [
      when(run.started_at ?? run.created_at),
      sentenceCase(runTrigger(run)),
      runKind(run),
      runStatus(run, admin),
      tookOf(run),
      Object.entries(run.counts)
        .filter(([, amount]) => amount > 0)
        .map(([outcome, amount]) => `${outcomeName(outcome)}: ${number(amount)}`)
        .join(", "),
      number(run.progress.requests),
    ],
    file: file?.({ state: query.get("state") }),
    follows: [path],
    onFact: (fact) => (fact.type === "SyncRunStarted" ? { id: "", item: null } : { id: fact.body.run.id, item: fact.body.run }),
    empty: () =>
      query.get("state")
        ? [h("h2", {}, "No sync in this state"), h("p", {}, h("a", { href: here }, "Show every sync"))]
        : [
            h("h2", {}, "No sync yet"),
            h("p", {}, "Each sync is listed here with what it changed."),
            h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations to sync")),
          ],
  });
  return { elements: [states, runs.element], ready: runs.ready };
}

/** @param {Run} run */
function tookOf(run) {
  const seconds = tookSeconds(run);
  return seconds === null ? null : duration(seconds);
}
