// Words and pieces of the log of messages from Planning Center. Activity may be exact: event names stand as they are.

import { at } from "../api.js";
import { h } from "./dom.js";
import { status } from "./look.js";
import { openThere } from "./there.js";
import { sentenceCase } from "./words.js";

/** @typedef {import("../types.d.ts").Delivery} Delivery */
/** @typedef {import("../types.d.ts").DeliveryState} State */

/** @type {Record<State, [tone: import("./look.js").Tone, word: string, icon?: string]>} */
const STATES = {
  waiting: ["busy", "Waiting", "clock"],
  applied: ["good", "Applied"],
  failed: ["bad", "Failed", "alert"],
  archived: ["calm", "Archived"],
};

/** @param {State} state @param {boolean} [pill] */
export function deliveryStatus(state, pill = false) {
  const [tone, word, image] = STATES[state] ?? ["calm", state];
  return status(tone, word, { pill, icon: image });
}

/** @type {Record<string, string>} */
const OUTCOMES = {
  changed: "Changed here",
  unchanged: "Nothing to change",
  conflict: "In conflict",
  held: "Held match",
  later: "To be read later",
  ignored: "Not needed",
  failed: "Failed",
  unreadable: "Not readable",
};

/** @param {string | null} outcome */
export const deliveryOutcome = (outcome) => (outcome === null ? "" : (OUTCOMES[outcome] ?? sentenceCase(outcome.replace(/[_-]+/g, " "))));

/** @type {[value: string, text: string][]} */
export const KINDS = [
  ["", "Everything"],
  ["Person", "People"],
  ["Email", "Emails"],
  ["PhoneNumber", "Phones"],
  ["Address", "Addresses"],
  ["Household", "Families"],
  ["PersonMerger", "Merges"],
  ["EventRequest", "Event requests"],
];

/** @type {[value: string, text: string][]} */
export const OUTCOME_CHIPS = [["", "Any outcome"], ...["changed", "unchanged", "conflict", "held", "later", "ignored"].map((name) => /** @type {[string, string]} */ ([name, deliveryOutcome(name)]))];

/** @type {[value: string, text: string][]} */
export const STATE_CHIPS = [["", "All"], ...Object.entries(STATES).map(([value, [, word]]) => /** @type {[string, string]} */ ([value, word]))];

/** @type {Record<string, [path: string, word: string]>} */
const RECORDS = { member: ["/people", "person"], family: ["/families", "family"], event: ["/events", "event"] };

/** The link to the record that a delivery touched. @param {Delivery} delivery */
export function recordLink({ record_kind, record_id }) {
  const known = record_kind && RECORDS[record_kind];
  return known && record_id ? h("a", { href: `${known[0]}${at`/${record_id}`}` }, `See the ${known[1]}`) : null;
}

/** What a delivery is about: "Person 5001". @param {Pick<Delivery, "resource_type" | "resource_id">} delivery */
export const aboutOf = ({ resource_type, resource_id }) => (resource_type ? `${resource_type} ${resource_id ?? ""}`.trim() : "");

/** The link to the resource's page in Planning Center, where there is one. @param {import("../app.js").Context} context @param {Delivery} delivery */
export function thereOf(context, { resource_type, resource_id, person_id }) {
  if (resource_type === "Household") return openThere(context, "family", resource_id, aboutOf({ resource_type, resource_id }));
  const person = resource_type === "Person" ? resource_id : person_id;
  return person ? openThere(context, "member", person, `Person ${person}`) : null;
}

/** The name of a delivery; of one that cannot be read a sentence. @param {{ name: string }} delivery */
export const nameOf = ({ name }) => name || "A message that cannot be read";

/** The address of a delivery's page. @param {number} number */
export const addressOf = (number) => at`/activity/deliveries/${String(number)}`;

/** An exact name that may go on in the next line behind its dots. @param {string} name */
export const parted = (name) => name.split(".").flatMap((part, position) => (position === 0 ? [part] : [".", h("wbr"), part]));
