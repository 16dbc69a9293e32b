// Undo of more than one field: what would be put back is planned, and shown on the page of a run that waits.

import { at, post } from "../api.js";
import { action } from "./look.js";

/**
 * @param {import("../app.js").Context} context
 * @param {string} label
 * @param {Partial<import("../types.d.ts").UndoInput>} scope what to undo: exactly one thing
 * @param {string} [name] for those who do not see what is around it
 */
export const undoOf = (context, label, scope, name) =>
  action(label, async () => context.go(at`/runs/${(await post("/people/undo", scope)).id}`), { key: "undo", name });
