// Events in words, and from facts.

import { repeats } from "./recurrence.js";
import { daysOf, whenOf } from "./times.js";
import { count, sentenceCase, shown } from "./words.js";

/** @typedef {import("../types.d.ts").EventDetails} EventDetails */
/** @typedef {import("../types.d.ts").EventSummary} EventSummary */
/** @typedef {import("../types.d.ts").EventValues} EventValues */
/** @typedef {import("../types.d.ts").Occurrence} Occurrence */

/** The day that an event, or a series, begins with, and its zone. @param {EventValues} event @returns {import("./recurrence.js").Begin} */
export const beginOf = (event) => ({ day: daysOf(event, event.time_zone)[0], zone: event.time_zone });

/** Whether it has several occurrences: by a rule, or as Planning Center lists them. @param {EventSummary & { occurrences?: Occurrence[] }} event */
export const isSeries = ({ recurrence, listed, occurrences, occurrence_count }) => recurrence !== null || (listed && (occurrences?.length ?? occurrence_count) > 1);

/** "Every week on Sunday until Dec 31, 2026"; empty for a single event. @param {EventSummary} event */
export function repeatsOf(event) {
  if (event.recurrence) return sentenceCase(repeats(event.recurrence, beginOf(event)));
  return isSeries(event) ? "On the days that Planning Center lists" : "";
}

/** Whether Planning Center's values are taken over. @param {EventSummary} event */
export const isLinked = ({ link }) => link?.state === "linked";

/** What a change here is up against. */
export const OVERWRITTEN = "Title, dates, location and description come from Planning Center. What you change here is overwritten by the next check of linked events.";

/** When an event takes place, or from when to when a series does. @param {EventSummary} event */
export function extentOf(event) {
  if (!isSeries(event)) return whenOf(event, event.time_zone, true);
  const [first_day, last_day] = daysOf({ starts_at: event.first_starts_at, ends_at: event.last_ends_at, first_day: null, last_day: null }, event.time_zone);
  return `${whenOf({ ...event, first_day, last_day }, event.time_zone).replace(/, all day$/, "")}: ${count(event.occurrence_count, "occurrence")}`;
}

/**
 * The event of a fact, with the extent of its occurrences, but without its link, which facts do not tell.
 * @param {import("../live.js").Fact} fact
 * @returns {Omit<EventDetails, "created_at" | "link" | "listed"> | null} null if the fact is about no event's values
 */
export function eventOf({ type, body }) {
  if (type !== "EventChanged") return null;
  const held = body.event.occurrences.filter((/** @type {Occurrence} */ one) => !one.cancelled);
  /** @param {"starts_at" | "ends_at"} name */
  const sorted = (name) => held.map((/** @type {Occurrence} */ one) => one[name]).sort((/** @type {string} */ a, /** @type {string} */ b) => Date.parse(a) - Date.parse(b));
  return {
    ...body.event,
    first_starts_at: sorted("starts_at")[0] ?? body.event.starts_at,
    last_ends_at: sorted("ends_at").at(-1) ?? body.event.ends_at,
    occurrence_count: held.length,
    version: body.version,
  };
}

/** The start that the rule gives an occurrence, in words: "Sun, Apr 5, 2026, 9:00 AM". @param {string} key */
export function ruledStart(key) {
  const day = `${key.slice(0, 4)}-${key.slice(4, 6)}-${key.slice(6, 8)}`;
  if (key[8] !== "T") return whenOf({ starts_at: "", ends_at: "", first_day: day, last_day: day }, "UTC").replace(/, all day$/, "");
  const at = `${day}T${key.slice(9, 11)}:${key.slice(11, 13)}:${key.slice(13, 15)}Z`;
  return whenOf({ starts_at: at, ends_at: at, first_day: null, last_day: null }, "UTC");
}

/**
 * Values of an event's history in words.
 * @param {() => EventDetails | undefined} event
 * @returns {(value: unknown, field: string) => string}
 */
export const inWords = (event) => (value, field) => {
  const known = event();
  if (!known || !value) return field === "created" ? "" : shown(value);
  if (field === "created") return "Yes";
  if (field === "starts_at" || field === "ends_at") return instant(String(value), known.time_zone);
  if (field === "recurrence") return sentenceCase(repeats(String(value), beginOf(known)));
  if (field === "linked_to") return String(/** @type {{ title: string }} */ (value).title);
  if (field === "occurrence") return ownValues(/** @type {OwnValues} */ (value), known.time_zone);
  return shown(value);
};

/** @param {string} at @param {string} zone */
const instant = (at, zone) => whenOf({ starts_at: at, ends_at: at, first_day: null, last_day: null }, zone, true);

/** @typedef {{ key: string, cancelled?: boolean, starts_at?: string, ends_at?: string, first_day?: string, last_day?: string, title?: string, location?: string }} OwnValues */

/** @param {OwnValues} own @param {string} zone */
function ownValues(own, zone) {
  const moved = own.starts_at || own.first_day ? whenOf({ starts_at: own.starts_at ?? "", ends_at: own.ends_at ?? "", first_day: own.first_day ?? null, last_day: own.last_day ?? null }, zone) : "";
  const what = [own.cancelled && "taken out", moved && `moved to ${moved}`, own.title && `titled ${own.title}`, own.location && `at ${own.location}`];
  return `${ruledStart(own.key)}: ${what.filter(Boolean).join("; ")}`;
}

/** Whether an occurrence, or an event, is over. @param {{ ends_at: string }} one */
export const isOver = ({ ends_at }) => Date.parse(ends_at) <= Date.now();

/** Upcoming occurrences in their order, then past ones, newest first. @param {Occurrence[]} occurrences */
export function inOrder(occurrences) {
  const sorted = [...occurrences].sort((a, b) => Date.parse(a.starts_at) - Date.parse(b.starts_at));
  return [...sorted.filter((one) => !isOver(one)), ...sorted.filter(isOver).reverse()];
}
