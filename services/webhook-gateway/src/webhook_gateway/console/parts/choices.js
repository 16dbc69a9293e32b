// The choices of a conflict in words, and a bulk answer.

import { h } from "./dom.js";
import { notice } from "./look.js";
import { count, fieldName, shown } from "./words.js";

/** @typedef {import("../types.d.ts").Choice} Choice */

/** @type {[Choice, string, string][]} choice, name and effect */
export const CHOICES = [
  ["ours", "Keep ours", "ours"],
  ["theirs", "Keep Planning Center's", "Planning Center's"],
  ["both", "Keep both different", "both kept different"],
];

/** Why a bulk answer leaves a conflict open. */
const ALONE = "another field of the same conflict needs an answer of its own";
export const conflictsOf = (/** @type {number} */ amount) => count(amount, "conflict");

/** @type {import("./answers.js").Kind<import("../types.d.ts").Bulk, import("../types.d.ts").BulkSample>} */
export const ANSWERS = {
  path: "/conflicts/bulk",
  noun: conflictsOf,
  answers: [
    ["ours", "Keep ours"],
    ["theirs", "Keep Planning Center's"],
    ["both", "Keep both different"],
    ["filled", "Fill the empty side"],
  ],
  leftOut: {
    ours: `because ${ALONE}, or because a sync never changes in Planning Center who is active.`,
    theirs: `because ${ALONE}.`,
    both: `because ${ALONE}.`,
    filled: `because neither side of a field is empty there, or ${ALONE}.`,
  },
  explain: "Where only one side was edited, that edit is kept. First you see how many can have the answer, and what would be done; nothing is done before you agree.",
  promise: () => "A conflict that changes before its turn, here or in Planning Center, is left as it is and named.",
  sample: ({ conflict, choices }) => [h("strong", {}, conflict.record.name || "No name"), `: ${conflict.fields.map((field) => afterwardsOf(field, choices[field.field])).join("; ")}`],
  last: () => null,
  named: ({ conflict_id, name }) => [conflict_id, name],
  progress: (bulk) => (bulk.waiting > 0 ? { done: bulk.count - bulk.waiting, sentence: `${conflictsOf(bulk.waiting)} still to be applied on both sides.` } : null),
  results: (bulk) => [
    h("p", {}, `${conflictsOf(bulk.applied)} ${bulk.applied === 1 ? "is" : "are"} settled.`),
    bulk.not_needed > 0 ? h("p", {}, `${conflictsOf(bulk.not_needed)} ${bulk.not_needed === 1 ? "was" : "were"} over before ${bulk.not_needed === 1 ? "its" : "their"} turn: nothing was left to apply.`) : null,
    bulk.overtaken > 0 ? notice("warn", h("p", {}, `${conflictsOf(bulk.overtaken)} changed before ${bulk.overtaken === 1 ? "its" : "their"} turn, here or in Planning Center, and ${bulk.overtaken === 1 ? "is" : "are"} open again: `, h("a", { href: `/conflicts?bulk_id=${encodeURIComponent(bulk.id)}` }, "show what is open again"), ".")) : null,
    bulk.refused > 0 ? notice("warn", h("p", {}, `Planning Center did not take everything for ${conflictsOf(bulk.refused)}: `, h("a", { href: `/conflicts?bulk_id=${encodeURIComponent(bulk.id)}&state=resolved` }, "show why"), ".")) : null,
  ],
};

/** The effect of a choice on a field. @param {import("../types.d.ts").ConflictField} field @param {Choice | undefined} choice */
export function afterwardsOf(field, choice) {
  if (choice === "both") return `${fieldName(field.field)} stays different`;
  if (field.field === "primary_contact") return `${fieldName(field.field)} as ${choice === "ours" ? "here" : "in Planning Center"}`;
  const [value, other] = choice === "ours" ? [field.ours, field.theirs] : [field.theirs, field.ours];
  const side = choice === "ours" ? "in Planning Center" : "here";
  return `${fieldName(field.field)} becomes ${shown(value) || "empty"} ${side}, in place of ${shown(other) || "an empty one"}`;
}

/** "Phone: ours; Last name: Planning Center's". @param {Pick<import("../types.d.ts").Decision, "choices" | "fields">} decision */
export const saidOf = ({ choices, fields }) =>
  fields
    .map(({ field, ours, theirs }) => {
      const choice = choices[field];
      const value = shown(choice === "ours" ? ours : theirs) || "empty";
      const exactly = choice === "both" || field === "primary_contact" ? "" : ` (${value})`;
      return `${fieldName(field)}: ${CHOICES.find(([one]) => one === choice)?.[2]}${exactly}`;
    })
    .join("; ");

/** The person, or the rule, that decided. @param {import("../types.d.ts").Decision} decision */
export const whoOf = ({ decided_by_name, rule_id }) => (rule_id ? `The rule “${decided_by_name}”` : (decided_by_name ?? "Somebody"));
