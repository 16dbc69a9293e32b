// Undo of more than one field: a plan, shown on the page of a run that waits for approval.

import { at, get, post } from "../api.js";
import { h } from "./dom.js";
import { action, when } from "./look.js";

/**
 * @param {import("../app.js").Context} context
 * @param {string} label
 * @param {Partial<import("../types.d.ts").UndoInput>} scope exactly one field, which selects the changes
 * @param {string} [name] label for readers without the visual context
 */
export const undoOf = (context, label, scope, name) =>
  action(label, async () => context.go(at`/runs/${(await post("/people/undo", scope)).id}`), { key: "undo", name });

/**
 * Approved undos of decisions or of rules: the newest one by id of its decision or rule.
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

/** The notice of an undo, with its author. @param {import("../types.d.ts").Run} run @param {string} word */
export const undone = (run, word) =>
  h("p", { key: "undone" }, `${word} by ${run.started_by_name ?? "somebody"}, `, when(run.finished_at ?? run.created_at), ". ", h("a", { href: at`/runs/${run.id}` }, "See what was put back"));
