// The notice of a conflict on the record's page.

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
      const open = await get("/conflicts", { record_id: id, limit: 1 }, signal);
      if (open.items[0]) return open.items[0];
      /** @type {import("../types.d.ts").Page<Conflict>} */
      const decided = await get("/conflicts", { record_id: id, state: "resolving", limit: 1 }, signal);
      return decided.items[0] ?? null;
    },
    onFact: (fact, /** @type {Conflict | null} */ value) => (fact.body.record.id === id ? undefined : value),
    render: (/** @type {Conflict | null} */ found) =>
      found
        ? [
            found.state === "open" ? status("bad", "In conflict", { pill: true, icon: "split" }) : status("busy", "Decision being applied", { pill: true }),
            h("a", { href: `/conflicts?open=${encodeURIComponent(found.id)}` }, "View the conflict"),
          ]
        : null,
  });
