// Integrations: the two cards, connecting, disconnecting.

import { at, get, post } from "../api.js";
import { calendarPart } from "../parts/calendar_card.js";
import { h } from "../parts/dom.js";
import { action, heading, notice, status, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { sentenceOf } from "../parts/problem.js";
import { progressOf, runStatus } from "../parts/progress.js";
import { liveLine } from "../parts/statement.js";
import { PRODUCTS, count, inProgress, number } from "../parts/words.js";

/** @typedef {import("../types.d.ts").ConnectionCard} ConnectionCard */
/** @typedef {import("../types.d.ts").Connections} Connections */
/** @typedef {import("../types.d.ts").PeopleStatus} PeopleStatus */
/** @typedef {import("../types.d.ts").Product} Product */
/** @typedef {import("../app.js").Context} Context */
/** @typedef {ReturnType<typeof peopleParts> & { calendar: import("../parts/part.js").Part<import("../types.d.ts").CalendarStatus>, live: Record<Product, ReturnType<typeof liveLine>> }} Figures */

/** @type {Record<Product, { about: string, read: string, written: string, never: string, role: string }>} */
const AGREED = {
  people: {
    about: "Keeps members and families in sync in both directions.",
    read: "People with their primary email, phone and address, birthdate and gender; households.",
    written: "What you change here, and the people, children and families that you add here.",
    never: "Giving, check-ins, groups, notes, other emails, phones and addresses. Nobody is deleted in Planning Center.",
    role: "Editor in Planning Center People",
  },
  calendar: {
    about: "Brings the dates and places of linked events here from Planning Center.",
    read: "Events with their dates, times and locations.",
    written: "Nothing, unless you ask for it on an event's page.",
    never: "Rooms, resources and approvals.",
    role: "Viewer in Planning Center Calendar",
  },
};

/** Loaded when an administrator disconnects. */
const ending = () => import("../parts/disconnect.js");

/** @param {Context} context */
export function show(context) {
  const { main, signal, admin } = context;
  const said = h("div", { class: "stack", role: "status" });
  /** @type {import("../parts/part.js").Part<Connections>} */
  const cards = part({
    signal,
    class: "cards",
    load: () => get("/connections", undefined, signal),
    follows: ["/connections"],
    render: (/** @type {Connections} */ connections) => [
      card(context, connections.people, connections, figures, said, reload),
      card(context, connections.calendar, connections, figures, said, reload),
    ],
    skeleton: () => [0, 1].map(() => h("div", { class: "card", "aria-hidden": "true" }, h("span", { class: "bone" }), h("span", { class: "bone" }), h("span", { class: "bone" }))),
  });
  const reload = () => cards.reload();
  /** The cards' figures as separate parts, so that a failure leaves the rest. */
  const figures = { ...peopleParts(context, cards), calendar: calendarPart(context), live: { people: liveLine(signal, "people"), calendar: liveLine(signal, "calendar") } };
  main.append(
    heading(
      "Integrations",
      h("a", { href: "/runs" }, "Sync history"),
      h("a", { href: "/proof" }, "Proof of sync"),
      h("a", { href: "/settings" }, "People settings"),
    ),
    said,
    cards.element,
  );
  if (!admin) said.append(h("p", { class: "quiet" }, "You can see everything here. Administrators connect and sync."));
  void finishConnecting(said, reload);
}

/**
 * @param {HTMLElement} said
 * @param {() => Promise<void>} reload
 */
async function finishConnecting(said, reload) {
  const returned = sessionStorage.getItem("connecting");
  if (returned === null) return;
  sessionStorage.removeItem("connecting");
  const query = new URLSearchParams(returned);
  if (!query.get("state")) {
    said.prepend(notice("bad", h("p", {}, "This page was opened without a sign-in that you began here. Nothing was changed. Connect from the card below.")));
    return;
  }
  const waiting = notice("busy", h("p", {}, "Finishing the connection with Planning Center."));
  said.prepend(waiting);
  try {
    const { card: connected, reconnected } = await post("/connections/complete", {
      state: query.get("state"),
      ...(query.has("code") ? { code: query.get("code") } : { error: query.get("error") ?? "no_code" }),
    });
    const name = PRODUCTS[/** @type {Product} */ (connected.product)];
    const sentence = reconnected
      ? `${name} is connected again with ${connected.pco_organization_name}. ${connected.product === "people" ? "Everybody is" : "Events are"} linked as before. What changed meanwhile comes with the next ${connected.product === "people" ? "sync" : "check"}.`
      : `${name} is connected with ${connected.pco_organization_name}.`;
    waiting.replaceWith(notice("good", h("p", {}, sentence)));
    await reload();
  } catch (error) {
    waiting.replaceWith(notice("bad", h("p", {}, sentenceOf(error))));
  }
}

/**
 * @param {Context} context
 * @param {import("../parts/part.js").Part<Connections>} cards
 */
function peopleParts(context, cards) {
  const { signal } = context;
  let canSync = true;
  let first = false;
  /** @type {import("../parts/part.js").Part<PeopleStatus>} */
  const numbers = part({
    signal,
    load: () => get("/people/status", undefined, signal),
    follows: ["/people/status"],
    onFact: (fact, /** @type {PeopleStatus} */ value) => {
      const run = fact.body.run;
      return run && inProgress(run) && value.run && value.run.id === run.id
        ? { ...value, run: run.version > value.run.version ? run : value.run }
        : undefined;
    },
    render: (/** @type {PeopleStatus} */ known) => {
      const shown = cards.value();
      if (shown && (canSync !== known.connected || first !== neverSynced(known))) queueMicrotask(() => cards.show(shown));
      canSync = known.connected;
      first = neverSynced(known);
      if (shown?.people.state === "connected") whenReady();
      return statusOf(context, known);
    },
  });
  const conflicts = part({
    signal,
    load: () => get("/conflicts/count", undefined, signal),
    follows: ["/conflicts/count"],
    skeleton: () => null,
    render: (/** @type {{ open: number }} */ { open }) =>
      open > 0
        ? h("div", { class: "row" }, status("bad", count(open, "open conflict"), { pill: true, icon: "split" }), h("a", { href: "/conflicts" }, "View conflicts"))
        : null,
  });
  let asking = false;
  /** Poll until people-sync knows the connection, which happens a moment after connecting. */
  function whenReady() {
    if (canSync || asking) return;
    asking = true;
    setTimeout(() => {
      asking = false;
      if (!signal.aborted) void numbers.reload();
    }, 1000);
  }
  return {
    numbers,
    conflicts,
    canSync: () => {
      whenReady();
      return canSync;
    },
  };
}

/**
 * @param {Context} context
 * @param {PeopleStatus} known
 */
function statusOf({ admin }, known) {
  const running = known.run;
  const asks = running?.state === "waiting" && running.question;
  /** @type {[number, string, string, string][]} */
  const attention = [
    [known.held, "held match", "held matches", "/held"],
    [known.gone, "person gone in Planning Center", "people gone in Planning Center", "/people?state=gone"],
    [known.kept_out, "person kept out of the sync", "people kept out of the sync", "/people?state=kept_out"],
    [known.rejected, "record refused by Planning Center", "records refused by Planning Center", known.last_run ? at`/runs/${known.last_run.id}` : "/runs"],
  ];
  return [
    h(
      "dl",
      { class: "facts" },
      h("dt", {}, "Members"),
      h("dd", {}, h("a", { href: "/people" }, number(known.members)), `, ${number(known.linked_members)} linked`),
      h("dt", {}, "Families"),
      h("dd", {}, h("a", { href: "/families" }, number(known.families)), `, ${number(known.linked_families)} linked`),
      h("dt", {}, "Last sync"),
      h(
        "dd",
        {},
        known.last_run
          ? [h("a", { href: at`/runs/${known.last_run.id}` }, when(known.last_run.finished_at)), " ", runStatus(known.last_run, admin)]
          : "Never",
      ),
      h("dt", {}, "Next sync"),
      h("dd", {}, nextSync(known, admin)),
    ),
    attention.some(([amount]) => amount > 0) &&
      h(
        "ul",
        { class: "plain-list" },
        ...attention.map(([amount, one, many, address]) =>
          amount > 0 ? h("li", {}, h("a", { href: address }, count(amount, one, many))) : null,
        ),
      ),
    running &&
      h(
        "div",
        { key: "run", class: "stack tight" },
        h("div", { class: "row" }, runStatus(running, admin, true)),
        asks ? null : progressOf(running),
        h("p", {}, h("a", { href: at`/runs/${running.id}` }, running.question && asks ? leads(running.question.kind, admin) : "View the sync")),
      ),
  ];
}

/** @param {string} kind of a question @param {boolean} admin */
function leads(kind, admin) {
  if (kind === "first_match") return admin ? "See the question and answer it" : "View the sync";
  return admin ? "Look at the plan and answer" : "Look at the plan";
}

/** Whether no sync has run to its end yet. @param {PeopleStatus | undefined} known */
const neverSynced = (known) => Boolean(known && !known.linked_members && known.last_run?.state !== "done");

/** @param {PeopleStatus} known @param {boolean} admin */
function nextSync(known, admin) {
  if (known.next_run_at) return Date.parse(known.next_run_at) > Date.now() ? when(known.next_run_at) : "In a moment";
  if (!known.connected) return "Once Planning Center is connected again";
  if (known.run) return "After the sync in progress";
  const which = known.last_run ? "next" : "first";
  return admin ? `After the ${which} Sync Now` : `After the ${which} sync`;
}

/** @param {ConnectionCard} card */
function badge(card) {
  switch (card.state) {
    case "connected":
      return status("good", "Connected", { pill: true });
    case "needs_authorization":
      return status("warn", "Needs Authorization", { pill: true });
    case "reconnect_required":
      return status("bad", "Reconnect", { pill: true, icon: "alert" });
    case "closing":
      return status("busy", "Disconnecting", { pill: true });
    default:
      return status("calm", "Not connected", { pill: true });
  }
}

/**
 * @param {Context} context
 * @param {ConnectionCard} card
 * @param {Connections} connections
 * @param {Figures} people
 * @param {HTMLElement} said
 * @param {() => Promise<void>} reload
 */
function card(context, card, connections, people, said, reload) {
  const { product } = card;
  const agreed = AGREED[product];
  const name = PRODUCTS[product];
  const live = card.state === "connected" || card.state === "reconnect_required";
  const unconnected = card.state === "not_connected" || card.state === "needs_authorization";
  return h(
    "section",
    { key: product, class: "card", "aria-labelledby": `card-${product}` },
    h("div", { class: "stack tight" }, h("h2", { id: `card-${product}` }, name), h("div", { class: "row" }, badge(card))),
    h("p", { class: "quiet" }, agreed.about),
    card.state === "reconnect_required" &&
      notice(
        "bad",
        h(
          "p",
          {},
          reason(card, context.admin),
        ),
      ),
    card.state === "closing" && h("p", {}, "No new work is begun. Access is being taken back at Planning Center."),
    live &&
      h(
        "dl",
        { class: "facts" },
        h("dt", {}, "Organization"),
        h("dd", {}, card.pco_organization_name),
        h("dt", {}, "Connected"),
        h("dd", {}, when(card.connected_at), card.connected_by_name && ` by ${card.connected_by_name}`),
        h("dt", {}, "Acts as"),
        h("dd", {}, card.pco_person_name, " in Planning Center"),
      ),
    unconnected && [
      h(
        "dl",
        { class: "facts" },
        h("dt", {}, "Read"),
        h("dd", {}, agreed.read),
        h("dt", {}, "Written"),
        h("dd", {}, agreed.written),
        h("dt", {}, "Never touched"),
        h("dd", {}, agreed.never),
        h("dt", {}, "Role needed"),
        h("dd", {}, agreed.role),
      ),
      card.pco_organization_name &&
        h(
          "p",
          {},
          card.generation > 0
            ? `Was connected with ${card.pco_organization_name}. ${product === "people" ? "Connecting it again links everybody as before, and adds nobody twice." : "Connecting it again finds the linked events as before."}`
            : `This church belongs to ${card.pco_organization_name} in Planning Center: choose it there.`,
        ),
      product === "calendar" && card.generation > 0 && h("p", {}, h("a", { href: "/settings/calendar" }, "Calendar settings")),
    ],
    card.state === "connected" ? people.live[product].element : null,
    product === "people" && !unconnected ? [people.conflicts.element, people.numbers.element] : null,
    product === "calendar" && live ? people.calendar.element : null,
    buttons(context, card, connections, people, said, reload),
  );
}

/** Why a reconnect is needed; an administrator has its button right below. @param {ConnectionCard} card @param {boolean} admin */
function reason(card, admin) {
  const sentence = card.reason ?? "Planning Center no longer accepts our sign-in. Nothing was lost; changes wait. Ask an administrator to reconnect.";
  return admin ? sentence.replace("Ask an administrator to reconnect", "Reconnect to go on") : sentence;
}

/**
 * @param {Context} context
 * @param {ConnectionCard} card
 * @param {Connections} connections
 * @param {Figures} people
 * @param {HTMLElement} said
 * @param {() => Promise<void>} reload
 */
function buttons(context, card, connections, people, said, reload) {
  const { admin } = context;
  const { product, state } = card;
  const name = PRODUCTS[product];
  const connect = async () => {
    const { authorize_url } = await post(at`/connections/${product}/authorize`);
    location.assign(authorize_url);
  };
  /** @param {boolean} preview */
  const sync = async (preview) => {
    const run = await post("/people/runs", { kind: "full", preview });
    context.go(at`/runs/${run.id}`);
  };
  const first = neverSynced(people.numbers.value());
  const other = connections[product === "people" ? "calendar" : "people"];
  const free = other.state === "not_connected" || other.state === "needs_authorization";
  const former = card.generation > 0 && (state === "not_connected" || state === "needs_authorization" || state === "closing");
  const receipt = former && action("View the receipt", async () => (await ending()).showReceipt(context, product), { class: "link" });
  if (!admin) {
    return h(
      "div",
      { class: "row" },
      state === "connected" && product === "calendar" ? h("a", { href: "/events" }, "View events") : null,
      state === "connected" ? null : h("p", { class: "quiet" }, "An administrator can connect it."),
      receipt,
    );
  }
  switch (state) {
    case "connected":
      return h(
        "div",
        { class: "row" },
        product === "people"
          ? (first ? ["Preview", "Sync Now"] : ["Sync Now", "Preview"]).map((label, position) =>
              action(label, () => sync(label === "Preview"), { key: label, class: position === 0 ? "primary" : undefined, disabled: !people.canSync() }),
            )
          : h("a", { href: "/events" }, "View events"),
        action("Disconnect", async () => (await ending()).disconnect(context, card, connections, people.numbers.value(), reload)),
      );
    case "reconnect_required":
      return h(
        "div",
        { class: "row" },
        action("Reconnect", connect, { class: "primary", name: `Reconnect ${name}` }),
        action("Disconnect", async () => (await ending()).disconnect(context, card, connections, people.numbers.value(), reload)),
      );
    case "closing":
      return h("div", { class: "row" }, receipt);
    default:
      return h(
        "div",
        { class: "row" },
        action(state === "needs_authorization" ? "Add Calendar Access" : `Connect ${name}`, connect, { class: "primary" }),
        receipt,
        former && card.pco_organization_name
          ? free
            ? action("Connect another organization", async () => (await ending()).forget(card.pco_organization_name ?? "", said, reload), { class: "link" })
            : h("p", { class: "quiet small" }, `${PRODUCTS[other.product]} uses the same organization: to connect another one, disconnect it first.`)
          : null,
      );
  }
}
