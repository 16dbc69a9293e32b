// One event: its values, occurrences and history; add, edit, delete.

import { at, get, patch, post, remove, search } from "../api.js";
import { follow } from "../live.js";
import { announce, h } from "../parts/dom.js";
import { OVERWRITTEN, eventOf, inOrder, inWords, isLinked, isOver, isSeries, repeatsOf, ruledStart } from "../parts/event.js";
import { bodyOf, eventFields, occurrenceBody, occurrenceFields, offeredDay, readEvent, readOccurrence } from "../parts/event_form.js";
import { historyOf } from "../parts/history.js";
import { linkOf } from "../parts/link.js";
import { list } from "../parts/list.js";
import { action, ask, confirm, heading, notice, run as work, status, when } from "../parts/look.js";
import { linkStatus } from "../parts/member.js";
import { otherwiseChanged, showNewest, whoChanged } from "../parts/newest.js";
import { part } from "../parts/part.js";
import { isZone, ownZone, whenOf, zoneName } from "../parts/times.js";
import { count, fieldName } from "../parts/words.js";

/** @typedef {import("../types.d.ts").EventDetails} EventDetails */
/** @typedef {import("../types.d.ts").HistoryEntry} HistoryEntry */
/** @typedef {import("../types.d.ts").Occurrence} Occurrence */
/** @typedef {import("../app.js").Context} Context */

/** @param {Context} context */
export async function show(context) {
  if (context.id === "new") return add(context);
  if (context.query.has("edit") && context.admin) return edit(context);
  return view(context);
}

/**
 * @param {Context} context
 * @param {EventDetails | null} event
 * @param {string} verb
 * @param {(body: Record<string, unknown>) => Promise<unknown>} save gets the changes, or a new event's values
 * @param {string} back
 * @param {string} zone that is offered for a new event
 */
function eventForm(context, event, verb, save, back, zone = ownZone()) {
  let saved = false;
  const form = h(
    "form",
    {
      class: "card",
      onsubmit: (/** @type {SubmitEvent} */ submitted) => {
        submitted.preventDefault();
        void work(form, async () => {
          await save(bodyOf(readEvent(form), event && untouched));
        });
      },
    },
    ...eventFields(event, zone, offeredDay(context.query.get("day"))),
    h("div", { class: "row" }, h("button", { class: "primary" }, verb), h("a", { href: back }, "Cancel")),
  );
  if (event && datesAreTheirs(event)) for (const name of OF_DATES) for (const control of form.querySelectorAll(`[name="${name}"]`)) control.setAttribute("disabled", "");
  const untouched = readEvent(form);
  context.keep(() => !saved && JSON.stringify(readEvent(form)) !== JSON.stringify(untouched));
  return { form, done: () => (saved = true) };
}

/** Fields that a list of dates from Planning Center does not allow to change. */
const OF_DATES = ["all_day", "starts_at", "ends_at", "first_day", "last_day", "time_zone", "recurrence"];

/** Whether the event has the dates that Planning Center lists. @param {EventDetails} event */
const datesAreTheirs = (event) => isLinked(event) && event.listed;

/** @param {Context} context */
async function add(context) {
  const [day, month, zone] = ["day", "month", "zone"].map((name) => context.query.get(name));
  const back = month ? `/events${search({ view: "month", month, zone, at: day })}` : "/events";
  const title = heading("Add an event", h("a", { href: back }, month ? "Back to the month" : "All events"));
  if (!context.admin) {
    context.main.append(title, h("p", {}, "Administrators add events. Nothing was changed; ask one of them."));
    return;
  }
  /** @type {Partial<import("../types.d.ts").CalendarStatus>} */
  const { time_zone } = await get("/calendar/status", undefined, context.signal).catch(() => ({}));
  const made = eventForm(
    context,
    null,
    "Add this event",
    async (body) => {
      const event = await post("/calendar/events", body);
      made.done();
      announce(`${event.title} was added.`);
      context.go(at`/events/${event.id}`, { replace: true });
    },
    back,
    time_zone && isZone(time_zone) ? time_zone : undefined,
  );
  context.main.append(title, h("p", { class: "quiet" }, "The event is added here. Planning Center does not have it until you push it there."), made.form);
}

/** @param {Context} context */
async function edit(context) {
  const { id, main, signal } = context;
  const path = at`/calendar/events/${id}`;
  /** @type {EventDetails} */
  const event = await get(path, undefined, signal).catch(context.absent);
  const address = at`/events/${id}`;
  const record = { path, since: event.updated_at };
  const moved = h("div", { class: "stack" });
  const made = eventForm(
    context,
    event,
    "Save",
    async (body) => {
      if (Object.keys(body).length > 0) await patch(path, { ...body, version: event.version }).catch(otherwiseChanged(context, "event", record));
      made.done();
      announce("Saved.");
      context.go(address, { replace: true });
    },
    address,
  );
  const own = event.occurrences.filter((one) => one.moved || one.cancelled || one.title || one.location).length;
  main.append(
    heading(`Edit ${event.title}`),
    moved,
    isLinked(event)
      ? notice("warn", h("p", {}, OVERWRITTEN), datesAreTheirs(event) ? h("p", {}, "Its dates are changed in Planning Center, or here after unlinking it.") : null)
      : "",
    isSeries(event) && !datesAreTheirs(event)
      ? h("p", { class: "quiet" }, "All occurrences change.", own > 0 ? ` ${count(own, "occurrence that was changed alone keeps its", "occurrences that were changed alone keep their")} own values, where the series still has the day.` : "")
      : "",
    made.form,
  );
  follow(
    "/calendar/events",
    async (fact) => {
      if (fact?.body.event?.id !== id || fact.body.version <= event.version || moved.hasChildNodes()) return;
      const line = h("p", {}, "What you typed is still here.");
      moved.append(notice("warn", line, h("div", { class: "row" }, showNewest(context))));
      line.prepend(`${await whoChanged("event", record)} `);
    },
    signal,
  );
}

/** @param {Context} context */
async function view(context) {
  const { id, main, signal, admin } = context;
  const path = at`/calendar/events/${id}`;
  const title = heading("Event", h("a", { href: "/events" }, "All events"));
  const place = h("div", { class: "stack" });
  /** @type {ReturnType<typeof occurrencesOf> | null} */
  let occurrences = null;
  let shown = () => {};
  /** Settles once the event is read, or cannot be. @type {Promise<void>} */
  const first = new Promise((resolve) => (shown = resolve));
  /** @type {import("../parts/part.js").Part<EventDetails>} */
  const record = part({
    signal,
    load: () =>
      get(path, undefined, signal).catch((error) => {
        shown();
        return context.absent(error);
      }),
    follows: ["/calendar/events"],
    onFact: (fact, /** @type {EventDetails} */ value) => {
      if (fact.type === "EventRemoved" && fact.body.event_id === id) void record.reload();
      // Facts carry no link: what is linked, was or becomes so is read. What is said about a link changes no version.
      if (fact.body.event?.id === id && fact.body.version >= value.version && (value.link || fact.type !== "EventChanged")) {
        if (fact.body.version > value.version) void history.reload();
        return undefined;
      }
      const changed = eventOf(fact);
      if (changed?.id !== id || changed.version <= value.version) return value;
      void history.reload();
      return { ...value, ...changed };
    },
    render: (/** @type {EventDetails} */ event) => {
      shown();
      document.title = `${event.title} · Events`;
      /** @type {HTMLElement} */ (title.querySelector("h1")).textContent = event.title;
      showOccurrences(event);
      link.show(event);
      return h(
        "section",
        { class: "card", "aria-label": "Values" },
        h(
          "div",
          { class: "row spread" },
          linkStatus(event, "Not linked"),
          h("span", { class: "quiet small" }, "Changed ", when(event.updated_at)),
        ),
        valuesOf(event),
        admin
          ? h(
              "div",
              { class: "row" },
              action("Edit", () => context.go(context.here({ edit: "1" })), { class: "primary", key: "edit" }),
              action("Delete", () => discard(event), { key: "delete" }),
            )
          : null,
      );
    },
  });

  /** @param {EventDetails} event */
  function showOccurrences(event) {
    if (!isSeries(event)) {
      occurrences = null;
      place.replaceChildren();
    } else if (occurrences) {
      occurrences.show(event);
    } else {
      occurrences = occurrencesOf(context, event, changed);
      place.append(h("h2", { id: "occurrences" }, "Occurrences"), occurrences.element);
    }
  }

  /** @param {EventDetails | null} event after a change made here; null to read it */
  async function changed(event) {
    if (event) record.show(event);
    else await record.reload();
    await history.reload();
  }

  /** @param {EventDetails} event */
  async function discard(event) {
    const coming = event.occurrences.filter((one) => !one.cancelled && !isOver(one)).length;
    const done = await confirm({
      title: `Delete ${event.title}?`,
      text: h(
        "ul",
        { class: "bullets" },
        isSeries(event)
          ? h("li", {}, `The series is deleted here with ${count(event.occurrence_count, "occurrence")}: ${coming} still to come, ${event.occurrence_count - coming} past.`)
          : h("li", {}, `${event.title} on ${whenOf(event, event.time_zone)} is deleted here.`),
        h("li", {}, "In Planning Center nothing changes."),
        h("li", {}, "This cannot be taken back."),
      ),
      verb: `Delete ${event.title}`,
      work: () => remove(path),
    });
    if (!done) return;
    announce(`${event.title} was deleted.`);
    context.go("/events");
  }

  /** @param {HistoryEntry} entry */
  async function putBack(entry) {
    const event = record.value();
    if (!event) return;
    const dates = !["title", "location", "description"].includes(entry.field);
    const name = dates ? "dates" : fieldName(entry.field).toLowerCase();
    const done = await confirm({
      title: `Put the former ${name} back?`,
      text: h(
        "ul",
        { class: "bullets" },
        h("li", {}, dates ? `Dates and times become those from before this change.` : `${fieldName(entry.field)} becomes ${words(entry.old, entry.field) || "empty"} here.`),
        h("li", {}, isLinked(event) ? "The event then differs from Planning Center, until somebody syncs it by hand." : "Nothing changes in Planning Center."),
      ),
      verb: "Put back",
      dangerous: false,
      work: async () => {
        const since = { path, since: event.updated_at, remedy: () => action("Show it as it is now", () => changed(null)) };
        await changed(await post(`${path}/restore`, { entry_id: entry.id, version: event.version }).catch(otherwiseChanged(context, "event", since)));
      },
    });
    if (!done) return;
    announce(`The former ${name} ${dates ? "are" : "is"} back here.`);
    document.getElementById("history")?.focus();
  }

  const words = inWords(() => record.value());
  const link = linkOf(context, changed, discard);
  const history = historyOf(context, path, "event", putBack, words, { verb: "Put back", run: (run) => at`/events/syncs/${run}`, first });
  main.append(title, record.element, link.element, place, h("section", { class: "stack", "aria-labelledby": "history" }, h("h2", { id: "history", tabindex: "-1" }, "History"), history.element));
  await history.ready;
}

/** @param {EventDetails} event */
function valuesOf(event) {
  const held = event.occurrences.filter((one) => !one.cancelled);
  const out = event.occurrences.length - held.length;
  const moved = held.filter((one) => one.moved).length;
  const [next] = inOrder(held);
  return h(
    "dl",
    { class: "facts" },
    h("dt", {}, isSeries(event) ? (next && !isOver(next) ? "Next" : "Last") : "When"),
    h("dd", {}, whenOf(isSeries(event) && next ? next : event, event.time_zone, true)),
    isSeries(event)
      ? [
          h("dt", {}, "Repeats"),
          h("dd", {}, `${repeatsOf(event)}: ${[count(held.length, "occurrence"), out > 0 && `${out} taken out`, moved > 0 && `${moved} moved`].filter(Boolean).join(", ")}`),
        ]
      : null,
    h("dt", {}, "Time zone"),
    h("dd", {}, zoneName(event.time_zone)),
    h("dt", {}, "Where"),
    h("dd", {}, event.location ?? "—"),
    h("dt", {}, "Description"),
    h("dd", { class: "lines" }, event.description ?? "—"),
  );
}

/**
 * The occurrences of a series as a list, with what an administrator does to one.
 * @param {Context} context
 * @param {EventDetails} event
 * @param {(event: EventDetails | null) => Promise<void>} changed
 */
function occurrencesOf(context, event, changed) {
  const { admin, note, query } = context;
  let order = inOrder(event.occurrences);
  const asked = order.findIndex((one) => one.key === query.get("at"));
  // The address names an occurrence: the list reaches as far.
  if (asked >= (Number(query.get("rows")) || 0)) note({ rows: Math.max(asked + 1, 50) });
  const path = at`/calendar/events/${event.id}`;
  const occurrences = list(context, {
    caption: "Occurrences",
    columns: ["When", "Title and place", "State", ...(admin ? [""] : [])],
    noun: ["occurrence", "occurrences"],
    load: async (after, limit) => {
      const from = Number(after);
      const next = from + limit;
      return { items: order.slice(from, next), next: next < order.length ? String(next) : null, total: order.length };
    },
    id: (/** @type {Occurrence} */ one) => one.key,
    cells: (one) => [whenOf(one, event.time_zone), [one.title, one.location].filter(Boolean).join(", "), stateOf(one), ...(admin ? [buttons(one)] : [])],
    empty: () => null,
  });

  /** @param {Occurrence} one */
  function buttons(one) {
    const day = whenOf(one, event.time_zone);
    if (one.cancelled) return h("div", { class: "row" }, action("Bring back", () => bringBack(one), { key: "back", name: `Bring back: ${day}` }));
    return h(
      "div",
      { class: "row tied" },
      action("Change", () => change(one), { key: "change", name: `Change: ${day}` }),
      action("Take out", () => takeOut(one), { key: "out", name: `Take out: ${day}` }),
    );
  }

  /**
   * @param {Occurrence} one
   * @param {Record<string, unknown>} body
   * @param {string} sentence
   * @param {EventDetails} seen the event as the person saw it
   * @param {() => HTMLElement} [remedy] shows the newest values
   */
  async function set(one, body, sentence, seen, remedy = () => action("Show it as it is now", () => changed(null))) {
    const record = { path, since: seen.updated_at, remedy };
    const saved = await patch(at`/calendar/events/${event.id}/occurrences/${one.key}`, { ...body, version: seen.version }).catch(otherwiseChanged(context, "event", record));
    await changed(saved);
    await occurrences.reload();
    announce(sentence);
  }

  /** Focus the buttons of an occurrence again, if its former ones are gone. @param {Occurrence} one */
  function backTo({ key }) {
    if (document.activeElement !== document.body && document.activeElement?.localName !== "h1") return;
    const button = occurrences.element.querySelector(`[data-key="${key}"] button`);
    if (button instanceof HTMLElement) button.focus();
  }

  /** @param {Occurrence} one */
  async function bringBack(one) {
    await set(one, { cancelled: false }, `${whenOf(one, event.time_zone)} was brought back.`, event);
    backTo(one);
  }

  /** @param {HTMLDialogElement} dialog */
  const asItIsNow = (dialog) => () =>
    action("Show it as it is now", async () => {
      await changed(null);
      dialog.close();
    });

  /** @param {Occurrence} one */
  async function takeOut(one) {
    const seen = event;
    const day = whenOf(one, event.time_zone);
    await ask(`Take out ${day}?`, (dialog) => [
      h("p", {}, `${one.title ?? event.title} does not take place then. The other occurrences stay as they are, and this one can be brought back.`),
      h(
        "div",
        { class: "dialog-actions" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        action(
          "Take out",
          async () => {
            await set(one, { cancelled: true }, `${day} was taken out.`, seen, asItIsNow(dialog));
            dialog.close();
          },
          { class: "primary" },
        ),
      ),
    ]);
    backTo(one);
  }

  /** @param {Occurrence} one */
  async function change(one) {
    const seen = event;
    await ask(`Change ${whenOf(one, event.time_zone)}`, (dialog) => {
      const form = h(
        "form",
        {
          class: "stack",
          onsubmit: (/** @type {SubmitEvent} */ submitted) => {
            submitted.preventDefault();
            void work(form, async () => {
              const body = occurrenceBody(readOccurrence(form), untouched, event.time_zone);
              if (Object.keys(body).length > 0) await set(one, body, "Saved.", seen, asItIsNow(dialog));
              dialog.close();
            });
          },
        },
        h("p", { class: "quiet" }, `Only this occurrence changes. Times are those of ${zoneName(event.time_zone)}.`),
        ...occurrenceFields(event, one),
        h(
          "div",
          { class: "dialog-actions" },
          h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
          one.moved
            ? action("Back to the series' time", async () => {
                await set(one, event.all_day ? { first_day: null, last_day: null } : { starts_at: null, ends_at: null }, "It takes place as the series says again.", seen, asItIsNow(dialog));
                dialog.close();
              })
            : null,
          h("button", { class: "primary" }, "Save"),
        ),
      );
      const untouched = readOccurrence(form);
      return form;
    });
    backTo(one);
  }

  return {
    element: occurrences.element,
    /** @param {EventDetails} next */
    show(next) {
      event = next;
      order = inOrder(next.occurrences);
      void occurrences.reload();
    },
  };
}

/** @param {Occurrence} one */
function stateOf(one) {
  if (one.cancelled) return status("warn", "Taken out");
  if (one.moved) return `Moved from ${ruledStart(one.key)}`;
  return h("span", { class: "quiet" }, isOver(one) ? "Past" : "Upcoming");
}
