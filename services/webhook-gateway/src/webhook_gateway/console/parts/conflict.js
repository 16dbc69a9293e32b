// Whether a record is in conflict, on its own page.

import { get } from "../api.js";
import { h } from "./dom.js";
import { status } from "./look.js";
import { part } from "./part.js";

/** @typedef {import("../types.d.ts").Conflict} Conflict */

const MOST = 200;

/**
 * @param {import("../app.js").Context} context
 * @param {"member" | "family"} kind
 * @param {() => Promise<string | undefined>} family whose conflicts this one is among
 */
export const conflictOf = ({ id, signal }, kind, family) =>
  part({
    signal,
    class: "row",
    skeleton: () => null,
    follows: ["/conflicts"],
    // The list has no filter by record: of somebody in no family the newest are looked through.
    load: async () => {
      /** @type {import("../types.d.ts").Page<Conflict>} */
      const page = await get("/conflicts", { family_id: await family(), limit: MOST }, signal);
      return page.items.find(({ record }) => record.kind === kind && record.id === id) ?? null;
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
