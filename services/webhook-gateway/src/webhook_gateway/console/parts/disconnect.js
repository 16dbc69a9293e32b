// Disconnecting: confirmation of its effects, receipt, and the switch to another organization.

import { at, get, post } from "../api.js";
import { h } from "./dom.js";
import { ask, confirm, field, notice, run as work, status, when } from "./look.js";
import { part } from "./part.js";
import { PRODUCTS, count, number } from "./words.js";

/** @typedef {import("../types.d.ts").ConnectionCard} ConnectionCard */
/** @typedef {import("../types.d.ts").Connections} Connections */
/** @typedef {import("../types.d.ts").DisconnectReceipt} DisconnectReceipt */
/** @typedef {import("../types.d.ts").PeopleStatus} PeopleStatus */
/** @typedef {import("../types.d.ts").Product} Product */
/** @typedef {import("../app.js").Context} Context */

/**
 * @param {Context} context
 * @param {ConnectionCard} card
 * @param {Connections} connections
 * @param {PeopleStatus | undefined} known
 * @param {() => Promise<void>} reload
 */
export async function disconnect(context, card, connections, known, reload) {
  const { product } = card;
  const name = PRODUCTS[product];
  const other = connections[product === "people" ? "calendar" : "people"];
  const stays =
    product === "people"
      ? [
          known
            ? `${count(known.members, "member")} and ${count(known.families, "family", "families")} here`
            : "All members and families here",
          "Every person and household in Planning Center",
          "The links between them, for when you connect again",
          "The history of all changes, and open conflicts",
        ]
      : ["All events here", "All events in Planning Center", "The links between them, for when you connect again"];
  if (other.state === "connected") stays.push(`${PRODUCTS[other.product]}: it stays connected`);
  const stops = [
    product === "people" ? "Syncing members and families, in both directions" : "Reading events",
    "A sync in progress; it stops safely",
    card.shares_grant
      ? `Our use of ${name}. The permission itself ends when ${PRODUCTS[other.product]} is disconnected too`
      : `Our access to ${name}, taken back at Planning Center`,
  ];
  const done = await confirm({
    title: `Disconnect ${name}?`,
    text: h(
      "div",
      { class: "two" },
      h("section", { class: "stack tight" }, h("h3", {}, "What stops"), h("ul", { class: "bullets" }, ...stops.map((text) => h("li", {}, text)))),
      h("section", { class: "stack tight" }, h("h3", {}, "What stays"), h("ul", { class: "bullets" }, ...stays.map((text) => h("li", {}, text)))),
    ),
    verb: `Disconnect ${name}`,
    work: () => post(at`/connections/${product}/disconnect`),
  });
  if (!done) return;
  void reload();
  await showReceipt(context, product);
  await reload();
}

const OUTCOMES = /** @type {const} */ ({
  done: ["good", "Done"],
  not_needed: ["calm", "Not needed"],
  pending: ["busy", "In progress"],
  failed: ["bad", "Not possible"],
  shared: ["warn", "Shared"],
});

/**
 * A sentence with its addresses as links.
 * @param {string} sentence
 */
const linked = (sentence) =>
  sentence
    .split(/(https:[/]{2}[^\s,]+[^\s,.])/)
    .map((part, position) => (position % 2 ? h("a", { href: part, target: "_blank", rel: "noreferrer" }, part) : part));

/**
 * The receipt of a disconnect, live until it is complete.
 * @param {Context} context
 * @param {Product} product
 */
export async function showReceipt(context, product) {
  const closing = new AbortController();
  context.signal.addEventListener("abort", () => closing.abort());
  const shown = part({
    signal: closing.signal,
    load: async () => {
      /** @type {DisconnectReceipt} */
      const receipt = await get(at`/connections/${product}/receipt`, undefined, closing.signal);
      /** @type {PeopleStatus | null} */
      const stays = product === "people" && receipt.finished_at ? await get("/people/status", undefined, closing.signal).catch(() => null) : null;
      return { receipt, stays };
    },
    follows: ["/connections"],
    render: ({ receipt, stays }) => {
      if (receipt.finished_at) clearInterval(timer);
      return [
        h(
          "p",
          {},
          receipt.finished_at
            ? ["Disconnected from ", h("strong", {}, receipt.pco_organization_name), " ", when(receipt.finished_at), "."]
            : ["Disconnecting from ", h("strong", {}, receipt.pco_organization_name), ". This can take a minute."],
        ),
        h(
          "ul",
          { class: "plain-list" },
          ...receipt.lines.map((line) => {
            const [tone, word] = OUTCOMES[line.outcome] ?? ["calm", line.outcome];
            return h("li", { key: line.step, class: "receipt" }, status(tone, word), h("span", {}, linked(line.sentence)));
          }),
        ),
        product === "people" && receipt.finished_at && !stays
          ? h("p", {}, "How many members and families stay can't be read right now. The card shows it as soon as it can be.")
          : null,
        stays
          ? h(
              "p",
              {},
              `Still here: ${count(stays.members, "member")}, ${number(stays.linked_members)} of them linked, and `,
              `${count(stays.families, "family", "families")}, `,
              `${number(stays.linked_families)} of them linked.`,
            )
          : null,
        receipt.finished_at
          ? h("p", { class: "quiet" }, "In Planning Center, your people and households are where they were. Nothing there was removed.")
          : null,
      ];
    },
  });
  const timer = setInterval(shown.reload, 1500);
  await ask(`Receipt: ${PRODUCTS[product]}`, (dialog) => [
    shown.element,
    h("div", { class: "dialog-actions" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close")),
  ]);
  clearInterval(timer);
  closing.abort();
}

/**
 * @param {string} former
 * @param {HTMLElement} said
 * @param {() => Promise<void>} reload
 */
export async function forget(former, said, reload) {
  const answer = await ask("Connect another organization?", (dialog) =>
    h(
      "form",
      {
        class: "stack",
        onsubmit: (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          const form = /** @type {HTMLFormElement} */ (event.currentTarget);
          void work(form, async () => {
            await post("/connections/forget-organization", { confirmation: String(new FormData(form).get("confirmation")) });
            dialog.close("done");
          });
        },
      },
      h("p", {}, `Until now this church belonged to ${former} in Planning Center. Another organization gets links of its own.`),
      h("p", {}, "Members and families here stay. Their links to the former organization are no longer used."),
      field("Name of the former organization", "confirmation", { required: true, hint: `Type ${former} to confirm.` }),
      h(
        "div",
        { class: "dialog-actions" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { class: "dangerous" }, "Allow another organization"),
      ),
    ),
  );
  if (answer !== "done") return;
  // A refusal that sent the administrator here is answered by now.
  for (const earlier of said.querySelectorAll(".notice")) earlier.remove();
  said.prepend(notice("good", h("p", {}, "Another Planning Center organization can be connected now.")));
  await reload();
  /** @type {HTMLElement | null} */ (document.querySelector("main h1"))?.focus();
}
