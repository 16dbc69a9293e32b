// Erasing a person here: confirmation and receipt.

import { at, post } from "../api.js";
import { announce, h } from "./dom.js";
import { action, confirm, status, when } from "./look.js";
import { Problem } from "./problem.js";
import { openThere } from "./there.js";
import { count, fullName } from "./words.js";

/** @typedef {import("../types.d.ts").Erasure} Erasure */
/** @typedef {import("../types.d.ts").ErasureLine} ErasureLine */
/** @typedef {import("../app.js").Context} Context */

/** Requesters of an erasure, in words. @type {Record<string, string>} */
const REQUESTS = {
  person: "At the person's own request",
  parent: "At the request of a parent or guardian",
  church: "Because the church has to",
};

/** @type {Record<ErasureLine["outcome"], [tone: "good" | "warn" | "calm", word: string]>} */
const OUTCOMES = {
  done: ["good", "Erased"],
  not_needed: ["calm", "Nothing there"],
  pending: ["warn", "Under way"],
  left: ["calm", "Not erased here"],
  kept: ["good", "Kept from coming back"],
};

/** Owners of the databases, in the order of the receipt. @type {[service: string | null, title: string][]} */
const SERVICES = [
  ["people-sync", "In the directory and the sync"],
  ["conflict-service", "In the conflicts"],
  [null, "Elsewhere"],
];

/**
 * The button on a person's page, for administrators.
 * @param {Context} context
 * @param {import("../types.d.ts").Member} member
 */
export const eraseButton = (context, member) => (context.admin ? action("Erase for good", () => erase(context, member), { key: "erase" }) : null);

/** @param {Context} context @param {import("../types.d.ts").Member} member */
async function erase(context, member) {
  const name = fullName(member);
  const possible = Object.entries(REQUESTS).filter(([who]) => !member.child || who !== "person");
  const asked = h(
    "fieldset",
    {},
    h("legend", {}, "On whose request?"),
    ...possible.map(([who, words]) =>
      h("div", { class: "row" }, h("input", { type: "radio", name: "on-request-of", id: `request-${who}`, value: who }), h("label", { for: `request-${who}` }, words)),
    ),
  );
  /** @type {Erasure | undefined} */
  let receipt;
  const done = await confirm({
    title: `Erase ${name} for good?`,
    text: [
      h(
        "ul",
        { class: "bullets" },
        h("li", {}, `Everything kept about ${name} here is erased: details, history, conflicts, held matches and lines in the sync history. This cannot be taken back.`),
        member.family_ids.length > 0 ? h("li", {}, "They leave their families here. A family in which nobody is left is erased too.") : null,
        h("li", {}, h("strong", {}, "Planning Center is not touched."), " If they are to be erased there too, do that in Planning Center."),
        h("li", {}, "No sync brings them back, unless an administrator lets them back. To recognize them, we keep their ID in Planning Center, and nothing else."),
        h("li", {}, "A receipt says what was erased where, without a name."),
      ),
      asked,
    ],
    verb: `Erase ${name}`,
    work: async () => {
      const chosen = asked.querySelector("input:checked");
      if (!(chosen instanceof HTMLInputElement)) {
        asked.querySelector("input")?.focus();
        throw new Problem("Say on whose request. Nothing was erased.");
      }
      receipt = await post(at`/people/members/${member.id}/erasure`, { on_request_of: chosen.value, version: member.version });
    },
  });
  if (!done || !receipt) return;
  announce("The person was erased.");
  context.go(`/people/erased?at=${encodeURIComponent(receipt.id)}`, { replace: true });
}

/**
 * A receipt.
 * @param {Context} context
 * @param {Erasure} receipt
 * @param {(receipt: Erasure) => void} changed
 */
export function receiptOf(context, receipt, changed) {
  const { id, at: time, by_name, on_request_of, lines, complete, pco_ids, let_back_at, let_back_by_name } = receipt;
  return h(
    "section",
    { key: id, class: "card", "aria-labelledby": `erasure-${id}` },
    h(
      "div",
      { class: "row spread" },
      h("h2", { id: `erasure-${id}`, tabindex: "-1" }, "A person was erased"),
      complete ? status("good", "Complete", { pill: true }) : status("warn", "Under way", { pill: true }),
    ),
    h("p", { class: "quiet" }, `${REQUESTS[on_request_of] ?? on_request_of}, by ${by_name ?? "somebody"}, `, when(time), "."),
    ...SERVICES.flatMap(([service, title]) => [
      h("h3", {}, title),
      h(
        "ul",
        { class: "plain-list" },
        ...lines
          .filter((line) => line.service === service)
          .map(({ place, outcome, sentence, count: rows }) =>
            h("li", { key: place, class: "receipt" }, status(...OUTCOMES[outcome]), h("span", {}, sentence, rows > 0 && service ? h("span", { class: "quiet" }, ` (${count(rows, "entry", "entries")})`) : null)),
          ),
      ),
    ]),
    let_back_at ? h("p", {}, `Let back by ${let_back_by_name ?? "somebody"}, `, when(let_back_at), ".") : null,
    pco_ids.length > 0
      ? h(
          "div",
          { class: "row" },
          ...pco_ids.map((pco_id) => openThere(context, "member", pco_id, `person ${pco_id}`)),
          action("Let back", () => letBack(receipt, changed), { key: "let-back", name: "Let back: syncs may add this person again" }),
        )
      : null,
  );
}

/** @param {Erasure} receipt @param {(receipt: Erasure) => void} changed */
async function letBack({ id }, changed) {
  /** @type {Erasure | undefined} */
  let after;
  const done = await confirm({
    title: "Let this person back?",
    text: h(
      "ul",
      { class: "bullets" },
      h("li", {}, "The next sync reads this person in Planning Center and adds them here like anybody new."),
      h("li", {}, "What was erased here stays erased."),
    ),
    verb: "Let back",
    work: async () => (after = await post(at`/people/erasures/${id}/let-back`)),
    dangerous: false,
  });
  if (!done || !after) return;
  announce("Let back. The next sync adds them here, if they are in Planning Center.");
  changed(after);
}
