// Suggested links, to confirm in bulk.

import { at, get, post } from "../api.js";
import { announce, h, update } from "../parts/dom.js";
import { isSeries, repeatsOf } from "../parts/event.js";
import { list } from "../parts/list.js";
import { action, confirm, heading, notice, status } from "../parts/look.js";
import { openAt } from "../parts/there.js";
import { whenOf } from "../parts/times.js";
import { count, sentenceCase } from "../parts/words.js";

/** @typedef {import("../types.d.ts").LinkedOne} LinkedOne */
/** @typedef {import("../types.d.ts").Suggested} Suggested */

/** Links of one request. */
const AT_ONCE = 100;

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, signal, admin } = context;
  /** Chosen rows, by the event's id. @type {Map<string, Suggested>} */
  const chosen = new Map();
  /** Rows that were read. @type {Map<string, Suggested>} */
  const known = new Map();
  const outcome = h("div", { class: "stack" });
  const acts = h("div", { class: "row" });

  const rows = list(context, {
    caption: "Suggested links",
    columns: ["Here", "In Planning Center", "How likely", "Why"],
    noun: ["event that is not linked", "events that are not linked"],
    load: async (after, limit) => {
      /** @type {import("../types.d.ts").Page<Suggested>} */
      const page = await get("/calendar/suggestions", { after, limit: Math.min(limit, 50) }, signal);
      if (after === null) known.clear();
      for (const one of page.items) known.set(one.event.id, one);
      for (const id of chosen.keys()) if (!known.has(id)) chosen.delete(id);
      queueMicrotask(draw);
      return page;
    },
    most: 50,
    dear: true,
    id: (/** @type {Suggested} */ one) => one.event.id,
    cells: (one) => [admin ? h("div", { class: "picked" }, box(one), hereOf(one)) : hereOf(one), ...thereOf(one)],
    empty: () => [h("h2", {}, "No event waits for a link"), h("p", {}, "Upcoming events that are not linked are listed here, each with what it most likely is in Planning Center."), h("p", {}, h("a", { href: "/events" }, "Go to Events"))],
  });

  /** @param {Suggested} one */
  const box = (one) =>
    one.suggestion
      ? h("input", {
          type: "checkbox",
          key: one.event.id,
          "aria-label": `Link ${one.event.title} with ${one.suggestion.title}`,
          checked: chosen.has(one.event.id),
          onchange: (/** @type {Event} */ event) => {
            if (/** @type {HTMLInputElement} */ (event.currentTarget).checked) chosen.set(one.event.id, one);
            else chosen.delete(one.event.id);
            draw();
          },
        })
      : null;

  function draw() {
    const likely = [...known.values()].filter((one) => one.suggestion?.strength === "Very likely" && !chosen.has(one.event.id));
    update(
      acts,
      admin ? action(chosen.size === 0 ? "Link the chosen events" : `Link ${count(chosen.size, "event")}`, link, { key: "link", class: "primary", disabled: chosen.size === 0 }) : null,
      admin && likely.length > 0 ? action(`Choose ${count(likely.length, "very likely one")}`, () => choose(likely), { key: "likely" }) : null,
      admin && chosen.size > 0 ? action("Choose none", () => choose([]), { key: "none" }) : null,
    );
  }

  /** @param {Suggested[]} those none: nothing stays chosen */
  function choose(those) {
    if (those.length === 0) chosen.clear();
    for (const one of those) chosen.set(one.event.id, one);
    for (const input of rows.element.querySelectorAll("input")) input.checked = chosen.has(input.dataset.key ?? "");
    draw();
    announce(`${count(chosen.size, "event")} chosen.`);
  }

  async function link() {
    const those = [...chosen.values()];
    /** @type {LinkedOne[]} */
    const results = [];
    const done = await confirm({
      title: `Link ${count(those.length, "event")}?`,
      text: h(
        "ul",
        { class: "bullets" },
        h("li", {}, `${those.length === 1 ? "It takes" : "They take"} over title, dates, location and description from Planning Center. To see first what would be overwritten, open the event and link it there.`),
        h("li", {}, "What is overwritten stays in each event's history and can be put back."),
        h("li", {}, "Nothing changes in Planning Center."),
      ),
      verb: `Link ${count(those.length, "event")}`,
      dangerous: false,
      work: async () => {
        for (let from = 0; from < those.length; from += AT_ONCE) {
          const links = those.slice(from, from + AT_ONCE).map(({ event, suggestion }) => ({
            event_id: event.id,
            pco_event_id: suggestion?.pco_event_id,
            pco_event_instance_id: suggestion?.pco_event_instance_id,
            version: event.version,
          }));
          /** @type {import("../types.d.ts").LinkedMany} */
          const answer = await post("/calendar/links", { links });
          results.push(...answer.items);
        }
      },
    });
    if (!done) return;
    const titles = new Map(those.map(({ event }) => [event.id, event.title]));
    const linked = results.filter((one) => one.event).length;
    const sentence = linked === results.length ? `${count(linked, "event")} linked.` : `${linked} of ${count(results.length, "event")} linked.`;
    const head = h("h2", { tabindex: "-1" }, sentence);
    outcome.replaceChildren(
      h(
        "section",
        { class: "card", "aria-label": "Outcome" },
        head,
        h(
          "ul",
          { class: "plain-list" },
          ...results.map((one) =>
            h(
              "li",
              {},
              status(one.event ? "good" : "bad", one.event ? "Linked" : "Not linked"),
              " ",
              h("a", { href: at`/events/${one.event_id}` }, one.event?.title ?? titles.get(one.event_id) ?? "An event"),
              one.sentence ? `: ${one.sentence}` : "",
            ),
          ),
        ),
      ),
    );
    chosen.clear();
    announce(sentence);
    head.focus();
    await rows.reload();
  }

  main.append(heading("Suggested links", h("a", { href: "/events" }, "Events")));
  main.append(h("p", { class: "quiet" }, "Upcoming events here that are not linked, each with what it most likely is in Planning Center."));
  if (!admin) main.append(notice("calm", h("p", {}, "Administrators link events.")));
  main.append(outcome, acts, rows.element);
  draw();
  await rows.ready;
}

/** @param {Suggested} one */
const hereOf = ({ event }) =>
  h(
    "div",
    { class: "stack tight" },
    h("a", { href: at`/events/${event.id}` }, event.title),
    h("span", { class: "small quiet" }, isSeries(event) ? `${repeatsOf(event)}, from ${whenOf({ ...event, starts_at: event.first_starts_at }, event.time_zone)}` : whenOf(event, event.time_zone, true), event.location ? `, ${event.location}` : ""),
  );

/** @param {Suggested} one */
function thereOf({ event, suggestion, complete }) {
  if (!suggestion) return [h("span", {}, complete ? "Nothing like it. " : "Nothing like it among those that were compared: the day has more. ", h("a", { href: at`/events/${event.id}/link` }, "Search", h("span", { class: "hidden-visually" }, ` for ${event.title}`))), "", ""];
  return [
    h(
      "div",
      { class: "stack tight" },
      h("a", { href: `${at`/events/${event.id}/link`}?there=${encodeURIComponent(suggestion.pco_event_id)}${suggestion.pco_event_instance_id ? `&occurrence=${encodeURIComponent(suggestion.pco_event_instance_id)}` : ""}` }, suggestion.title, h("span", { class: "hidden-visually" }, ": compare before linking")),
      h("span", { class: "small quiet" }, whenOf(suggestion, event.time_zone, true), suggestion.location ? `, ${suggestion.location}` : "", suggestion.pco_event_instance_id ? ", this occurrence alone" : ""),
      h("span", { class: "small" }, openAt(suggestion.url, suggestion.title)),
    ),
    status(suggestion.strength === "Very likely" ? "good" : "calm", suggestion.strength),
    sentenceCase(suggestion.reasons.join(", ")),
  ];
}
