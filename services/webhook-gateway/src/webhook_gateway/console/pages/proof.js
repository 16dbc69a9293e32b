// Proof of sync: the last comparison of all records, and the trend over the last nights.

import { at, get, post } from "../api.js";
import { h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { bars } from "../parts/bars.js";
import { action, heading, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { count, exact, number, outcomeName } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Statement} Statement */

const SHOWN = 30;

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, signal, admin } = context;
  const statements = part({
    signal,
    follows: ["/people/runs"],
    load: () => get("/people/statements", { limit: SHOWN }, signal),
    onFact: (fact, /** @type {import("../types.d.ts").Page<Statement>} */ value) =>
      fact.type === "SyncRunFinished" && fact.body.run.purpose === "proof" ? undefined : value,
    render: (/** @type {import("../types.d.ts").Page<Statement>} */ { items }) =>
      items.length === 0
        ? [
            h("h2", {}, "No comparison yet"),
            h("p", {}, "Once synced, everybody is compared on both sides every night, and nothing is written. The results appear here."),
          ]
        : [newest(/** @type {Statement} */ (items[0])), items.length > 1 ? over(items) : null, h("div", { key: "file", class: "row" }, downloads("/people/statements.csv", {}, "The results"))],
  });
  main.append(
    heading(
      "Proof of sync",
      h("a", { href: "/integrations" }, "Integrations"),
      admin
        ? action("Compare now", async () => {
            const run = await post("/people/statements");
            context.go(at`/runs/${run.id}`);
          })
        : null,
    ),
    h("p", { class: "quiet" }, "A comparison reads everybody in Planning Center and writes nothing. It says how many records are the same on both sides, and why the others are not."),
    statements.element,
  );
}

/** @param {Statement} statement */
function newest({ run_id, at: time, sentence, families, families_identical, apart, kept_out }) {
  const reasons = Object.entries({ ...apart, ...(kept_out ? { kept_out } : {}) });
  return h(
    "section",
    { key: "newest", class: "card", "aria-labelledby": "newest" },
    h("h2", { id: "newest" }, sentence),
    h("p", {}, `${number(families_identical)} of ${count(families, "family", "families")} identical. `, h("span", { class: "quiet" }, "Compared ", when(time), ".")),
    reasons.length > 0
      ? h(
          "ul",
          { class: "plain-list", "aria-label": "Those that differ" },
          ...reasons.map(([reason, amount]) =>
            h("li", { key: reason }, h("a", { href: at`/runs/${run_id}?outcome=${reason}` }, `${outcomeName(reason)}: ${count(amount, "record")}`)),
          ),
        )
      : null,
  );
}

/** @param {Statement[]} items newest first */
function over(items) {
  const inOrder = [...items].reverse();
  const differing = inOrder.map(({ people, people_identical }) => people - people_identical);
  const changed = inOrder.map((one) => one.changed);
  return h(
    "section",
    { key: "over", class: "stack", "aria-labelledby": "over" },
    h("h2", { id: "over" }, `The last ${count(items.length, "comparison")}`),
    h("div", { class: "charts" }, bars("People who differed", differing, SHOWN), bars("Records that syncs changed since the previous comparison", changed, SHOWN)),
    h(
      "details",
      { key: "table" },
      h("summary", {}, "The same numbers as a table"),
      h(
        "table",
        { class: "table fold" },
        h("caption", { class: "hidden-visually" }, "The last comparisons, newest first"),
        h("thead", {}, h("tr", {}, ...COLUMNS.map((name) => h("th", { scope: "col" }, name)))),
        h(
          "tbody",
          {},
          ...items.map((one) =>
            h(
              "tr",
              { key: one.run_id },
              h("th", { scope: "row" }, h("a", { href: at`/runs/${one.run_id}` }, exact(one.at))),
              ...[one.people_identical, one.people, one.people - one.people_identical, one.changed].map((value, position) =>
                h("td", { "data-label": COLUMNS[position + 1] }, number(value)),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

const COLUMNS = ["Compared", "People identical", "People", "People who differed", "Changed by syncs since the previous comparison"];
