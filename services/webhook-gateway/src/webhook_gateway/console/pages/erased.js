// Erased people: a receipt for each, without a name.

import { get } from "../api.js";
import { h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { receiptOf } from "../parts/erase.js";
import { action, heading } from "../parts/look.js";
import { part } from "../parts/part.js";
import { count } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Page<import("../types.d.ts").Erasure>} Receipts */

const STEP = 20;
const MOST = 200;

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, query, signal, admin } = context;
  const title = heading("Erased people", h("a", { href: "/people" }, "All people"));
  if (!admin) {
    main.append(title, h("p", {}, "Only administrators see receipts of people who were erased."));
    return;
  }
  /** Id of the receipt that the address asks for. */
  const asked = query.get("at");
  let came = asked === null;
  let most = STEP;
  /** @type {import("../parts/part.js").Part<Receipts>} */
  const receipts = part({
    signal,
    follows: ["/people/members"],
    load: () => get("/people/erasures", { limit: most }, signal),
    render: (/** @type {Receipts} */ page) => {
      if (!came) requestAnimationFrame(() => document.getElementById(`erasure-${asked}`)?.focus());
      came = true;
      // Polled: other services complete a receipt within seconds, and no fact announces it.
      if (page.items.some(({ complete }) => !complete)) setTimeout(() => !signal.aborted && void receipts.reload(), 2000);
      return page.items.length === 0
        ? h(
            "div",
            { class: "card empty" },
            h("h2", {}, "Nobody was erased"),
            h("p", {}, "A person is erased on their own page, at their request or a parent's. The receipt is listed here."),
          )
        : [
            h(
              "div",
              { class: "row spread" },
              h("p", { class: "quiet" }, `${count(page.total ?? page.items.length, "receipt")}, newest first. Receipts stay, and name nobody.`),
              downloads("/people/erasures.csv"),
            ),
            ...page.items.map((one) =>
              receiptOf(context, one, (after) => {
                receipts.show({ ...page, items: page.items.map((each) => (each.id === after.id ? after : each)) });
                document.getElementById(`erasure-${after.id}`)?.focus();
              }),
            ),
            page.next && most < MOST
              ? action("Load more receipts", async () => {
                  const shown = page.items.length;
                  most = Math.min(most + STEP, MOST);
                  await receipts.reload();
                  const fresh = receipts.value()?.items[shown];
                  if (fresh) document.getElementById(`erasure-${fresh.id}`)?.focus();
                })
              : null,
          ];
    },
  });
  main.append(title, receipts.element);
}
