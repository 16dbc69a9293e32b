// Linking an event: suggestions, search in Planning Center, and the comparison before anything is overwritten.

import { at, get, post } from "../api.js";
import { announce, h } from "../parts/dom.js";
import { extentOf } from "../parts/event.js";
import { action, field, heading, notice, status } from "../parts/look.js";
import { named, overwrites } from "../parts/overwrites.js";
import { part } from "../parts/part.js";
import { Problem, sentenceOf } from "../parts/problem.js";
import { MOST } from "../parts/search.js";
import { openAt } from "../parts/there.js";
import { whenOf } from "../parts/times.js";
import { sentenceCase } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Comparison} Comparison */
/** @typedef {import("../types.d.ts").EventDetails} EventDetails */
/** @typedef {import("../types.d.ts").EventThere} EventThere */
/** @typedef {import("../types.d.ts").InstanceThere} InstanceThere */
/** @typedef {import("../app.js").Context} Context */

/** @type {Record<string, import("../parts/look.js").Tone>} */
export const STRENGTHS = { "Very likely": "good", Likely: "calm", Possible: "calm" };
/** Occurrences of an event that are shown at once. */
const FEW = 3;

/** @param {Context} context */
export async function show(context) {
  const { id, main, query, signal, admin, absent } = context;
  /** @type {EventDetails} */
  const event = await get(at`/calendar/events/${id}`, undefined, signal).catch(absent);
  const back = at`/events/${id}`;
  const title = heading(`Link ${event.title}`, h("a", { href: back }, "Back to the event"));
  if (!admin || event.link?.state === "linked") {
    const why = admin ? `It is linked with ${event.link?.title_there} already. Unlink it first to choose another one.` : "Administrators link events. Nothing was changed; ask one of them.";
    main.append(title, h("p", {}, why));
    return;
  }
  const there = query.get("there");
  if (there) return compare(context, event, there);
  main.append(title, h("p", { class: "quiet" }, `Here: ${extentOf(event)}${event.location ? `, ${event.location}` : ""}. You see what would be overwritten before anything is linked.`));
  main.append(suggestionsOf(context, event), searchOf(context));
}

/** @param {Context} context @param {string} event @param {string | null} [occurrence] */
const compareAt = ({ here }, event, occurrence = null) => here({ there: event, occurrence });

/** @param {Context} context @param {EventDetails} event */
function suggestionsOf(context, event) {
  const { id, signal } = context;
  const found = part({
    signal,
    load: () => get(at`/calendar/events/${id}/suggestions`, undefined, signal),
    render: (/** @type {import("../types.d.ts").Suggestions} */ { items, complete }) => [
      complete ? null : h("p", { key: "partly" }, "These days have more events in Planning Center than are compared at once. Search below for what is missing."),
      items.length === 0
        ? h("p", {}, complete ? "Planning Center has nothing like it on these days. Search for it below." : "Nothing among those that were compared is like it.")
        : h(
            "ol",
            { class: "plain-list" },
            ...items.map((one) => {
              const day = whenOf(one, event.time_zone, true);
              return h(
                "li",
                { key: `${one.pco_event_id} ${one.pco_event_instance_id}`, class: "card" },
                h("div", { class: "row spread" }, h("h3", {}, one.title), status(STRENGTHS[one.strength] ?? "calm", one.strength, { pill: true })),
                h("p", {}, [day, one.location].filter(Boolean).join(", "), one.pco_event_instance_id ? ": this occurrence alone" : ""),
                h("p", { class: "quiet" }, sentenceCase(one.reasons.join(", ")), "."),
                h("div", { class: "row" }, h("a", { class: "button", href: compareAt(context, one.pco_event_id, one.pco_event_instance_id) }, "Compare", h("span", { class: "hidden-visually" }, `: ${one.title}, ${day}`)), openAt(one.url, one.title)),
              );
            }),
          ),
    ],
  });
  return h("section", { class: "stack", "aria-labelledby": "suggested" }, h("h2", { id: "suggested" }, "Suggestions"), found.element);
}

/** @param {Context} context */
function searchOf(context) {
  const { query, signal } = context;
  const [q, first, last] = [query.get("q"), query.get("first"), query.get("last")];
  const form = h(
    "form",
    {
      role: "search",
      class: "stack tight",
      onsubmit: (/** @type {SubmitEvent} */ submitted) => {
        submitted.preventDefault();
        const data = new FormData(form);
        context.go(context.here({ q: String(data.get("q")).trim(), first: String(data.get("first")), last: String(data.get("last")), search: "1" }));
      },
    },
    h(
      "div",
      { class: "fields" },
      field("Name", "q", { value: q, most: MOST, hint: "Part of the name in Planning Center." }),
      field("From", "first", { type: "date", value: first, max: "2199-12-29", hint: "Empty: today." }),
      field("To", "last", { type: "date", value: last, max: "2199-12-29", hint: "Empty: a year." }),
    ),
    h("div", { class: "row" }, h("button", {}, "Search Planning Center")),
  );
  /** @type {Map<string, string>} */
  const titles = new Map();
  /** The titles of the events that are linked already. @param {EventThere[]} items */
  async function learn(items) {
    const ids = new Set(items.flatMap((one) => [one.linked_to, ...one.instances.map(({ linked_to }) => linked_to)]));
    await Promise.all(
      [...ids].map(async (id) => {
        if (!id || titles.has(id)) return;
        /** @type {EventDetails | null} */
        const event = await get(at`/calendar/events/${id}`, undefined, signal).catch(() => null);
        if (event) titles.set(id, event.title);
      }),
    );
  }
  /** @param {string} id */
  const linkedTo = (id) => h("span", {}, "Already linked to ", h("a", { href: at`/events/${id}` }, titles.get(id) ?? "another event"));

  const found = query.has("search")
    ? part({
        signal,
        load: async () => {
          /** @type {import("../types.d.ts").EventsThere} */
          const answer = await get("/calendar/there", { q, first_day: first, last_day: last }, signal);
          await learn(answer.items);
          announce(answer.items.length === 0 ? "Nothing was found." : `${answer.items.length} found.`);
          return answer;
        },
        render: (/** @type {import("../types.d.ts").EventsThere} */ { items, more, time_zone }) => [
          items.length === 0 ? h("p", { key: "none" }, "Planning Center has no such event on these days. Search for less of the name, or for more days.") : null,
          h("ul", { class: "plain-list", "aria-label": "Found in Planning Center" }, ...items.map((one) => foundOne(one, time_zone))),
          more ? h("p", { key: "more", class: "quiet" }, "There are more: search with more of the name, or for fewer days.") : null,
        ],
      })
    : null;

  /** @param {EventThere} one @param {string} zone */
  function foundOne(one, zone) {
    const [first] = one.instances;
    const series = one.repeats !== null || one.instances.length > 1;
    const words = series ? "Compare the whole series" : "Compare";
    const shown = one.instances.slice(0, FEW);
    const others = one.instances.slice(FEW);
    return h(
      "li",
      { key: one.pco_event_id, class: "card" },
      h("div", { class: "row spread" }, h("h3", {}, one.title), openAt(one.url, one.title)),
      h("p", {}, one.repeats ? `Repeats: ${one.repeats}` : !first ? "No dates" : series ? "" : [whenOf(first, zone, true), first.location].filter(Boolean).join(", ")),
      one.linked_to
        ? h("p", {}, linkedTo(one.linked_to), series ? ", with all its occurrences" : "", ".")
        : h("div", { class: "row" }, h("a", { class: "button", href: compareAt(context, one.pco_event_id) }, words, h("span", { class: "hidden-visually" }, `: ${one.title}`))),
      series && !one.linked_to
        ? [h("ul", { class: "plain-list", "aria-label": `Occurrences of ${one.title}` }, ...shown.map(occurrence)), others.length > 0 ? h("details", { key: "others" }, h("summary", {}, `${others.length} more`), h("ul", { class: "plain-list" }, ...others.map(occurrence))) : null]
        : null,
    );
    /** @param {InstanceThere} at */
    function occurrence(at) {
      const day = whenOf(at, zone, true);
      return h(
        "li",
        { key: at.pco_event_instance_id, class: "row" },
        h("span", {}, [day, at.title === one.title ? null : at.title, at.location].filter(Boolean).join(", ")),
        at.linked_to ? linkedTo(at.linked_to) : h("a", { href: compareAt(context, one.pco_event_id, at.pco_event_instance_id) }, "Compare this occurrence", h("span", { class: "hidden-visually" }, `: ${one.title}, ${day}`)),
      );
    }
  }
  return h("section", { class: "stack", "aria-labelledby": "search" }, h("h2", { id: "search" }, "Search in Planning Center"), form, found?.element);
}

/** @param {Context} context @param {EventDetails} event @param {string} there */
function compare(context, event, there) {
  const { id, main, query, signal } = context;
  const occurrence = query.get("occurrence");
  const title = heading("Compare before linking", h("a", { href: context.here({ there: null, occurrence: null }) }, "Choose another one"));
  const said = h("div", { class: "stack" });
  const path = at`/calendar/events/${id}`;
  /** @type {import("../parts/part.js").Part<{ now: EventDetails, found: Comparison }>} */
  const page = part({
    signal,
    load: async () => {
      const [now, found] = await Promise.all([get(path, undefined, signal), get(`${path}/comparison`, { pco_event_id: there, pco_event_instance_id: occurrence }, signal)]);
      return { now, found };
    },
    render: ({ now, found }) => [
      h("p", {}, h("strong", {}, now.title), " here, and ", h("strong", {}, found.title_there), occurrence ? ", one occurrence," : "", " in Planning Center. ", openAt(found.url, found.title_there)),
      found.linked_to
        ? notice("warn", h("p", {}, "This is already linked to ", h("a", { href: at`/events/${found.linked_to.id}` }, found.linked_to.title), ". Unlink that one first, or choose another one."))
        : [
            overwrites(now, found),
            found.note ? notice("warn", h("p", {}, found.note)) : null,
            h("p", { key: "stays", class: "quiet" }, "Nothing changes in Planning Center. What is overwritten here stays in the event's history and can be put back. From then on, title, dates, location and description come from Planning Center."),
            h("div", { key: "acts", class: "row" }, action(verb(found), () => link(found), { class: "primary", key: "confirm" }), h("a", { href: at`/events/${id}` }, "Cancel")),
          ],
    ],
  });

  /** @param {Comparison} found */
  function verb(found) {
    const what = named(found);
    return what ? `Link and overwrite ${what}` : "Link, nothing is overwritten";
  }

  /** @param {Comparison} found */
  async function link(found) {
    said.replaceChildren();
    try {
      await post(`${path}/link`, { pco_event_id: there, pco_event_instance_id: occurrence, digest: found.digest, version: found.version });
    } catch (error) {
      if (!(error instanceof Problem) || !["comparison-moved", "version-conflict", "already-linked"].includes(error.kind)) throw error;
      await page.reload();
      const line = notice("warn", h("p", { tabindex: "-1" }, sentenceOf(error)));
      said.replaceChildren(line);
      line.querySelector("p")?.focus();
      return;
    }
    announce(`Linked with ${found.title_there}.`);
    context.go(at`/events/${id}`, { replace: true });
  }
  main.append(title, said, h("section", { class: "card", "aria-label": "Comparison" }, page.element));
}
