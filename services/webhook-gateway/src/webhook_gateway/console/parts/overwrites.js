// What a link would overwrite here, old and new side by side.

import { changed } from "./compare.js";
import { h } from "./dom.js";
import { inWords, isSeries } from "./event.js";
import { whenOf } from "./times.js";
import { count, fieldName, listed } from "./words.js";

/** @typedef {import("../types.d.ts").Comparison} Comparison */
/** @typedef {import("../types.d.ts").EventDetails} EventDetails */
/** @typedef {import("../types.d.ts").Occurrence} Occurrence */

/** Fields that are the dates of an event. */
const DATES = ["starts_at", "ends_at", "first_day", "last_day", "time_zone", "recurrence"];

/** @param {Comparison} found */
const datesOf = ({ added, moved, taken_out }) => added + moved + taken_out;

/** Whether a single event becomes one at another time: its fields say it all. @param {Comparison} found */
const isOne = ({ added, moved, taken_out, fields }) => added + taken_out === 0 && moved === 1 && fields.some(({ field }) => field === "starts_at" || field === "first_day");

/** What is overwritten, for the button: "title, where and 12 dates"; empty if nothing is. @param {Comparison} found */
export function named(found) {
  const fields = found.fields.filter(({ field }) => !DATES.includes(field)).map(({ field }) => fieldName(field).toLowerCase());
  const dates = datesOf(found);
  if (dates > 0 && !isOne(found)) fields.push(count(dates, "date"));
  else if (found.fields.some(({ field }) => DATES.includes(field))) fields.push("dates");
  return listed(fields);
}

/**
 * @param {EventDetails} event
 * @param {Comparison} found
 */
export function overwrites(event, found) {
  const words = inWords(() => event);
  const zone = String(found.fields.find(({ field }) => field === "time_zone")?.there ?? event.time_zone);
  const there = inWords(() => ({ ...event, time_zone: zone }));
  /** @param {string} field @param {unknown} value */
  const single = (field, value) =>
    field !== "recurrence" || value ? "" : found.pco_event_instance_id ? "Does not repeat" : isSeries(event) || found.added > 0 ? "On the days that Planning Center lists" : "";
  if (found.fields.length === 0 && datesOf(found) === 0) return h("p", { key: "same" }, "Title, dates, location and description are the same on both sides: nothing is overwritten.");
  return [
    found.fields.length > 0
      ? h(
          "table",
          { key: "fields", class: "table fold" },
          h("caption", { class: "hidden-visually" }, "What is overwritten"),
          h("thead", {}, h("tr", {}, ...["Field", "Here, overwritten", "Planning Center"].map((name) => h("th", { scope: "col" }, name)))),
          h(
            "tbody",
            {},
            ...found.fields.map(({ field, here, there: after }) =>
              h(
                "tr",
                { key: field },
                h("th", { scope: "row" }, fieldName(field)),
                h("td", { "data-label": "Here", class: "lines" }, words(here, field) || h("span", { class: "quiet" }, "empty")),
                h("td", { "data-label": "Planning Center", class: "lines" }, single(field, after) || changed(words(here, field), there(after, field))),
              ),
            ),
          ),
        )
      : null,
    datesOf(found) > 0 && !isOne(found) ? h("h2", { key: "of-dates" }, `Dates: ${listed([found.added && `${found.added} added`, found.moved && `${found.moved} moved`, found.taken_out && `${found.taken_out} taken out`].filter((text) => typeof text === "string"))}`) : null,
    datesOf(found) > 0 && !isOne(found)
      ? h(
          "table",
          { key: "dates", class: "table fold" },
          h("caption", { class: "hidden-visually" }, "Dates that are overwritten"),
          h("thead", {}, h("tr", {}, ...["What", "Here, overwritten", "Planning Center"].map((name) => h("th", { scope: "col" }, name)))),
          h("tbody", {}, ...found.occurrences.map((one) => row(one, event.time_zone, zone)), ...rest(found)),
        )
      : null,
  ];
}

/** @param {import("../types.d.ts").ComparedOccurrence} one @param {string} here @param {string} there */
function row({ here: before, there: after }, here, there) {
  const what = before ? (after ? "Moved" : "Taken out") : "Added";
  const key = `${what} ${before?.key ?? after?.key}`;
  return h(
    "tr",
    { key },
    h("th", { scope: "row" }, what),
    h("td", { "data-label": "Here" }, before ? (after ? whenOf(before, here, true) : h("del", {}, whenOf(before, here, true))) : h("span", { class: "quiet" }, "not here")),
    h("td", { "data-label": "Planning Center" }, after ? h("ins", {}, whenOf(after, there, true)) : h("span", { class: "quiet" }, "not there")),
  );
}

/** Lines about dates beyond the first ten of each kind. @param {Comparison} found */
function rest({ added, moved, taken_out, occurrences }) {
  /** @type {[string, number, number][]} */
  const kinds = [
    ["added", added, occurrences.filter(({ here }) => !here).length],
    ["moved", moved, occurrences.filter(({ here, there }) => here && there).length],
    ["taken out", taken_out, occurrences.filter(({ there }) => !there).length],
  ];
  return kinds.filter(([, all, shown]) => all > shown).map(([word, all, shown]) => h("tr", { key: word }, h("th", { scope: "row", colspan: 3 }, `${all - shown} more ${word}`)));
}
