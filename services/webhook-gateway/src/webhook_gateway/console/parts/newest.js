// An edit based on outdated values.

import { action } from "./look.js";
import { Problem } from "./problem.js";

/** @typedef {import("../app.js").Context} Context */

/** @param {Context} context */
export const showNewest = (context) => action("Show the newest values", () => context.go(context.here({}), { replace: true }));

/**
 * An error handler for a save: after a version conflict the notice offers the newest values.
 * @param {Context} context
 * @param {string} kind
 * @returns {(error: unknown) => never}
 */
export const otherwiseChanged = (context, kind) => (error) => {
  if (!(error instanceof Problem) || error.kind !== "version-conflict") throw error;
  const said = new Problem(`Somebody else changed this ${kind} meanwhile. Nothing was saved; what you typed is still here.`);
  said.remedy = showNewest(context);
  throw said;
};
