// Times of events in their zones: days are texts such as "2026-04-05", local times such as "2026-04-05T09:00".

/** @typedef {{ starts_at: string, ends_at: string, first_day: string | null, last_day: string | null }} Span */

const DAY_MS = 86_400_000;

/** Formats are expensive to make. @type {Map<string, Intl.DateTimeFormat>} */
const FORMATS = new Map();

/** @param {Intl.DateTimeFormatOptions} options @param {string} [locale] */
function format(options, locale) {
  const key = `${locale} ${JSON.stringify(options)}`;
  const made = FORMATS.get(key) ?? new Intl.DateTimeFormat(locale, options);
  FORMATS.set(key, made);
  return made;
}

/** The zone of this computer. */
export const ownZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** @type {Map<string, boolean>} */
const ZONES = new Map();

/** Whether this browser knows a zone of this name. @param {string} zone */
export function isZone(zone) {
  if (!ZONES.has(zone)) {
    try {
      ZONES.set(zone, zone !== "" && !/^[+-]/.test(zone) && Boolean(new Intl.DateTimeFormat("en-US", { timeZone: zone })));
    } catch {
      ZONES.set(zone, false);
    }
  }
  return Boolean(ZONES.get(zone));
}

/** A zone that this browser knows: UTC for one that is newer. @param {string} zone */
const known = (zone) => (isZone(zone) ? zone : "UTC");

/** @type {Intl.DateTimeFormatOptions} */
const DIGITS = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", calendar: "gregory", numberingSystem: "latn" };

/**
 * The local time that clocks in a zone show at an instant, as the value of a `datetime-local` field.
 * @param {string | number} at
 * @param {string} zone
 */
export function localOf(at, zone) {
  const part = Object.fromEntries(format({ ...DIGITS, timeZone: known(zone) }, "en-US").formatToParts(new Date(at)).map(({ type, value }) => [type, value]));
  const seconds = part.second === "00" ? "" : `:${part.second}`;
  return `${String(part.year).padStart(4, "0")}-${part.month}-${part.day}T${part.hour}:${part.minute}${seconds}`;
}

/** @param {string} local */
const asIfUtc = (local) => Date.parse(`${local}Z`);

/** Milliseconds by which a zone is ahead of UTC. @param {number} at @param {string} zone */
const ahead = (at, zone) => asIfUtc(localOf(at, zone)) - Math.floor(at / 1000) * 1000;

/**
 * The instant at which clocks in a zone show a local time. A time that clocks skip is read with the offset before, one
 * that they show twice is the first of the two, as RFC 5545 and the API have it.
 * @param {string} local
 * @param {string} zone
 * @returns {{ at: string, clocks: "once" | "skip" | "twice" }}
 */
export function instantOf(local, zone) {
  const wanted = asIfUtc(local);
  const before = ahead(wanted - DAY_MS, zone);
  const after = ahead(wanted + DAY_MS, zone);
  const found = [...new Set([wanted - before, wanted - after])].filter((at) => asIfUtc(localOf(at, zone)) === wanted).sort((a, b) => a - b);
  const clocks = found.length > 1 ? "twice" : found.length === 1 ? "once" : "skip";
  return { at: new Date(found[0] ?? wanted - before).toISOString().replace(".000Z", "Z"), clocks };
}

/** The day some days later, or earlier. @param {string} day @param {number} days */
export const shifted = (day, days) => new Date(Date.parse(day) + days * DAY_MS).toISOString().slice(0, 10);

/** The same day of another month, or that month's last. @param {string} day @param {number} months */
export function monthsLater(day, months) {
  const [year, month, date] = /** @type {[number, number, number]} */ (day.split("-").map(Number));
  const last = new Date(Date.UTC(year, month + months, 0)).getUTCDate();
  return new Date(Date.UTC(year, month - 1 + months, Math.min(date, last))).toISOString().slice(0, 10);
}

/** 0 for Sunday. @param {string} day */
export const weekdayOf = (day) => new Date(day).getUTCDay();

/**
 * The first and the last day on which something takes place, in a zone; the days of an all-day event hold in every zone.
 * @param {Span} span
 * @param {string} zone
 * @returns {[first: string, last: string]}
 */
export function daysOf({ starts_at, ends_at, first_day, last_day }, zone) {
  if (first_day && last_day) return [first_day, last_day];
  const first = localOf(starts_at, zone).slice(0, 10);
  const end = localOf(ends_at, zone);
  // What ends at midnight does not take place on the day that begins then.
  const last = end.slice(10) === "T00:00" && end.slice(0, 10) > first ? shifted(end.slice(0, 10), -1) : end.slice(0, 10);
  return [first, last];
}

/** @param {Intl.DateTimeFormatOptions} options @param {string} first @param {string} last */
const range = (options, first, last) => format(options).formatRange(new Date(first), new Date(last));

/** @type {Intl.DateTimeFormatOptions} */
const DATE = { weekday: "short", year: "numeric", month: "short", day: "numeric" };
/** @type {Intl.DateTimeFormatOptions} */
const CLOCK = { hour: "numeric", minute: "2-digit" };

/** When something takes place, by the clocks of a zone. @param {Span} span @param {string} zone @param {boolean} [named] with the zone's short name */
export function whenOf({ starts_at, ends_at, first_day, last_day }, zone, named = false) {
  if (first_day && last_day) return `${range({ ...DATE, timeZone: "UTC" }, first_day, last_day)}, all day`;
  return range({ ...DATE, ...CLOCK, timeZone: known(zone), ...(named ? { timeZoneName: "short" } : {}) }, starts_at, ends_at);
}

/** "9:00 AM"; short "9 AM". @param {string} at @param {string} zone @param {boolean} [short] */
export const clockTime = (at, zone, short = false) =>
  format({ ...(short && localOf(at, zone).slice(14, 16) === "00" ? { hour: "numeric" } : CLOCK), timeZone: known(zone) }).format(new Date(at));

/** "Sunday, April 5, 2026". @param {string} day */
export const fullDay = (day) => format({ dateStyle: "full", timeZone: "UTC" }).format(new Date(day));

/** "April 2026". @param {string} month `2026-04` */
export const monthName = (month) => format({ month: "long", year: "numeric", timeZone: "UTC" }).format(new Date(`${month}-01`));

/** The name of a weekday. @param {number} weekday 0 for Sunday @param {"long" | "short"} [length] */
export const weekdayName = (weekday, length = "long") =>
  format({ weekday: length, timeZone: "UTC" }).format(new Date(Date.UTC(2023, 0, 1 + weekday)));

/** "Eastern Time (America/New_York)". @param {string} zone */
export function zoneName(zone) {
  if (!isZone(zone) || zone === "UTC") return zone;
  const name = format({ timeZone: zone, timeZoneName: "longGeneric" }).formatToParts().find(({ type }) => type === "timeZoneName")?.value;
  return name && name !== zone ? `${name} (${zone})` : zone;
}

/** The weekday that weeks begin with where the reader is: 0 for Sunday. */
export function firstWeekday() {
  const locale = /** @type {any} */ (new Intl.Locale(new Intl.DateTimeFormat().resolvedOptions().locale));
  return (locale.getWeekInfo?.() ?? locale.weekInfo ?? { firstDay: 7 }).firstDay % 7;
}
