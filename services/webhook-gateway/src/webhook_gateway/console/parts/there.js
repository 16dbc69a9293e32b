// The link to a record's page in Planning Center.

import { h } from "./dom.js";

/**
 * @param {import("../app.js").Context} context
 * @param {"member" | "family"} kind
 * @param {string | null | undefined} pco_id
 * @param {string} name of the record
 */
export const openThere = ({ planningCenter }, kind, pco_id, name) =>
  pco_id ? openAt(`${planningCenter}/${kind === "family" ? "households/" : "people/AC"}${encodeURIComponent(pco_id)}`, name) : null;

/**
 * @param {string} address in Planning Center
 * @param {string} name of the record
 * @param {string} [words]
 */
export const openAt = (address, name, words = "Open in Planning Center") =>
  h("a", { key: "there", href: address, target: "_blank", rel: "noreferrer" }, words, h("span", { class: "hidden-visually" }, `: ${name}, in a new tab`));
