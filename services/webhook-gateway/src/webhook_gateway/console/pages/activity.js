// Activity: the messages from Planning Center, hour by hour and one by one, and what became of each.

import { get } from "../api.js";
import { KINDS, OUTCOME_CHIPS, STATE_CHIPS, aboutOf, addressOf, deliveryOutcome, deliveryStatus, nameOf, parted, recordLink } from "../parts/deliveries.js";
import { h } from "../parts/dom.js";
import { failedMessages } from "../parts/failed_messages.js";
import { hoursOf } from "../parts/hours.js";
import { chips, list } from "../parts/list.js";
import { action, heading, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { sending } from "../parts/send_again.js";
import { statements } from "../parts/statement.js";
import { count, exact, number, sentenceCase } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Delivery} Delivery */
/** @typedef {import("../types.d.ts").Activity} Activity */
/** @typedef {import("../app.js").Context} Context */

/** Milliseconds between reads while something waits to be acted on. */
const AGAIN = 5000;
const HOUR = 3_600_000;
/** Filters of the log in the address; the API has the same names. */
const FILTERS = ["product", "state", "outcome", "cause", "resource_type", "resource_id", "record_id", "since", "until"];
/** @type {Record<string, string>} */
const REASONS = {
  "unknown address": "Their address is unknown",
  "retired address": "They came for a connection that has ended",
  encoded: "They were compressed, which Planning Center does not do",
  "too large": "They were too large",
  "too slow": "They took too long to arrive",
  "too many": "They were too many at once",
  "not signed": "Their signature is not Planning Center's, so somebody else may have sent them",
  "not stored": "They could not be stored at that moment, so Planning Center sends them again",
};

/** @param {Context} context */
export async function show(context) {
  const { main, signal, admin, query } = context;
  // The chips come first: they drop unknown values from the address before it is read.
  const filters = [
    chips("Product", context, "product", [["", "Both"], ["people", "People"], ["calendar", "Calendar"]]),
    chips("State", context, "state", STATE_CHIPS),
    chips("What it is about", context, "resource_type", KINDS),
    chips("Outcome", context, "outcome", OUTCOME_CHIPS),
  ];
  const filter = () => Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]).filter(([, value]) => value));
  const again = sending(context, () => Promise.all([log.reload(), day.reload(), problems.reload()]));
  const day = part({
    signal,
    load: () => get("/webhooks/activity", undefined, signal),
    follows: ["/webhooks/activity"],
    render: (/** @type {Activity} */ known) => [hoursOf(known.hours, ({ hour }) => context.here({ since: hour, until: new Date(Date.parse(hour) + HOUR).toISOString(), at: null, rows: null })), refusals(known)],
  });
  const problems = failedMessages(context, again, () => log.reload());
  const log = list(context, {
    caption: "Messages from Planning Center",
    columns: ["Message", "About", "State", "Outcome", "Received"],
    noun: ["message", "messages"],
    load: async (after, limit) => {
      const page = await get("/webhooks/deliveries", { ...filter(), after, limit }, signal);
      shownTotal(page.total, page.more);
      return page;
    },
    id: (/** @type {Delivery} */ delivery) => String(delivery.number),
    href: (delivery) => addressOf(delivery.number),
    cells: (delivery) => [
      delivery.name ? h("code", { class: "small" }, ...parted(delivery.name)) : nameOf(delivery),
      h("span", {}, aboutOf(delivery), recordLink(delivery) ? " · " : "", recordLink(delivery)),
      deliveryStatus(delivery.state),
      delivery.outcome === "failed" || delivery.outcome === "unreadable" ? delivery.sentence : deliveryOutcome(delivery.outcome),
      when(delivery.received_at),
    ],
    follows: ["/webhooks/deliveries"],
    grows: true,
    onFact: (fact, known) => {
      if (fact.type !== "WebhookApplied") return undefined;
      const { version, outcome, sentence, record_kind, record_id, applied_at } = fact.body;
      const before = known(String(version));
      if (!before) return undefined;
      /** @type {Delivery["state"]} */
      const state = outcome === "failed" ? "failed" : "applied";
      return { id: String(version), item: { ...before, state, outcome, sentence, record_kind, record_id, applied_at } };
    },
    empty: () =>
      Object.keys(filter()).length > 0
        ? [h("h3", {}, "No message fits"), h("p", {}, h("a", { href: "/activity" }, "Show every message"))]
        : [h("h3", {}, "No message yet"), h("p", {}, "As soon as something changes in Planning Center, its message is listed here with what became of it."), h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations"))],
  });
  const acts = h("div", { class: "row" });

  /** @param {number} total @param {boolean} more */
  function shownTotal(total, more) {
    const text = Object.keys(filter()).length > 0 ? "Send all shown again" : "Send all again";
    acts.replaceChildren(
      ...(admin && total > 0 ? [action(text, () => again.begin(filter()))] : []),
      ...(more ? [h("p", { class: "quiet" }, `More than ${number(total)} messages fit.`)] : []),
    );
  }

  main.append(
    heading("Activity", h("a", { href: "/runs" }, "Sync history"), h("a", { href: "/events/syncs" }, "Syncs of linked events"), h("a", { href: "/activity/settings" }, "Settings of the log")),
    again.said,
    section("day", "Last 24 hours", day.element),
    h("section", { class: "stack", "aria-labelledby": "live" }, h("h2", { id: "live" }, "Connection"), statements(context).element),
    section("problems", "Problems", problems.element),
    h("section", { class: "stack", "aria-labelledby": "log" }, h("h2", { id: "log" }, "Messages"), h("div", { class: "stack tight" }, ...filters, resourceBox(context), chosen(context)), acts, log.element),
  );
  // Facts tell what was acted on; what was received and waits is seen by reading again.
  const timer = setInterval(() => {
    if (document.hidden || !log.values().some((delivery) => delivery.state === "waiting")) return;
    log.refresh();
    void day.reload();
  }, AGAIN);
  signal.addEventListener("abort", () => clearInterval(timer));
  await log.ready;
}

/** @param {string} id @param {string} title @param {import("../parts/dom.js").Child} content */
const section = (id, title, content) => h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), content);

/** @param {Activity} activity */
function refusals({ refusals: all }) {
  if (all.length === 0) return h("p", { class: "quiet" }, "No attempt to send messages was refused.");
  return h(
    "div",
    { class: "stack tight" },
    h("p", {}, `${count(all.reduce((sum, one) => sum + one.count, 0), "attempt to send messages was", "attempts to send messages were")} refused and not stored:`),
    h("ul", { class: "bullets" }, ...all.map((one) => h("li", { key: one.reason }, `${number(one.count)}: ${REASONS[one.reason] ?? sentenceCase(one.reason.replace(/[_-]+/g, " "))}, last `, when(one.last)))),
  );
}

/** A field for the id in Planning Center. @param {Context} context */
function resourceBox(context) {
  return h(
    "form",
    {
      role: "search",
      class: "search",
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        const id = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget)).get("id");
        context.go(context.here({ resource_id: String(id).trim(), rows: null, at: null }));
      },
    },
    h("input", { type: "search", name: "id", maxlength: "100", "aria-label": "ID in Planning Center", placeholder: "ID in Planning Center", value: context.query.get("resource_id") }),
    h("button", {}, "Find"),
  );
}

/** Filters that no chip shows, each with the way out. @param {Context} context */
function chosen({ query, here }) {
  const [since, until, cause, record] = ["since", "until", "cause", "record_id"].map((name) => query.get(name));
  /** @type {[sentence: string, without: Record<string, null>][]} */
  const shown = [];
  if (since || until) shown.push([`Received ${[since ? `from ${exact(since)}` : "", until ? `until ${exact(until)}` : ""].filter(Boolean).join(" ")}`, { since: null, until: null }]);
  if (cause) shown.push([`Cause: ${cause}`, { cause: null }]);
  if (record) shown.push(["Only messages that touched one record here", { record_id: null }]);
  return shown.map(([sentence, without]) => h("p", { class: "row small" }, h("span", {}, sentence), h("a", { href: here({ ...without, rows: null, at: null }) }, "Show without this filter")));
}

