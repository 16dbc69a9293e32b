// An edit based on outdated values.

import { get } from "../api.js";
import { action } from "./look.js";
import { Problem } from "./problem.js";
import { fieldName, listed } from "./words.js";

/** @typedef {import("../app.js").Context} Context */

/** @param {Context} context */
export const showNewest = (context) => action("Show the newest values", () => context.go(context.here({}), { replace: true }));

/**
 * Who changed what of a record since it was read: "Sam Reed changed title and where meanwhile."
 * @param {string} kind
 * @param {{ path: string, since: string }} [record] its path, and when it was changed last as it was read
 */
export async function whoChanged(kind, record) {
  const unknown = `Somebody else changed this ${kind} meanwhile.`;
  if (!record) return unknown;
  /** @type {import("../types.d.ts").Page<import("../types.d.ts").HistoryEntry> | null} */
  const page = await get(`${record.path}/history`, { limit: 50 }).catch(() => null);
  /** @type {Map<string, Set<string>>} */
  const changes = new Map();
  const others = new Set();
  for (const { by, by_name, field, changed_at, new: now } of page?.items ?? []) {
    if (Date.parse(changed_at) <= Date.parse(record.since)) continue;
    const who = by_name ?? (by === "planning_center" ? "Planning Center" : "The platform");
    if (field === "linked_to") others.add(now ? `${who} linked this ${kind} with Planning Center` : `${who} unlinked this ${kind}`);
    else changes.set(who, (changes.get(who) ?? new Set()).add(fieldName(field).toLowerCase()));
  }
  const all = [...[...changes].map(([who, fields]) => `${who} changed ${listed([...fields])}`), ...others];
  return all.length > 0 ? `${all.join("; ")} meanwhile.` : unknown;
}

/**
 * An error handler for a save: after a version conflict the notice says who changed what, and offers the newest values.
 * @param {Context} context
 * @param {string} kind
 * @param {{ path: string, since: string, remedy?: () => HTMLElement }} [record] as of `whoChanged`; `remedy` shows the newest values
 * @returns {(error: unknown) => Promise<never>}
 */
export const otherwiseChanged = (context, kind, record) => async (error) => {
  if (!(error instanceof Problem) || error.kind !== "version-conflict") throw error;
  const said = new Problem(`${await whoChanged(kind, record)} Nothing was saved; what you typed is still here.`);
  said.remedy = record?.remedy?.() ?? showNewest(context);
  throw said;
};
