// The differences that an administrator keeps, on the record's page.

import { get, remove } from "../api.js";
import { announce, h } from "./dom.js";
import { action, when } from "./look.js";
import { part } from "./part.js";
import { fieldName, shown } from "./words.js";

/** @typedef {import("../types.d.ts").Differences} Differences */

/**
 * @param {import("../app.js").Context} context of the record's page
 * @param {string} path of the record
 * @param {(field: string, value: unknown) => string} [text] of a value
 */
export function differencesOf({ signal, admin }, path, text = (_, value) => shown(value)) {
  /** @type {import("./part.js").Part<Differences>} */
  const differences = part({
    signal,
    skeleton: () => null,
    follows: ["/conflicts"],
    load: () => get(`${path}/differences`, undefined, signal),
    render: ({ items }) =>
      items.length === 0
        ? null
        : [
            h("h2", { id: "kept-different" }, "Kept different"),
            h("p", { class: "quiet" }, "These fields stay different here and in Planning Center until one of the two changes."),
            h("ul", { class: "plain-list", "aria-labelledby": "kept-different" }, ...items.map(item)),
          ],
  });

  /** @param {Differences["items"][number]} kept */
  function item({ field, ours, theirs, decided_by_name, decided_at }) {
    const name = fieldName(field);
    return h(
      "li",
      { key: field, class: "row spread" },
      h(
        "span",
        {},
        h("strong", {}, name),
        `: here ${text(field, ours) || "empty"}, in Planning Center ${text(field, theirs) || "empty"} `,
        h("span", { class: "quiet small" }, `decided by ${decided_by_name ?? "somebody"}, `, when(decided_at)),
      ),
      admin
        ? action(
            "Decide again",
            async () => {
              differences.show(await remove(`${path}/differences/${encodeURIComponent(field)}`));
              announce(`${name} is no longer kept different. It is a conflict in a moment.`);
            },
            { name: `Decide again about ${name.toLowerCase()}` },
          )
        : null,
    );
  }

  return differences;
}
