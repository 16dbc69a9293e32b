// Why a record differs between the sides, in one sentence on its page.

import { get } from "../api.js";
import { h } from "./dom.js";
import { status, when } from "./look.js";
import { part } from "./part.js";
import { outcomeName } from "./words.js";

/** @typedef {import("../types.d.ts").WhyDifferent} WhyDifferent */

/**
 * @param {import("../app.js").Context} context of the record's page
 * @param {string} path of the record
 * @param {string} records API path that its facts affect
 */
export const whyDifferent = ({ signal }, path, records) =>
  part({
    signal,
    skeleton: () => null,
    follows: [records, "/conflicts", "/people/runs"],
    load: () => get(`${path}/why-different`, undefined, signal),
    // Progress facts come every second; only the end of a run changes the answer.
    onFact: (fact, /** @type {WhyDifferent} */ value) => (fact.type === "SyncRunProgressed" ? value : undefined),
    render: (/** @type {WhyDifferent} */ { reason, sentence, as_of }) => [
      // A record kept out of the sync may still be equal on both sides.
      h("h2", { id: "why" }, reason && reason !== "kept_out" ? "Why different?" : "Both sides"),
      h(
        "p",
        { class: "row", "aria-labelledby": "why" },
        reason ? status(reason === "unexplained" || reason === "refused" ? "bad" : "calm", outcomeName(reason), { pill: true }) : null,
        h("span", {}, sentence, as_of ? h("span", { class: "quiet small" }, " As read ", when(as_of), ".") : null),
      ),
    ],
  });
