// The fields of an event, and of one occurrence of it.

import { beginOf } from "./event.js";
import { h, update } from "./dom.js";
import { field, showValidity } from "./look.js";
import { differing, WRITTEN } from "./member.js";
import { choicesOf, repeatOf, ruleOf } from "./recurrence.js";
import { clockTime, instantOf, isZone, localOf, weekdayName, weekdayOf } from "./times.js";

/** @typedef {import("../types.d.ts").EventDetails} EventDetails */
/** @typedef {import("../types.d.ts").Occurrence} Occurrence */
/** @typedef {import("./times.js").Span} Span */
/** @typedef {import("./recurrence.js").Repeat} Repeat */

const MOST_OF_TITLE = 255;
const MOST_OF_LOCATION = 500;
const MOST_OF_DESCRIPTION = 10_000;
const ZONE = "The name of a city's zone, such as America/New_York.";
const HOUR = 3_600_000;

/** @type {Record<string, string>} */
const PERIODS = { day: "days", week: "weeks", month_day: "months", month_weekday: "months", month_last: "months", year: "years" };

/**
 * Fields of times, or of days. The end follows the start.
 * @param {Span | null} span
 * @param {boolean} allDay
 * @param {() => string} zone
 * @param {string} [day] a first day that is offered
 */
function spanFields(span, allDay, zone, day) {
  const at = span && !span.first_day ? span : null;
  const timed = h(
    "fieldset",
    { class: "fields", hidden: allDay, disabled: allDay },
    field("Starts", "starts_at", { type: "datetime-local", required: true, max: "9999-12-31T23:59", value: at ? localOf(at.starts_at, zone()) : day && `${day}T09:00` }),
    field("Ends", "ends_at", { type: "datetime-local", required: true, max: "9999-12-31T23:59", value: at ? localOf(at.ends_at, zone()) : day && `${day}T10:00` }),
  );
  const days = h(
    "fieldset",
    { class: "fields", hidden: !allDay, disabled: !allDay },
    field("First day", "first_day", { type: "date", required: true, max: "9999-12-31", value: span?.first_day ?? day }),
    field("Last day", "last_day", { type: "date", required: true, max: "9999-12-31", value: span?.last_day ?? day }),
  );
  follows(timed, (value) => Date.parse(`${value}Z`), (time) => new Date(time).toISOString().slice(0, 16), HOUR);
  follows(days, Date.parse, (time) => new Date(time).toISOString().slice(0, 10), 0);
  const clocks = () => {
    for (const input of timed.querySelectorAll("input")) {
      if (input.value && isZone(zone())) showValidity(input, clockHint(input.value, zone()));
    }
  };
  timed.addEventListener("input", clocks);
  return { timed, days, clocks };
}

/** @param {string} local @param {string} zone */
function clockHint(local, zone) {
  const { at, clocks } = instantOf(local, zone);
  if (clocks === "skip") return `Clocks skip this time on that day: it becomes ${clockTime(at, zone)}.`;
  return clocks === "twice" ? "Clocks show this time twice on that day: the first one is meant." : "";
}

/**
 * Move the end with the start, as long as the event was before.
 * @param {HTMLElement} fields
 * @param {(value: string) => number} read milliseconds
 * @param {(time: number) => string} write
 * @param {number} usual milliseconds of an event whose end is not chosen yet
 */
function follows(fields, read, write, usual) {
  const [start, end] = /** @type {[HTMLInputElement, HTMLInputElement]} */ ([...fields.querySelectorAll("input")]);
  let length = Math.max(0, read(end.value) - read(start.value)) || usual;
  end.addEventListener("input", () => {
    if (start.value && end.value) length = Math.max(0, read(end.value) - read(start.value));
  });
  start.addEventListener("input", () => {
    const time = read(start.value) + length;
    if (!Number.isNaN(time) && Math.abs(time) < 8e15) end.value = write(time);
  });
}

/** @param {HTMLFieldSetElement} part @param {boolean} off */
function turn(part, off) {
  part.hidden = off;
  part.disabled = off;
}

/**
 * The form of an event.
 * @param {EventDetails | null} event null for a new one
 * @param {string} usual the zone of a new one
 * @param {string} [day] the first day that is offered for a new one
 */
export function eventFields(event, usual, day) {
  const list = h("datalist", { id: "zones" }, ...Intl.supportedValuesOf("timeZone").map((name) => h("option", { value: name })));
  const zoneField = field("Time zone", "time_zone", { value: event?.time_zone ?? usual, required: true, list: "zones", hint: ZONE });
  const zone = /** @type {HTMLInputElement} */ (zoneField.querySelector("input"));
  const allDay = h("input", { type: "checkbox", name: "all_day", id: "f-all_day", checked: event?.all_day });
  const { timed, days, clocks } = spanFields(event, Boolean(event?.all_day), () => zone.value.trim(), day);
  const repeat = repeatFields(event, firstDay);
  const check = () => {
    zone.setCustomValidity(isZone(zone.value.trim()) ? "" : "This browser knows no time zone of this name: choose another one.");
    showValidity(zone, ZONE);
    clocks();
  };
  zone.addEventListener("input", check);
  check();
  allDay.addEventListener("change", () => {
    // What was chosen in one kind holds in the other.
    const [start, end, first, last] = /** @type {HTMLInputElement[]} */ ([...timed.querySelectorAll("input"), ...days.querySelectorAll("input")]);
    if (allDay.checked && start?.value && first && !first.value) first.value = start.value.slice(0, 10);
    if (allDay.checked && end?.value && last && !last.value) last.value = end.value.slice(0, 10);
    if (!allDay.checked && first?.value && start && !start.value) start.value = `${first.value}T09:00`;
    if (!allDay.checked && last?.value && end && !end.value) end.value = `${last.value}T10:00`;
    turn(timed, allDay.checked);
    turn(days, !allDay.checked);
    repeat.follow();
  });
  for (const part of [timed, days]) part.addEventListener("input", repeat.follow);

  /** The day that the form begins with; empty if it is not chosen. */
  function firstDay() {
    const input = /** @type {HTMLInputElement} */ ((allDay.checked ? days : timed).querySelector("input"));
    return input.value.slice(0, 10);
  }

  return [
    field("Title", "title", { value: event?.title, required: true, most: MOST_OF_TITLE, pattern: WRITTEN.pattern, title: "A title has at least one letter" }),
    h("div", { class: "choice" }, allDay, h("label", { for: "f-all_day" }, "All day")),
    timed,
    days,
    h("div", { class: "fields" }, zoneField, list),
    ...repeat.fields,
    field("Where", "location", { value: event?.location, most: MOST_OF_LOCATION }),
    field("Description", "description", { value: event?.description, most: MOST_OF_DESCRIPTION, lines: 5 }),
  ];
}

/**
 * @param {EventDetails | null} event
 * @param {() => string} firstDay
 */
function repeatFields(event, firstDay) {
  const begin = event ? beginOf(event) : { day: localOf(Date.now(), "UTC").slice(0, 10), zone: "UTC" };
  const repeat = repeatOf(event?.recurrence ?? null, begin);
  const kinds = field("Repeats", "recurrence", { options: choicesOf(begin.day), value: repeat.kind });
  const kind = /** @type {HTMLSelectElement} */ (kinds.querySelector("select"));
  const interval = field("Every", "interval", { type: "number", min: 1, max: 1000, required: true, value: repeat.interval });
  const ends = field("Series ends", "ends", { options: [["last", "On a day"], ["times", "After a number of times"]], value: repeat.ends });
  const end = /** @type {HTMLSelectElement} */ (ends.querySelector("select"));
  const last = h("fieldset", {}, field("Last day of the series", "last", { type: "date", required: true, max: "9999-12-31", value: repeat.last }));
  const times = h("fieldset", {}, field("How many times", "times", { type: "number", min: 1, max: 1000, required: true, value: repeat.times }));
  const weekdays = h(
    "fieldset",
    { class: "stack tight" },
    h("legend", { class: "small" }, "On"),
    h(
      "div",
      { class: "row" },
      ...[0, 1, 2, 3, 4, 5, 6].map((one) =>
        h("span", { class: "option" }, h("input", { type: "checkbox", name: "weekdays", value: String(one), id: `f-weekday-${one}`, checked: repeat.weekdays.includes(one) }), h("label", { for: `f-weekday-${one}` }, weekdayName(one))),
      ),
    ),
  );
  const regular = h("fieldset", { class: "stack" }, h("div", { class: "fields" }, interval, ends, last, times), weekdays);
  const own = h("fieldset", {}, field("Rule", "rule", { value: repeat.rule, required: true, hint: "As calendars exchange it, such as FREQ=MONTHLY;BYDAY=1SU,3SU;COUNT=10." }));
  /** The weekday that is checked because the event begins on it. @type {number | null} */
  let offered = null;

  function follow() {
    const first = firstDay();
    if (first) {
      const chosen = kind.value;
      const choices = choicesOf(first);
      update(kind, ...choices.map(([value, words]) => h("option", { value }, words)));
      kind.value = choices.some(([value]) => value === chosen) ? chosen : "month_weekday";
    }
    const period = PERIODS[kind.value];
    const label = interval.querySelector("label");
    if (label && period) label.textContent = `Every how many ${period}`;
    turn(regular, !period);
    turn(own, kind.value !== "rule");
    turn(weekdays, kind.value !== "week");
    turn(last, end.value !== "last");
    turn(times, end.value !== "times");
    offer(first);
  }

  /** Check the weekday that the event begins on, unless the reader chose. @param {string} first */
  function offer(first) {
    const boxes = [...weekdays.querySelectorAll("input")];
    const checked = boxes.filter((box) => box.checked).map((box) => Number(box.value));
    if (kind.value !== "week" || !first || (checked.length > 0 && checked.join() !== String(offered))) return;
    if (event?.recurrence && offered === null) return;
    offered = weekdayOf(first);
    for (const box of boxes) box.checked = Number(box.value) === offered;
  }

  kind.addEventListener("change", follow);
  end.addEventListener("change", follow);
  follow();
  return { fields: [kinds, regular, own], follow };
}

/**
 * The values of the form of an event.
 * @param {HTMLFormElement} form
 */
export function readEvent(form) {
  const data = new FormData(form);
  /** @param {string} name */
  const text = (name) => String(data.get(name) ?? "").trim();
  const allDay = data.has("all_day");
  const first = (allDay ? text("first_day") : text("starts_at")).slice(0, 10);
  /** @type {Repeat} */
  const repeat = {
    kind: /** @type {Repeat["kind"]} */ (text("recurrence")),
    interval: text("interval"),
    weekdays: data.getAll("weekdays").map(Number),
    ends: /** @type {Repeat["ends"]} */ (text("ends")),
    last: text("last"),
    times: text("times"),
    rule: text("rule"),
  };
  const timeZone = text("time_zone");
  return {
    title: text("title"),
    all_day: allDay,
    ...readSpan(data),
    time_zone: timeZone,
    recurrence: first ? ruleOf(repeat, { day: first, zone: timeZone }) : null,
    location: text("location") || null,
    description: String(data.get("description") ?? "").trim().replace(/\r\n/g, "\n") || null,
  };
}

/** @param {FormData} data */
function readSpan(data) {
  /** @param {string} name */
  const value = (name) => String(data.get(name) ?? "") || null;
  return { starts_at: value("starts_at"), ends_at: value("ends_at"), first_day: value("first_day"), last_day: value("last_day") };
}

/** @typedef {ReturnType<typeof readEvent>} Read */

/**
 * The API's body of a new event, or with the changes of one that is there.
 * @param {Read} now
 * @param {Read | null} before
 */
export function bodyOf(now, before) {
  /** @type {Partial<Read>} */
  const changes = before ? differing(now, before) : now;
  /** @type {Record<string, unknown>} */
  const body = {};
  for (const name of /** @type {const} */ (["title", "time_zone", "recurrence", "location", "description"])) if (name in changes) body[name] = now[name];
  // Clocks of another zone show a time at another instant.
  const whole = "all_day" in changes || (!now.all_day && "time_zone" in changes);
  for (const name of now.all_day ? DAYS : TIMES) {
    const value = now[name];
    if (value && (whole || name in changes)) body[name] = now.all_day ? value : instantOf(value, now.time_zone).at;
  }
  return body;
}

const TIMES = /** @type {const} */ (["starts_at", "ends_at"]);
const DAYS = /** @type {const} */ (["first_day", "last_day"]);

/**
 * The form of one occurrence.
 * @param {EventDetails} event
 * @param {Occurrence} one
 */
export function occurrenceFields(event, one) {
  const { timed, days, clocks } = spanFields(one, event.all_day, () => event.time_zone);
  clocks();
  return [
    event.all_day ? days : timed,
    h(
      "div",
      { class: "fields" },
      field("Title", "title", { value: one.title, most: MOST_OF_TITLE, hint: "Empty: the event's own title." }),
      field("Where", "location", { value: one.location, most: MOST_OF_LOCATION, hint: event.location ? `Empty: ${event.location}.` : "Empty: no other place than the event." }),
    ),
  ];
}

/**
 * The values of the form of one occurrence.
 * @param {HTMLFormElement} form
 */
export function readOccurrence(form) {
  const data = new FormData(form);
  /** @param {string} name */
  const text = (name) => String(data.get(name) ?? "").trim() || null;
  return { ...readSpan(data), title: text("title"), location: text("location") };
}

/**
 * The API's body with the changes of one occurrence.
 * @param {ReturnType<typeof readOccurrence>} now
 * @param {ReturnType<typeof readOccurrence>} before
 * @param {string} zone
 */
export function occurrenceBody(now, before, zone) {
  const changes = differing(now, before);
  for (const name of TIMES) if (name in changes && now[name]) changes[name] = instantOf(String(now[name]), zone).at;
  return changes;
}

/** The first day that an address asks for. @param {string | null} day */
export const offeredDay = (day) => (day && /^\d{4}-\d{2}-\d{2}$/.test(day) && !Number.isNaN(Date.parse(day)) ? day : undefined);
