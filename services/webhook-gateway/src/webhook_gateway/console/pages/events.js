// Events: as a list by title, or as a month.

import { at, get } from "../api.js";
import { h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { eventOf, extentOf, repeatsOf } from "../parts/event.js";
import { chips, list } from "../parts/list.js";
import { heading } from "../parts/look.js";
import { linkStatus } from "../parts/member.js";
import { part } from "../parts/part.js";
import { searchBox } from "../parts/search.js";

/** @typedef {import("../types.d.ts").EventSummary} EventSummary */
/** @typedef {import("../app.js").Context} Context */

/** @param {Context} context */
export async function show(context) {
  const { main, query, admin } = context;
  const views = chips("View", context, "view", [
    ["", "List"],
    ["month", "Month"],
  ]);
  main.append(heading("Events", h("a", { href: "/events/suggestions" }, "Suggested links"), admin ? h("a", { href: "/events/new" }, "Add an event") : null), views);
  if (query.get("view") === "month") return (await import("../parts/month.js")).showMonth(context);
  return listed(context);
}

/** @param {Context} context */
async function listed(context) {
  const { main, query, signal, admin } = context;
  const states = chips("Planning Center", context, "state", [
    ["", "All"],
    ["linked", "Linked"],
    ["unlinked", "Not linked"],
    ["gone", "Deleted there"],
  ]);
  const [q, state] = [query.get("q"), query.get("state")];
  /** As read last, since facts do not tell links. @type {Map<string, EventSummary>} */
  const known = new Map();
  const events = list(context, {
    caption: "Events by title",
    columns: ["Title", "When", "Where", "Planning Center"],
    noun: ["event", "events"],
    load: async (after, limit) => {
      /** @type {import("../types.d.ts").Page<EventSummary>} */
      const page = await get("/calendar/events", { after, limit, q, state }, signal);
      for (const event of page.items) known.set(event.id, event);
      return page;
    },
    id: (/** @type {EventSummary} */ event) => event.id,
    href: (event) => at`/events/${event.id}`,
    cells: (event) => [event.title, [extentOf(event), h("div", { class: "quiet small" }, repeatsOf(event))], event.location, linkStatus(event, "Not linked")],
    file: downloads("/calendar/events.csv", { q, state }),
    follows: ["/calendar/events"],
    onFact: (fact) => {
      if (fact.type === "EventRemoved") return { id: fact.body.event_id, item: null };
      const changed = eventOf(fact);
      if (!changed) return undefined;
      const before = known.get(changed.id);
      return before && { id: changed.id, item: { ...before, ...changed } };
    },
    empty: () =>
      q || state
        ? [h("h2", {}, "No event matches"), h("p", {}, h("a", { href: "/events" }, "Show all events"))]
        : [
            h("h2", {}, "No events yet"),
            h("p", {}, "Events of your church are listed here by their title, single ones and series, and in the month on the days on which they take place."),
            admin ? h("p", {}, h("a", { href: "/events/new" }, "Add the first event")) : h("p", {}, "Administrators add them."),
            connecting(context),
          ],
  });
  main.append(searchBox(context, "Search events", "Title"), states, events.element);
  await events.ready;
}

/** What Planning Center has to do with an empty list. @param {Context} context */
const connecting = ({ signal }) =>
  part({
    signal,
    follows: ["/connections"],
    skeleton: () => null,
    load: () => get("/connections", undefined, signal),
    render: (/** @type {import("../types.d.ts").Connections} */ { calendar }) =>
      calendar.state === "connected"
        ? h("p", { class: "quiet" }, `Planning Center Calendar is connected with ${calendar.pco_organization_name}.`)
        : h("p", { class: "quiet" }, "Events will be linked with Planning Center's once Planning Center Calendar is connected on the ", h("a", { href: "/integrations" }, "Integrations page"), "."),
  }).element;
