// Offers of rules derived from repeated answers: one card each, which appears only while no card below it is in use.

import { get, post, search } from "../api.js";
import { announce, h } from "./dom.js";
import { action } from "./look.js";
import { part } from "./part.js";

/** @typedef {import("../types.d.ts").RuleOffer} Offer */
/** @typedef {import("../types.d.ts").Page<Offer>} Offers */

/** Address of a rule's preview. @param {import("../types.d.ts").RuleCondition} condition */
export const addressOfRule = ({ fields, answer, older_than_days, empty, child }) =>
  `/conflicts/rules/new${search({ fields: fields.join(","), answer: answer === "ours" ? "ours" : null, older_than_days, empty, child })}`;

/**
 * @param {import("../app.js").Context} context of the page, on which the offers stand above the other cards
 */
export function offersOf({ signal, main }) {
  /** Whether the reader uses a card that a new one would move. */
  const busy = () => main.querySelector(".card:hover, .card:focus-within") !== null;
  /** @type {Offer[]} those that are on the page */
  let shown = [];
  /** @type {import("./part.js").Part<Offers>} */
  const offers = part({
    signal,
    follows: ["/conflicts"],
    skeleton: () => null,
    load: () => get("/conflicts/rules/offers", undefined, signal),
    render: (/** @type {Offers} */ { items }) => {
      const fresh = items.filter((offer) => !shown.some(({ name }) => name === offer.name));
      const calm = fresh.length > 0 && busy();
      if (fresh.length > 0) announce(`A rule is offered: ${fresh[0]?.name}.`);
      shown = calm ? shown.filter((offer) => items.some(({ name }) => name === offer.name)) : items;
      return [shown.map(card), calm ? later() : null];
    },
  });

  // The line has a fixed place of its own, so that no card moves under the pointer.
  const later = () =>
    h(
      "div",
      { key: "offer-later", class: "floating", role: "note" },
      h("span", {}, "A rule is offered. "),
      h("button", { type: "button", class: "link", onclick: showNow }, "Show"),
    );

  async function showNow() {
    shown = offers.value()?.items ?? [];
    offers.show({ items: shown, next: null, total: null });
    const link = offers.value() && main.querySelector(".offer a");
    if (link instanceof HTMLElement) link.focus();
  }

  /** @param {Offer} offer */
  function card({ name, condition, times }) {
    return h(
      "section",
      { key: name, class: "card offer", "aria-label": "A rule is offered" },
      h("p", {}, `You gave the same answer ${times} times in a row. A rule can give it from now on: `, h("strong", {}, `${name}.`)),
      h(
        "div",
        { class: "row" },
        h("a", { class: "button", href: addressOfRule(condition) }, "See what it would decide"),
        action(
          "Do not offer it",
          async () => {
            offers.show(await post("/conflicts/rules/offers/decline", { fields: condition.fields }));
            announce(`The rule is not offered until you gave the same answer ${times} more times.`);
          },
          { name: `Do not offer it: ${name}` },
        ),
      ),
    );
  }

  return offers;
}
