// A month of the calendar: a grid by keyboard, on a narrow screen an agenda.

import { at, get, search } from "../api.js";
import { announce, h, update } from "./dom.js";
import { downloads } from "./download.js";
import { freshLine } from "./fresh.js";
import { lanes, weeksOf } from "./lanes.js";
import { ask } from "./look.js";
import { part } from "./part.js";
import { clockTime, daysOf, firstWeekday, fullDay, isZone, localOf, monthName, monthsLater, ownZone, shifted, weekdayName, whenOf, zoneName } from "./times.js";
import { count } from "./words.js";

/** @typedef {import("../types.d.ts").ListedOccurrence} Listed */
/** @typedef {import("./lanes.js").Placed<Listed>} Placed */
/** @typedef {import("../app.js").Context} Context */

/** Events of one day that the grid shows. */
const MOST = 3;
/** Months whose days the API knows, with the weeks around them. */
const [EARLIEST, LATEST] = ["1900-02", "2199-11"];
const NARROW = "(max-width: 720px)";

/** @param {string | null} text */
const isDay = (text) => text !== null && /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));

/** @param {string} month */
const inRange = (month) => (month < EARLIEST ? EARLIEST : month > LATEST ? LATEST : month);

/** @param {Context} context */
export async function showMonth(context) {
  const { main, query, signal, note, admin } = context;
  /** @type {Partial<import("../types.d.ts").CalendarStatus>} */
  const { time_zone: church } = await get("/calendar/status", undefined, signal).catch(() => ({}));
  const own = church && isZone(church) ? church : null;
  const zone = isZone(query.get("zone") ?? "") ? String(query.get("zone")) : (own ?? "UTC");
  const weekBegins = firstWeekday();
  const narrow = matchMedia(NARROW);
  const today = () => localOf(Date.now(), zone).slice(0, 10);
  const asked = `${query.get("month")}-01`;
  let month = inRange((isDay(asked) ? asked : today()).slice(0, 7));
  let active = today().startsWith(month) ? today() : `${month}-01`;
  /** @type {Placed[]} */
  let placed = [];
  /** Where events stand in the grid: a change of it moves them. */
  let shape = "";
  /** @type {Placed[] | null} */
  let waiting = null;
  let leaving = new AbortController();
  /** @type {import("./part.js").Part<Placed[]> | null} */
  let found = null;
  /** The open dialog of a day. @type {{ day: string, rows: HTMLElement } | null} */
  let opened = null;

  const title = h("h2", { id: "month" });
  const said = h("div");
  const place = h("div");
  const file = h("div", { class: "row" });
  const days = h("p", { class: "quiet small" });
  const fresh = freshLine("This month", () => {
    if (!waiting) return;
    take(waiting);
    found?.show(placed);
  });

  /** The first and the last day of the grid. */
  const bounds = () => {
    const weeks = weeksOf(month, weekBegins);
    return { first_day: String(weeks[0]?.[0]), last_day: String(weeks.at(-1)?.[6]), time_zone: zone };
  };

  /** @param {AbortSignal} reading */
  async function read(reading) {
    /** @type {Placed[]} */
    const events = [];
    /** @type {string | null} */
    let after = null;
    do {
      /** @type {import("../types.d.ts").Page<Listed>} */
      const page = await get("/calendar/occurrences", { ...bounds(), after, limit: 1000 }, reading);
      for (const item of page.items) {
        const [first, last] = daysOf(item, zone);
        events.push({ item, first, last });
      }
      after = page.next;
    } while (after);
    return events;
  }

  /**
   * @param {string} next
   * @param {string} day
   */
  function open(next, day) {
    leaving.abort();
    leaving = new AbortController();
    month = inRange(next);
    active = day.startsWith(month) ? day : `${month}-01`;
    [placed, shape, waiting] = [[], "", null];
    fresh.hide();
    note({ month });
    draw();
    const reading = AbortSignal.any([signal, leaving.signal]);
    let first = true;
    found = part({
      signal: reading,
      follows: ["/calendar/occurrences"],
      skeleton: () => h("p", { class: "quiet" }, `Reading ${monthName(month)}.`),
      load: () => read(reading),
      render: (/** @type {Placed[]} */ events) => {
        const moves = shapeOf(events) !== shape;
        if (!first && moves && place.matches(":hover")) {
          waiting = events;
          fresh.offer();
        } else {
          take(events);
        }
        first = false;
        return h("p", { class: "quiet", role: "status" }, counted());
      },
    });
    said.replaceChildren(found.element);
  }

  /** @param {Placed[]} events */
  function take(events) {
    [placed, shape, waiting] = [events, shapeOf(events), null];
    fresh.hide();
    draw();
  }

  /** @param {Placed[]} events */
  const shapeOf = (events) => events.map(({ item, first, last }) => `${keyOf(item)} ${first} ${last}`).join();

  const counted = () => {
    const here = placed.filter(({ first, last }) => first.slice(0, 7) <= month && last.slice(0, 7) >= month).length;
    return here > 0 ? `${count(here, "occurrence")} in ${monthName(month)}` : `Nothing takes place in ${monthName(month)}`;
  };

  function draw() {
    const inside = place.contains(document.activeElement);
    title.textContent = monthName(month);
    update(place, narrow.matches ? agenda() : grid());
    update(file, downloads("/calendar/occurrences.csv", bounds(), "The month"));
    update(days, ...zoneLine(context, zone, own));
    if (opened) update(opened.rows, rowsOf(opened.day));
    if (inside && !place.contains(document.activeElement)) focusDay();
  }

  function focusDay() {
    const button = place.querySelector(`td[data-key="${active}"] .date`);
    if (button instanceof HTMLElement) button.focus();
  }

  /** @param {string} day */
  function move(day) {
    if (inRange(day.slice(0, 7)) !== day.slice(0, 7)) return;
    if (day.startsWith(month)) {
      active = day;
      draw();
    } else {
      open(day.slice(0, 7), day);
      announce(monthName(month));
    }
    focusDay();
  }

  function grid() {
    const weeks = weeksOf(month, weekBegins);
    return h(
      "table",
      { key: "grid", class: "month", role: "grid", "aria-labelledby": "month", onkeydown: pressed },
      h("thead", {}, h("tr", {}, ...[0, 1, 2, 3, 4, 5, 6].map((one) => h("th", { scope: "col", abbr: weekdayName((weekBegins + one) % 7) }, weekdayName((weekBegins + one) % 7, "short"))))),
      h("tbody", {}, ...weeks.map((days) => h("tr", { key: days[0] }, ...lanes(days, placed).map((places, position) => cell(String(days[position]), places))))),
    );
  }

  /** @param {string} day @param {(Placed | null)[]} places */
  function cell(day, places) {
    const events = places.filter((one) => one !== null);
    const more = events.length - places.slice(0, MOST).filter(Boolean).length;
    const now = day === today();
    const tabindex = day === active ? "0" : "-1";
    return h(
      "td",
      {
        key: day,
        class: day.startsWith(month) ? null : "outside",
        "aria-current": now && "date",
        onclick: (/** @type {MouseEvent} */ event) => {
          if (!(/** @type {Element} */ (event.target).closest("a"))) void openDay(day);
        },
      },
      h(
        "button",
        { type: "button", class: "date", tabindex, "aria-label": `${fullDay(day)}${now ? ", today" : ""}, ${events.length > 0 ? count(events.length, "event") : "no events"}` },
        String(Number(day.slice(8))),
      ),
      ...places.slice(0, MOST).map((one, lane) =>
        one
          ? h(
              "a",
              { key: keyOf(one.item), href: addressOf(one.item), tabindex, title: one.item.title, class: ["entry", one.first < day && "before", one.last > day && "after"].filter(Boolean).join(" ") },
              one.item.all_day || one.first < day ? null : h("span", { class: "small" }, `${clockTime(one.item.starts_at, zone, true)} `),
              one.item.title,
              one.first < day ? h("span", { class: "hidden-visually" }, ", goes on") : null,
            )
          : h("span", { key: `none-${lane}`, class: "entry none", "aria-hidden": "true" }, "\u00a0"),
      ),
      more > 0 ? h("button", { key: "more", type: "button", class: "link small", tabindex, "aria-label": `${more} more on ${fullDay(day)}` }, `${more} more`) : null,
    );
  }

  /** @param {KeyboardEvent} event */
  function pressed(event) {
    const target = /** @type {Element} */ (event.target);
    const day = target.closest("td")?.dataset.key;
    if (!day || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const weekday = (new Date(day).getUTCDay() - weekBegins + 7) % 7;
    /** @type {Record<string, () => unknown>} */
    const keys = {
      ArrowLeft: () => move(shifted(day, -1)),
      ArrowRight: () => move(shifted(day, 1)),
      ArrowUp: () => move(shifted(day, -7)),
      ArrowDown: () => move(shifted(day, 7)),
      Home: () => move(shifted(day, -weekday)),
      End: () => move(shifted(day, 6 - weekday)),
      PageUp: () => move(monthsLater(day, -1)),
      PageDown: () => move(monthsLater(day, 1)),
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  function agenda() {
    const days = weeksOf(month, weekBegins)
      .flat()
      .filter((day) => day.startsWith(month) && placed.some(({ first, last }) => first <= day && last >= day));
    return h(
      "div",
      { key: "agenda", class: "stack" },
      ...days.map((day) => h("section", { key: day, class: "stack tight" }, h("h3", { "aria-current": day === today() && "date" }, fullDay(day), day === today() ? " (today)" : ""), rowsOf(day))),
    );
  }

  /** The events of a day. @param {string} day */
  function rowsOf(day) {
    const events = placed.filter(({ first, last }) => first <= day && last >= day);
    if (events.length === 0) return h("p", { key: "none" }, "Nothing takes place on this day.");
    return h(
      "ul",
      { key: "rows", class: "plain-list" },
      ...events.map((one) =>
        h(
          "li",
          { key: keyOf(one.item) },
          h("a", { href: addressOf(one.item) }, one.item.title),
          h("span", { class: "quiet small" }, ` ${[timeOf(one), one.item.location].filter(Boolean).join(", ")}`),
        ),
      ),
    );
  }

  /** @param {Placed} one */
  function timeOf({ item, first, last }) {
    if (first < last) return whenOf(item, zone);
    if (item.all_day) return "all day";
    const [start, end] = [clockTime(item.starts_at, zone), clockTime(item.ends_at, zone)];
    return start === end ? start : `${start} – ${end}`;
  }

  /** @param {string} day */
  async function openDay(day) {
    const cell = place.querySelector(`td[data-key="${day}"]`);
    active = day;
    draw();
    if (!cell?.contains(document.activeElement)) focusDay();
    note({ day });
    const rows = h("div", {}, rowsOf(day));
    opened = { day, rows };
    await ask(fullDay(day), (dialog) => [
      rows,
      h(
        "div",
        { class: "dialog-actions" },
        admin ? h("a", { class: "button", href: `/events/new${search({ day, month, zone: query.get("zone") })}` }, "Add an event on this day") : null,
        h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
      ),
    ]);
    opened = null;
    note({ day: null });
  }

  narrow.addEventListener("change", draw, { signal });
  main.append(
    h(
      "section",
      { class: "stack", "aria-labelledby": "month" },
      h(
        "div",
        { class: "row spread" },
        title,
        h(
          "div",
          { class: "row" },
          h("button", { type: "button", onclick: () => open(monthsLater(`${month}-01`, -1).slice(0, 7), active) }, "Previous month"),
          h("button", { type: "button", onclick: () => open(today().slice(0, 7), today()) }, "Today"),
          h("button", { type: "button", onclick: () => open(monthsLater(`${month}-01`, 1).slice(0, 7), active) }, "Next month"),
        ),
      ),
      h("div", { class: "row spread" }, said, fresh.element, file),
      place,
      days,
    ),
  );
  const shown = weeksOf(month, weekBegins).flat();
  const [day, back] = ["day", "at"].map((name) => shown.find((one) => one === query.get(name)));
  open(month, active);
  if (narrow.matches) return;
  if (day) void openDay(day);
  else if (back) returnTo(back);

  /** Focus the day that the reader left the month from. @param {string} day */
  function returnTo(day) {
    note({ at: null });
    active = day;
    draw();
    focusDay();
  }
}

/** @param {Listed} item */
const keyOf = (item) => `${item.event_id} ${item.key}`;

/** @param {Listed} item */
const addressOf = (item) => at`/events/${item.event_id}` + (item.series ? `?at=${encodeURIComponent(item.key)}` : "");

/**
 * Which zone's days are shown, and another choice.
 * @param {Context} context
 * @param {string} zone
 * @param {string | null} church its own zone; null if it is not known
 */
function zoneLine(context, zone, church) {
  const usual = church ?? "UTC";
  const other = zone === usual ? ownZone() : usual;
  const what = zone === church ? ", your church's own time zone" : zone === usual ? ": your church's own time zone is not known here yet" : "";
  return [
    `Days are those of ${zoneName(zone)}${what}. `,
    other === zone ? null : h("a", { href: context.here({ zone: other === usual ? null : other }) }, `Show the days of ${zoneName(other)}${other === usual ? "" : ", as on this computer"}`),
  ];
}
