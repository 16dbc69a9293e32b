// Preview of a rule: past decisions it would have made, and open conflicts it decides when turned on.

import { post } from "../api.js";
import { afterwardsOf, conflictsOf, saidOf } from "../parts/choices.js";
import { announce, h } from "../parts/dom.js";
import { chips } from "../parts/list.js";
import { action, heading, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { Problem } from "../parts/problem.js";
import { count, fieldName, number } from "../parts/words.js";

/** @typedef {import("../types.d.ts").RulePreview} Preview */
/** @typedef {import("../types.d.ts").RulePastSample} Sample */

/** Fields that a rule can decide: `RuleField` of `contracts.http.rules`. */
const DECIDED = ["first_name", "last_name", "birthdate", "gender", "child", "email", "phone", "address", "active", "name", "primary_contact"];

/** @param {import("../app.js").Context} context */
export function show(context) {
  const { main, query, signal, admin } = context;
  const fields = (query.get("fields") ?? "").split(",").filter(Boolean);
  const days = Number(query.get("older_than_days")) || null;
  const child = query.get("child");
  const title = heading("A rule");
  if (!admin || fields.length === 0 || fields.some((name) => !DECIDED.includes(name))) {
    main.append(title, h("p", {}, admin ? "The address of this rule is not complete. " : "Only an administrator can turn on a rule. ", h("a", { href: "/conflicts/rules" }, "See all rules")));
    return;
  }
  const empty = query.get("empty");
  const condition = {
    fields,
    answer: query.get("answer") === "ours" ? "ours" : "theirs",
    older_than_days: days,
    empty: empty === "ours" || empty === "theirs" ? empty : null,
    child: child === "true" || child === "false" ? child === "true" : null,
  };
  /** @type {[string, string][]} */
  const ages = [["", "Any age"], ["90", "Older than 90 days"], ["365", "Older than a year"]];
  if (days && !ages.some(([value]) => value === String(days))) ages.push([String(days), `Older than ${count(days, "day")}`]);

  /** Notice that the preview changed after being shown. */
  let moved = "";
  /** @type {import("../parts/part.js").Part<Preview>} */
  const preview = part({
    signal,
    load: async () => {
      /** @type {Preview} */
      const found = await post("/conflicts/rules/preview", condition);
      /** @type {HTMLElement} */ (title.querySelector("h1")).textContent = found.name;
      return found;
    },
    render: (found) => [
      moved ? h("div", { key: "moved", class: "notice warn", role: "status" }, h("p", {}, moved)) : null,
      past(found),
      now(found),
      h(
        "div",
        { class: "row" },
        action(found.count === 0 ? "Turn on" : `Turn on, and decide ${conflictsOf(found.count)}`, () => turnOn(found), { class: "primary", key: "on" }),
        h("a", { class: "button", href: "/conflicts/rules" }, "Cancel"),
      ),
    ],
  });

  /** @param {Preview} found */
  function past({ past: { looked_at, same, different, same_samples, different_samples } }) {
    const decisions = looked_at === 1 ? "the last decision" : `the last ${number(looked_at)} decisions`;
    return h(
      "section",
      { class: "card", "aria-labelledby": "past" },
      h("h2", { id: "past" }, "What it would have decided"),
      looked_at === 0
        ? h("p", {}, `Nobody has decided a conflict about edits of exactly ${fieldsInWords(fields)} yet.`)
        : h("p", {}, `Of ${decisions} that people made about edits of ${fieldsInWords(fields)} alone, it would have made `, h("strong", {}, `${number(same)} in the same way`), " and ", h("strong", {}, `${number(different)} differently`), `.${looked_at - same - different > 0 ? ` It would have left ${number(looked_at - same - different)} to you.` : ""}`),
      different > 0 ? samples("Where people decided differently", different, different_samples) : null,
      same > 0 ? samples("Where people decided the same", same, same_samples) : null,
    );
  }

  /** @param {string} label @param {number} total @param {Sample[]} items */
  const samples = (label, total, items) => [
    h("h3", {}, total > items.length ? `${label}, the last ${number(items.length)}` : label),
    h(
      "ul",
      { class: "bullets", "aria-label": label },
      ...items.map((item) => h("li", {}, h("a", { href: `/conflicts?open=${encodeURIComponent(item.conflict_id)}` }, item.record.name || "No name"), `: ${item.decided_by_name ?? "somebody"} chose ${saidOf(item)}, `, when(item.decided_at), ".")),
    ),
  ];

  /** @param {Preview} found */
  function now({ count: amount, left_out, samples: items }) {
    return h(
      "section",
      { class: "card", "aria-labelledby": "now" },
      h("h2", { id: "now" }, "What it decides now"),
      amount === 0
        ? h("p", {}, "No open conflict fits. It decides new ones as soon as they are found.")
        : [
            h("p", {}, `When you turn it on, exactly ${amount === 1 ? "this open conflict is" : `these ${number(amount)} open conflicts are`} decided, here and in Planning Center. ${amount === 1 ? "If it" : "One that"} changes before its turn${amount === 1 ? ", it" : ""} is left as it is and named.${amount > items.length ? ` The first ${number(items.length)}:` : ""}`),
            h("ul", { class: "bullets", "aria-labelledby": "now" }, ...items.map(({ conflict, choices }) => h("li", {}, h("a", { href: `/conflicts?open=${encodeURIComponent(conflict.id)}` }, conflict.record.name || "No name"), `: ${conflict.fields.map((field) => afterwardsOf(field, choices[field.field])).join("; ")}`))),
            h("p", {}, "From then on it also decides new conflicts that fit, as soon as they are found."),
          ],
      left_out > 0 ? h("p", {}, `${conflictsOf(left_out)} more ${left_out === 1 ? "fits and stays" : "fit and stay"} open: another rule answers differently, or a decision could not be carried out before${amount >= 10_000 ? `, or they are more than the ${number(10_000)} that are decided at once` : ""}.`) : null,
    );
  }

  /** @param {Preview} found */
  async function turnOn({ digest }) {
    try {
      const rule = await post("/conflicts/rules", { ...condition, digest });
      announce(`The rule is on: ${rule.name}.`);
      context.go(`/conflicts/rules${rule.bulk_id ? `?answers=${encodeURIComponent(rule.bulk_id)}` : ""}`);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 409) throw error;
      moved = error.message;
      await preview.reload();
      announce(moved);
    }
  }

  main.append(
    title,
    h("p", { class: "quiet" }, "The rule is off until you turn it on. You can narrow it first, turn it off at any time, and revert what it did."),
    // The status has no last agreed value, and a rule decides it all the same.
    fields.every((field) => field === "active") ? "" : h("p", { class: "quiet" }, "It decides conflicts in which both sides edited these fields and no other field of the record. Differences from the first match wait for you, and so does what somebody kept different and decides again."),
    h(
      "div",
      { class: "stack tight" },
      chips("Whose value", context, "answer", [["", "Planning Center is right"], ["ours", "Ours is right"]]),
      chips("Age of our value", context, "older_than_days", ages),
      chips("Empty side", context, "empty", [["", "Any values"], ["ours", "Ours is empty"], ["theirs", "Planning Center's is empty"]]),
      chips("Who", context, "child", [["", "Everybody"], ["false", "Adults"], ["true", "Children"]]),
    ),
    preview.element,
  );
}

/** "email and phone". @param {string[]} fields */
function fieldsInWords(fields) {
  const names = fields.map((field) => fieldName(field).toLowerCase());
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : String(names[0]);
}
