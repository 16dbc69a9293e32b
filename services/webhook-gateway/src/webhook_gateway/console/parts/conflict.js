// Whether a record is in conflict, on its own page.

import { get } from "../api.js";
import { h } from "./dom.js";
import { status } from "./look.js";
import { part } from "./part.js";

/** @typedef {import("../types.d.ts").Conflict} Conflict */

/** @param {import("../app.js").Context} context of the record's page */
export const conflictOf = ({ id, signal }) =>
  part({
    signal,
    class: "row",
    skeleton: () => null,
    follows: ["/conflicts"],
    load: async () => {
      /** @type {import("../types.d.ts").Page<Conflict>} */
      const page = await get("/conflicts", { record_id: id, limit: 1 }, signal);
      return page.items[0] ?? null;
    },
    onFact: (fact, /** @type {Conflict | null} */ value) => (fact.body.record.id === id ? undefined : value),
    render: (/** @type {Conflict | null} */ found) =>
      found
        ? [
            status("bad", "In conflict", { pill: true, icon: "split" }),
            h("a", { href: `/conflicts?open=${encodeURIComponent(found.id)}` }, "View the conflict"),
          ]
        : null,
  });
