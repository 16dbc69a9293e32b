// Rules of series (iCalendar's RRULE): in words, and as the fields of a form.

import { localOf, shifted, weekdayName, weekdayOf } from "./times.js";
import { count, day, listed, number } from "./words.js";

const DAYS = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];
/** @type {Record<string, string>} */
const PERIODS = { DAILY: "day", WEEKLY: "week", MONTHLY: "month", YEARLY: "year" };
const PLACES = ["first", "second", "third", "fourth", "fifth"];

/** @typedef {Record<string, string>} Parts of a rule by name */
/**
 * The first day of the series, and its zone.
 * @typedef {{ day: string, zone: string }} Begin
 */

/** @param {string} rule @returns {Parts} */
const partsOf = (rule) => Object.fromEntries(rule.split(";").map((part) => /** @type {[string, string]} */ (part.split("="))));

/** @param {string | undefined} text */
const several = (text) => (text ? text.split(",") : []);

/** "the second", "the last", "the third to last". @param {number} place */
function ordinal(place) {
  if (place === -1) return "last";
  if (place < 0) return `${PLACES[-place - 1] ?? `${number(-place)}th`} to last`;
  return PLACES[place - 1] ?? `${number(place)}th`;
}

/** "Sunday", "the second Sunday". @param {string} text such as 2SU */
function weekday(text) {
  const name = weekdayName(DAYS.indexOf(text.slice(-2)));
  const place = Number(text.slice(0, -2));
  return place ? `the ${ordinal(place)} ${name}` : name;
}

/** "day 15", "the last day". @param {string} text */
const monthDay = (text) => (Number(text) > 0 ? `day ${text}` : `the ${ordinal(Number(text))} day`);

/** @param {string} month 1 to 12 */
const monthOnly = (month) => new Intl.DateTimeFormat(undefined, { month: "long", timeZone: "UTC" }).format(new Date(Date.UTC(2023, Number(month) - 1, 1)));

/**
 * A rule in words: "every week on Sunday until Dec 31, 2026".
 * @param {string} rule
 * @param {Begin} begin
 */
export function repeats(rule, begin) {
  const parts = partsOf(rule);
  const period = PERIODS[parts.FREQ ?? ""] ?? "";
  const interval = Number(parts.INTERVAL ?? 1);
  return [interval === 1 ? `every ${period}` : `every ${count(interval, period)}`, daysOfRule(parts, begin)].filter(Boolean).join(" ") + ending(parts, begin);
}

/** @param {Parts} parts @param {Begin} begin */
function daysOfRule(parts, begin) {
  const weekdays = several(parts.BYDAY).map(weekday);
  const monthDays = several(parts.BYMONTHDAY).map(monthDay);
  const months = several(parts.BYMONTH).map(monthOnly);
  const places = several(parts.BYSETPOS).map((place) => ordinal(Number(place)));
  const within = months.length > 0 ? `in ${listed(months)}` : "";
  const date = Number(begin.day.slice(8));
  if (places.length > 0) {
    const among = [...weekdays, ...monthDays];
    return [`on the ${listed(places)} of these:`, among.length > 0 ? either(among) : `day ${date}`, within].filter(Boolean).join(" ");
  }
  if (weekdays.length > 0 && monthDays.length > 0) return [`on ${listed(weekdays)}, if it is ${either(monthDays)}`, within].filter(Boolean).join(" ");
  if (weekdays.length > 0) return [`on ${listed(weekdays)}`, within].filter(Boolean).join(" ");
  if (monthDays.length > 0) return [`on ${listed(monthDays)}`, within || (parts.FREQ === "YEARLY" ? "of each month" : "")].filter(Boolean).join(" ");
  if (parts.FREQ === "WEEKLY") return [`on ${weekdayName(weekdayOf(begin.day))}`, within].filter(Boolean).join(" ");
  if (parts.FREQ === "MONTHLY") return [`on day ${date}`, within].filter(Boolean).join(" ");
  if (parts.FREQ === "YEARLY") return `on ${months.length > 0 ? `day ${date} of ${listed(months)}` : `${monthOnly(begin.day.slice(5, 7))} ${date}`}`;
  return within;
}

/** @param {string[]} words */
const either = (words) => (words.length > 1 ? `${words.slice(0, -1).join(", ")} or ${words.at(-1)}` : String(words[0]));

/** @param {Parts} parts @param {Begin} begin */
function ending(parts, begin) {
  const until = lastDay(parts, begin);
  if (until) return ` until ${day(until)}`;
  return !parts.COUNT ? "" : parts.COUNT === "1" ? ", once" : `, ${count(Number(parts.COUNT), "time")}`;
}

/** The day of UNTIL, in the event's zone. @param {Parts} parts @param {Begin} begin */
function lastDay({ UNTIL: until }, { zone }) {
  if (!until) return "";
  const date = `${until.slice(0, 4)}-${until.slice(4, 6)}-${until.slice(6, 8)}`;
  return until.length === 8 ? date : localOf(`${date}T${until.slice(9, 11)}:${until.slice(11, 13)}:${until.slice(13, 15)}Z`, zone).slice(0, 10);
}

/**
 * The fields of the form. `weekdays` as numbers, 0 for Sunday; `last` is a day, `times` a number as text.
 * @typedef {{
 *   kind: "" | "day" | "week" | "month_day" | "month_weekday" | "month_last" | "year" | "rule",
 *   interval: string,
 *   weekdays: number[],
 *   ends: "last" | "times",
 *   last: string,
 *   times: string,
 *   rule: string,
 * }} Repeat
 */

/** The place of a day's weekday in its month: 2 for the second Sunday. @param {string} day */
const placeOf = (day) => Math.ceil(Number(day.slice(8)) / 7);

/** Whether no such weekday follows in the month. @param {string} day */
export const isLastOfMonth = (day) => shifted(day, 7).slice(0, 7) !== day.slice(0, 7);

/** @param {string} day */
const codeOf = (day) => String(DAYS[weekdayOf(day)]);

/**
 * A rule as fields. One that they cannot say is of kind `rule`, with its text.
 * @param {string | null} rule
 * @param {Begin} begin
 * @returns {Repeat}
 */
export function repeatOf(rule, begin) {
  /** @type {Repeat} */
  const repeat = { kind: "", interval: "1", weekdays: [], ends: "last", last: "", times: "", rule: rule ?? "" };
  if (!rule) return repeat;
  const { FREQ: frequency, INTERVAL: interval = "1", COUNT: times, UNTIL: until, BYDAY: days, ...others } = partsOf(rule);
  const ends = { interval, ends: /** @type {Repeat["ends"]} */ (times ? "times" : "last"), times: times ?? "", last: lastDay({ UNTIL: until ?? "" }, begin) };
  // The first day of the week tells nothing of a rule of every week.
  if (others.WKST && (frequency !== "WEEKLY" || interval === "1")) delete others.WKST;
  const plain = Object.keys(others).length === 0;
  /** @type {Repeat["kind"]} */
  let kind = "rule";
  if (plain && frequency === "DAILY" && !days) kind = "day";
  else if (plain && frequency === "WEEKLY") kind = "week";
  else if (plain && frequency === "MONTHLY" && !days) kind = "month_day";
  else if (plain && frequency === "MONTHLY" && days === `${placeOf(begin.day)}${codeOf(begin.day)}`) kind = "month_weekday";
  else if (plain && frequency === "MONTHLY" && days === `-1${codeOf(begin.day)}` && isLastOfMonth(begin.day)) kind = "month_last";
  else if (plain && frequency === "YEARLY" && !days) kind = "year";
  return { ...repeat, ...ends, kind, weekdays: kind === "week" ? several(days).map((one) => DAYS.indexOf(one)).sort() : [] };
}

/**
 * The rule that the fields say; null for none.
 * @param {Repeat} repeat
 * @param {Begin} begin
 */
export function ruleOf({ kind, interval, weekdays, ends, last, times, rule }, begin) {
  if (kind === "") return null;
  if (kind === "rule") return rule.trim();
  const frequency = { day: "DAILY", week: "WEEKLY", month_day: "MONTHLY", month_weekday: "MONTHLY", month_last: "MONTHLY", year: "YEARLY" }[kind];
  const days = {
    week: weekdays.map((one) => DAYS[one]).join(","),
    month_weekday: `${placeOf(begin.day)}${codeOf(begin.day)}`,
    month_last: `-1${codeOf(begin.day)}`,
    day: "",
    month_day: "",
    year: "",
  }[kind];
  return [
    `FREQ=${frequency}`,
    Number(interval) === 1 ? "" : `INTERVAL=${interval}`,
    ends === "times" ? `COUNT=${times}` : `UNTIL=${last.replaceAll("-", "")}`,
    days && `BYDAY=${days}`,
  ]
    .filter(Boolean)
    .join(";");
}

/**
 * The choices of the form, in words about the first day.
 * @param {string} first
 * @returns {[Repeat["kind"], string][]}
 */
export function choicesOf(first) {
  const weekday = weekdayName(weekdayOf(first));
  return [
    ["", "Does not repeat"],
    ["day", "Daily"],
    ["week", "Weekly"],
    ["month_day", `Monthly on day ${Number(first.slice(8))}`],
    ["month_weekday", `Monthly on the ${ordinal(placeOf(first))} ${weekday}`],
    ...(isLastOfMonth(first) ? [/** @type {[Repeat["kind"], string]} */ (["month_last", `Monthly on the last ${weekday}`])] : []),
    ["year", "Yearly"],
    ["rule", "By a rule of its own"],
  ];
}
