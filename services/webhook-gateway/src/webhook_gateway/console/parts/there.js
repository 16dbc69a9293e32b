// The link to a record's page in Planning Center.

import { h } from "./dom.js";

/**
 * @param {import("../app.js").Context} context
 * @param {"member" | "family"} kind
 * @param {string | null | undefined} pco_id
 * @param {string} name of the record
 */
export const openThere = ({ planningCenter }, kind, pco_id, name) =>
  pco_id
    ? h(
        "a",
        { key: "there", href: `${planningCenter}/${kind === "family" ? "households/" : "people/AC"}${encodeURIComponent(pco_id)}`, target: "_blank", rel: "noreferrer" },
        "Open in Planning Center",
        h("span", { class: "hidden-visually" }, `: ${name}, in a new tab`),
      )
    : null;
