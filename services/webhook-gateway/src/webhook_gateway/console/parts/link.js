// The link of an event with Planning Center, on its page: made, pushed, synced, taken away.

import { at, get, post, remove } from "../api.js";
import { checkOf } from "./checked.js";
import { copyable } from "./copy.js";
import { announce, h, update } from "./dom.js";
import { isSeries, repeatsOf } from "./event.js";
import { feedOf } from "./feed.js";
import { action, confirm, notice, status, when } from "./look.js";
import { part } from "./part.js";
import { syncNow } from "./sync.js";
import { openAt } from "./there.js";
import { whenOf } from "./times.js";
import { count, fieldName, listed, sentenceCase } from "./words.js";

/** @typedef {import("../types.d.ts").EventDetails} EventDetails */
/** @typedef {import("../types.d.ts").EventLink} EventLink */
/** @typedef {import("../types.d.ts").EventPush} EventPush */
/** @typedef {import("../types.d.ts").CalendarStatus} CalendarStatus */
/** @typedef {import("../app.js").Context} Context */

/**
 * @param {Context} context of the event's page
 * @param {(event: EventDetails | null) => Promise<void>} changed shows the event afterwards; null reads it
 * @param {(event: EventDetails) => Promise<void>} discard
 */
export function linkOf(context, changed, discard) {
  const { id, signal, admin } = context;
  const path = at`/calendar/events/${id}`;
  const place = h("div", { class: "stack" });
  const element = h("section", { key: "link", class: "card", "aria-labelledby": "link" }, h("h2", { id: "link", tabindex: "-1" }, "Planning Center"), place);
  /** @type {EventDetails | null} */
  let event = null;
  const numbers = part({
    signal,
    class: "stack tight",
    skeleton: () => null,
    load: () => get("/calendar/status", undefined, signal),
    follows: ["/calendar/status", "/connections"],
    render: (/** @type {CalendarStatus} */ known) => [
      event && (event.link?.state === "linked" || push.value()?.state === "waiting") ? h("p", { class: "quiet" }, checkOf(event, known), ".") : null,
      known.message ? notice("bad", h("p", {}, known.message)) : null,
    ],
  });
  /** @type {import("./part.js").Part<EventPush>} */
  const push = part({
    signal,
    class: "stack",
    skeleton: () => null,
    load: () => get(`${path}/push`, undefined, signal),
    follows: ["/calendar/events", "/connections"],
    onFact: (fact, /** @type {EventPush} */ value) => (fact.body.event && fact.body.event.id !== id ? value : undefined),
    render: (/** @type {EventPush} */ state) => {
      const known = numbers.value();
      if (known) queueMicrotask(() => numbers.show(known));
      return event && !event.link ? pushed(event, state) : null;
    },
  });
  const pushing = syncNow(context, {
    label: "Push to Planning Center",
    path: `${path}/push`,
    product: "calendar",
    key: "push",
    before: askToPush,
    said: "handed_off",
    done: () => Promise.all([push.reload(), changed(null)]),
  });
  const syncing = syncNow(context, { label: "Sync this event now", path: `${path}/sync`, product: "calendar", said: "gone", done: () => Promise.all([changed(null), numbers.reload()]) });
  const feed = admin ? h("details", { key: "feed", ontoggle: openFeed }, h("summary", {}, "Let Planning Center read the calendar feed"), h("div", { class: "stack tight" })) : null;

  /** @param {Event} toggled */
  function openFeed({ currentTarget }) {
    const place = /** @type {HTMLElement} */ (currentTarget).querySelector("div");
    if (place && !place.hasChildNodes()) place.append(feedOf(context).element);
  }

  async function askToPush() {
    if (!event) return false;
    const state = push.value();
    return confirm({
      title: `Push ${event.title} to Planning Center?`,
      text: h(
        "ul",
        { class: "bullets" },
        h("li", {}, `Planning Center is asked to create this event${isSeries(event) ? ` with ${count(event.occurrence_count, "occurrence")}` : ""}. From then on the two are linked, and changes there are taken over here.`),
        state?.may_create === false
          ? h("li", {}, "When last asked, ", when(state.may_create_at), ", it did not let events be created from here. If so, nothing is created, and you see how to create it there yourself.")
          : h("li", {}, "If Planning Center does not allow that, nothing is created, and you see how to create it there yourself."),
        h("li", {}, "Nothing changes here."),
      ),
      verb: "Push to Planning Center",
      dangerous: false,
      work: () => undefined,
    });
  }

  /** Focus the section again if what had the focus is gone. */
  function refocus() {
    if (document.activeElement === document.body || document.activeElement?.localName === "h1") document.getElementById("link")?.focus();
  }

  /** @param {EventDetails} event @param {EventPush} state */
  function pushed(event, state) {
    if (state.state === "asked") {
      return [
        h("p", { key: "asked" }, status("busy", "Not there yet", { pill: true }), " Planning Center is asked to create this event", state.by_name ? ` for ${state.by_name}` : "", ", ", when(state.asked_at), "."),
        state.note ? notice("warn", h("p", {}, state.note)) : null,
        pushing.said,
      ];
    }
    if (state.state === "waiting") return handOff(event, state);
    return [
      h("p", { key: "none" }, "This event is not linked: changes in Planning Center do not come here."),
      admin
        ? h("div", { key: "acts", class: "row" }, h("a", { key: "choose", class: "button", href: at`/events/${id}/link` }, "Link to an existing event"), pushing.button)
        : h("p", { class: "quiet" }, "Administrators link events."),
      pushing.said,
    ];
  }

  /** @param {EventDetails} event @param {EventPush} state */
  function handOff(event, state) {
    const first = event.occurrences.find((one) => !one.cancelled) ?? event;
    return [
      h(
        "p",
        { key: "waiting" },
        status("warn", "Not there yet", { pill: true }),
        // Other pushes wait because Planning Center did not answer, or the connection ended.
        state.may_create === false ? " Planning Center does not let us create events. This one waits until somebody creates it there. " : " We look for it in Planning Center, and link the two as soon as one event there has this title and start. ",
        state.by_name ? `${state.by_name} asked for it ` : "It was asked for ",
        when(state.asked_at),
        ".",
      ),
      state.note ? notice("warn", h("p", {}, state.note)) : null,
      // A note says that it is there already, or may be.
      state.note
        ? null
        : [
            h("h3", {}, "Create it in Planning Center"),
            h("p", {}, "As soon as Planning Center has an event with this title and start, we link the two."),
            copyable([
              ["Title", event.title],
              ["When", whenOf(first, event.time_zone, true)],
              ["Repeats", repeatsOf(event) || null],
              ["Where", event.location],
              ["Description", event.description],
            ]),
            h("p", { key: "new" }, openAt(state.new_event_url, event.title, "Open the new-event page in Planning Center")),
          ],
      feed,
      admin
        ? h(
            "div",
            { key: "acts", class: "row" },
            h("a", { key: "choose", class: "button", href: at`/events/${id}/link` }, "Link to an existing event"),
            pushing.button,
            action("Stop waiting", stopWaiting, { key: "stop" }),
          )
        : null,
      pushing.said,
    ];
  }

  async function stopWaiting() {
    await remove(`${path}/push`);
    announce("We no longer look for this event. Nothing was changed in Planning Center.");
    await push.reload();
    refocus();
  }

  /** @param {EventDetails} event @param {EventLink} link */
  function linked(event, link) {
    const differs = link.differs.map((field) => fieldName(field).toLowerCase());
    return [
      h(
        "dl",
        { class: "facts" },
        h("dt", {}, "There"),
        h("dd", {}, link.title_there),
        h("dt", {}, "Linked"),
        h("dd", {}, when(link.linked_at), link.linked_by_name ? ` by ${link.linked_by_name}` : " by itself"),
      ),
      numbers.element,
      link.missing_since ? notice("warn", h("p", {}, "Planning Center has not shown this event since ", when(link.missing_since), ". Nothing was changed. We look again until that is certain.")) : null,
      differs.length > 0
        ? notice("warn", h("p", {}, h("strong", {}, "Differs from Planning Center: "), `${sentenceCase(listed(differs))} ${differs.length > 1 || differs[0] === "dates" ? "were" : "was"} put back here, and ${differs.length > 1 || differs[0] === "dates" ? "stay" : "stays"} until somebody syncs this event by hand.`))
        : null,
      link.note ? notice("calm", h("p", {}, link.note)) : null,
      h("div", { key: "acts", class: "row" }, openAt(link.url, link.title_there), syncing.button, admin ? action("Unlink", () => unlink(link), { key: "unlink" }) : null),
      syncing.said,
      pushing.said,
    ];
  }

  /** @param {EventDetails} event @param {EventLink} link */
  function gone(event, link) {
    return [
      notice(
        "warn",
        h("p", {}, link.note ?? ["Deleted in Planning Center ", when(link.gone_at), "."], " The event stays here. If it returns there, it is linked again by itself."),
        admin
          ? h(
              "div",
              { key: "choice", class: "row" },
              action("Keep here", keep, { key: "keep" }),
              action("Remove here", () => discard(event), { key: "remove" }),
              h("a", { key: "choose", href: at`/events/${id}/link` }, "Link to another event"),
            )
          : null,
      ),
      syncing.said,
    ];
  }

  async function keep() {
    await changed(await post(`${path}/link/keep`));
    announce("It is kept here, and no longer looked for in Planning Center.");
    refocus();
  }

  /** @param {EventLink} link */
  async function unlink(link) {
    const done = await confirm({
      title: `Unlink from ${link.title_there}?`,
      text: h(
        "ul",
        { class: "bullets" },
        h("li", {}, "Both events stay, here and in Planning Center, as they are now."),
        h("li", {}, "Changes in Planning Center no longer come here."),
        h("li", {}, "The two can be linked again at any time."),
      ),
      verb: "Unlink",
      dangerous: false,
      work: async () => changed(await remove(`${path}/link`)),
    });
    if (!done) return;
    announce("Unlinked. Both events stay.");
    await push.reload();
    refocus();
  }

  return {
    element,
    /** @param {EventDetails} now */
    show(now) {
      event = now;
      const { link } = now;
      if (link && link.differs.length > 0) syncing.forget();
      update(place, link ? (link.state === "gone" ? gone(now, link) : linked(now, link)) : [push.element, numbers.element]);
      const [state, known] = [push.value(), numbers.value()];
      if (state) push.show(state);
      else if (known) numbers.show(known);
    },
  };
}
