// Undo of more than one field: what would be put back is planned, and shown on the page of a run that waits.

import { at, get, post } from "../api.js";
import { h } from "./dom.js";
import { action, when } from "./look.js";

/**
 * @param {import("../app.js").Context} context
 * @param {string} label
 * @param {Partial<import("../types.d.ts").UndoInput>} scope what to undo: exactly one thing
 * @param {string} [name] for those who do not see what is around it
 */
export const undoOf = (context, label, scope, name) =>
  action(label, async () => context.go(at`/runs/${(await post("/people/undo", scope)).id}`), { key: "undo", name });

/**
 * Undos of decisions, or of rules, that were approved: the newest by what it undoes.
 * @param {"decision_id" | "rule_id"} what
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, import("../types.d.ts").Run>>}
 */
export async function undosOf(what, signal) {
  /** @type {import("../types.d.ts").Page<import("../types.d.ts").Run>} */
  const page = await get("/people/runs", { undoes: what, limit: 200 }, signal).catch(() => ({ items: [], next: null, total: null }));
  const approved = page.items.filter((run) => run.answered.some(({ question, answer }) => question === "undo" && answer !== "stop"));
  return new Map(approved.reverse().map((run) => [run.undoes[what] ?? "", run]));
}

/** That it was undone, and by whom. @param {import("../types.d.ts").Run} run @param {string} word */
export const undone = (run, word) =>
  h("p", { key: "undone" }, `${word} by ${run.started_by_name ?? "somebody"}, `, when(run.finished_at ?? run.created_at), ". ", h("a", { href: at`/runs/${run.id}` }, "See what was put back"));
