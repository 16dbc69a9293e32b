// Rules that decide conflicts automatically: their results, turning off, revert, delete.

import { at, get, post, remove } from "../api.js";
import { answerAll } from "../parts/answers.js";
import { ANSWERS, conflictsOf } from "../parts/choices.js";
import { announce, h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { action, confirm, heading, status, when } from "../parts/look.js";
import { addressOfRule, offersOf } from "../parts/offers.js";
import { part } from "../parts/part.js";
import { undone, undosOf } from "../parts/undo.js";

/** @typedef {import("../types.d.ts").Rule} Rule */
/** @typedef {import("../types.d.ts").Page<Rule>} Rules */

/** @param {import("../app.js").Context} context */
export function show(context) {
  const { main, query, signal, admin } = context;
  /** Id of the rule that the address asks for. */
  const asked = query.get("at");
  let came = asked === null;
  /** Undo runs by rule. @type {Map<string, import("../types.d.ts").Run>} */
  let reverted = new Map();
  /** @type {import("../parts/part.js").Part<Rules>} */
  const rules = part({
    signal,
    follows: ["/conflicts"],
    load: async () => {
      const [page, reverts] = await Promise.all([get("/conflicts/rules", undefined, signal), undosOf("rule_id", signal)]);
      reverted = reverts;
      return page;
    },
    render: (/** @type {Rules} */ { items }) => {
      if (!came) requestAnimationFrame(() => document.getElementById(`rule-${asked}`)?.focus());
      came = true;
      return [
        asked && !items.some((rule) => rule.id === asked) ? h("p", { key: "deleted", role: "status" }, "This rule was deleted. What it decided stays.") : null,
        items.length === 0 ? nothing() : [...items.map(card), h("div", { key: "file", class: "row" }, downloads("/conflicts/rules.csv"))],
      ];
    },
  });
  const answers = answerAll(context, ANSWERS, { filters: () => ({}), done: () => rules.reload() });
  const offers = admin ? offersOf(context) : null;

  const nothing = () =>
    h(
      "div",
      { class: "card empty" },
      h("h2", {}, "No rules yet"),
      h("p", {}, "Once an administrator has given the same answer to the same kind of conflict five times in a row, a rule is offered here and on the conflicts page."),
      h("p", {}, h("a", { href: "/conflicts" }, "Go to the open conflicts")),
    );

  /** @param {Rule} rule */
  function card(rule) {
    const { id, name, on, made_by_name, changed_at } = rule;
    const undoing = reverted.get(id);
    const total = rule.applied + rule.waiting + rule.overtaken + rule.not_needed;
    return h(
      "section",
      { key: id, class: "card", "aria-labelledby": `rule-${id}` },
      h(
        "div",
        { class: "row spread" },
        h("h2", { id: `rule-${id}`, tabindex: "-1" }, name),
        on ? status("good", "On", { pill: true }) : status("calm", "Off", { pill: true }),
      ),
      h("p", { class: "quiet" }, on ? `Turned on by ${made_by_name ?? "somebody"}, ` : "Turned off ", when(changed_at), "."),
      total === 0
        ? h("p", {}, "This rule has not decided anything yet.")
        : h(
            "ul",
            { class: "plain-list", "aria-label": "What it decided" },
            decided(id, rule.applied, "resolved", undoing ? (rule.applied === 1 ? "was settled" : "were settled") : rule.applied === 1 ? "is settled" : "are settled"),
            decided(id, rule.waiting, "resolving", rule.waiting === 1 ? "is being applied" : "are being applied"),
            decided(id, rule.overtaken, "", `changed before ${rule.overtaken === 1 ? "its" : "their"} turn, so you decide`),
            rule.not_needed > 0 ? h("li", {}, `${conflictsOf(rule.not_needed)} ${rule.not_needed === 1 ? "was" : "were"} over before ${rule.not_needed === 1 ? "its" : "their"} turn: nothing was left to apply.`) : null,
          ),
      undoing ? undone(undoing, "Reverted") : null,
      admin
        ? h(
            "div",
            { class: "row" },
            on
              ? action("Turn off", () => turnOff(rule), { key: "off", name: `Turn off: ${name}` })
              : h("a", { key: "on", class: "button", href: addressOfRule(rule.condition), "aria-label": `Turn on again: ${name}` }, "Turn on again"),
            total > 0 ? action(undoing ? "Revert what it did since" : "Revert what it did", () => revert(rule), { key: "revert", name: `${undoing ? "Revert what it did since" : "Revert what it did"}: ${name}` }) : null,
            action("Delete", () => forget(rule), { key: "delete", name: `Delete: ${name}` }),
          )
        : null,
    );
  }

  /** @param {string} id @param {number} amount @param {string} state @param {string} what */
  const decided = (id, amount, state, what) =>
    amount === 0
      ? null
      : h("li", {}, h("a", { href: `/conflicts?rule_id=${encodeURIComponent(id)}${state && `&state=${state}`}` }, conflictsOf(amount)), ` ${what}.`);

  /** @param {Rule} rule */
  async function turnOff({ id }) {
    await post(at`/conflicts/rules/${id}/off`);
    await rules.reload();
    announce("The rule is off. New conflicts wait for you; what it decided stays.");
    document.getElementById(`rule-${id}`)?.focus();
  }

  /** @param {Rule} rule */
  async function revert({ id, name }) {
    /** @type {import("../types.d.ts").Run | undefined} */
    let run;
    await confirm({
      title: "Revert what this rule did?",
      text: [
        h("p", {}, h("strong", {}, name)),
        h("p", {}, "Next you see what would be put back, here and in Planning Center, for the last 30 days. Nothing is changed before you agree."),
        h("p", {}, "What was edited since is left as it is and named, and what the rule decides from now on is not in it. The rule stays on or off as it is."),
      ],
      verb: "Show what would be put back",
      dangerous: false,
      work: async () => (run = await post("/people/undo", { rule_id: id })),
    });
    if (run) context.go(at`/runs/${run.id}`);
  }

  /** @param {Rule} rule */
  async function forget({ id, name }) {
    const deleted = await confirm({
      title: "Delete this rule?",
      text: [
        h("p", {}, h("strong", {}, name)),
        h("p", {}, "It decides nothing any more. What it decided stays, and keeps its name in every history. To put that back, revert it before you delete the rule."),
      ],
      verb: "Delete the rule",
      work: () => remove(at`/conflicts/rules/${id}`),
    });
    if (!deleted) return;
    await rules.reload();
    announce("The rule was deleted.");
    main.querySelector("h1")?.focus();
  }

  main.append(
    heading("Rules"),
    h(
      "p",
      { class: "quiet" },
      "A rule decides one kind of conflict as soon as it is found, and its name stands beside every change that it makes. No rule is on before an administrator has seen what it would decide. ",
      h("a", { href: "/conflicts" }, "Go to the conflicts"),
    ),
    offers?.element ?? "",
    answers.said,
    rules.element,
  );
}
