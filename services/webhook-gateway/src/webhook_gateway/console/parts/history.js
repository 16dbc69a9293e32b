// The history of a record on its page.

import { at, get } from "../api.js";
import { h } from "./dom.js";
import { downloads } from "./download.js";
import { list } from "./list.js";
import { action, when } from "./look.js";
import { fieldName, sentenceCase, shown as plain } from "./words.js";

/** @typedef {import("../types.d.ts").HistoryEntry} HistoryEntry */

/**
 * @param {import("../app.js").Context} context of the record's page
 * @param {string} path of the record
 * @param {string} noun of the record
 * @param {(entry: HistoryEntry) => unknown} [undo] puts the former value back
 * @param {(value: unknown, field: string) => string} [shown] a value in words
 * @param {{ verb?: string, run?: (id: string) => string, first?: Promise<void> }} [about] `verb` of undo; `run`: address of a sync; `first`
 *   is awaited before values are put into words
 */
export const historyOf = (context, path, noun, undo, shown = plain, { verb = "Undo", run = (id) => at`/runs/${id}`, first } = {}) =>
  list(context, {
    caption: "History",
    columns: ["Field", "Before", "After", "When", "By", ""],
    noun: ["change", "changes"],
    file: downloads(`${path}/history.csv`, {}, "The history"),
    load: async (after, limit) => (await Promise.all([get(`${path}/history`, { after, limit }, context.signal), first]))[0],
    id: (/** @type {HistoryEntry} */ entry) => entry.id,
    cells: (entry) => [
      entry.joined_name ? [changedField(entry), h("span", { class: "quiet" }, ` of ${entry.joined_name}`)] : changedField(entry),
      same(entry) ? shown(entry.old, entry.field) : shown(entry.old, entry.field) ? h("del", { class: isId(entry) && "whole" }, shown(entry.old, entry.field)) : nothing(entry),
      same(entry) ? h("span", { class: "quiet" }, "not changed") : shown(entry.new, entry.field) ? h("ins", { class: isId(entry) && "whole" }, shown(entry.new, entry.field)) : nothing(entry),
      when(entry.changed_at),
      byWhom(entry, run),
      context.admin && entry.can_undo && undo
        ? action(verb, () => undo(entry), { name: `${verb}: the former ${fieldName(entry.field).toLowerCase()}` })
        : null,
    ],
    empty: () => h("p", {}, `Every change of this ${noun} will be listed here, with the value before it.`),
  });

/** Explanations of rules whose names say too little. @type {Record<string, string>} */
const RULES = {
  first_match: "at the first sync",
  filled: "filled in, since it was empty here",
  gone: "no longer in Planning Center",
  merged: "merged there",
  decided: "decided a conflict",
  person: "at the person's own request",
  parent: "at a parent's request",
  church: "because the church has to",
  kept_different: "keeps it different from Planning Center's",
  decide_again: "wants to decide again",
  doubled: "made twice in Planning Center, taken back",
  joined: "joined two records",
  matched: "found to be the same person",
  undone: "put it back",
  with_family: "with the family",
};

/** Whether the value is an id of Planning Center, which must not wrap. @param {HistoryEntry} entry */
const isId = ({ field }) => field === "planning_center_id" || field === "created" || field === "linked_to";

/** Whether the entry left the value unchanged, as for a kept difference or a duplicated contact. @param {HistoryEntry} entry */
const same = ({ old, new: now }) => plain(old) !== "" && JSON.stringify(old) === JSON.stringify(now);

/** @param {HistoryEntry} entry */
const addedHere = ({ field, new: now }) => field === "created" && now === true;

/** What no value is called. @type {Record<string, string>} */
const NOTHING = { members: "not in the family", families: "not in the family", occurrence: "as the series", linked_to: "not linked" };

/** @param {HistoryEntry} entry */
const nothing = (entry) => entry.field !== "erased" && !addedHere(entry) && h("span", { class: "quiet" }, NOTHING[entry.field] ?? "empty");

/** @param {HistoryEntry} entry */
function changedField(entry) {
  const { field, side } = entry;
  if (addedHere(entry)) return "Added here";
  if (side !== "there" || field === "planning_center_id") return field === "created" ? fieldName(field) : h("span", { class: "whole" }, fieldName(field));
  return field === "created" ? "Added in Planning Center, with the ID" : `${fieldName(field)} in Planning Center`;
}

/** @param {HistoryEntry} entry @param {(id: string) => string} run */
function byWhom(entry, run) {
  /** @type {Record<string, string>} */
  const names = { planning_center: "Planning Center", platform: "The platform", rule: "A rule", person: "Somebody here" };
  // A value typed here reaches Planning Center by a sync.
  if (entry.side === "there") names.platform = "The sync";
  if (entry.rule === "first_match" && entry.by === "planning_center" && entry.side !== "there") return linked("Taken from Planning Center at the first sync");
  const who = entry.by_name ?? names[entry.by] ?? sentenceCase(entry.by);
  // The rule "changed" adds no information to the author.
  const what = entry.rule && entry.rule !== "changed" ? `${who} (${RULES[entry.rule] ?? entry.rule.replace(/_/g, " ")})` : who;
  return linked(what);

  /** @param {string} text */
  function linked(text) {
    return entry.run_id ? h("a", { href: run(entry.run_id) }, text) : text;
  }
}
