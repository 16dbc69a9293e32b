// Sync history, newest first.

import { at, get } from "../api.js";
import { h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { chips, list } from "../parts/list.js";
import { heading, when } from "../parts/look.js";
import { runStatus } from "../parts/progress.js";
import { duration, number, outcomeName, runKind, runTrigger, sentenceCase, tookSeconds } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Run} Run */

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, query, signal, admin } = context;
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
    load: (after, limit) => get("/people/runs", { after, limit, state: query.get("state") }, signal),
    id: (/** @type {Run} */ run) => run.id,
    href: (run) => at`/runs/${run.id}`,
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
    file: downloads("/people/runs.csv", { state: query.get("state") }),
    follows: ["/people/runs"],
    onFact: (fact) => (fact.type === "SyncRunStarted" ? { id: "", item: null } : { id: fact.body.run.id, item: fact.body.run }),
    empty: () =>
      query.get("state")
        ? [h("h2", {}, "No sync in this state"), h("p", {}, h("a", { href: "/runs" }, "Show every sync"))]
        : [
            h("h2", {}, "No sync yet"),
            h("p", {}, "Each sync is listed here with what it changed."),
            h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations to sync")),
          ],
  });
  main.append(
    heading("Sync history", h("a", { href: "/integrations" }, "Integrations")),
    states,
    runs.element,
  );
  await runs.ready;
}

/** @param {Run} run */
function tookOf(run) {
  const seconds = tookSeconds(run);
  return seconds === null ? null : duration(seconds);
}
