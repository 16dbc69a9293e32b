// Integrations: the two cards, connecting, disconnecting.

import { at, get, post } from "../api.js";
import { h } from "../parts/dom.js";
import { action, ask, confirm, field, heading, notice, run as work, status, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { sentenceOf } from "../parts/problem.js";
import { progressOf, runStatus } from "../parts/progress.js";
import { PRODUCTS, count, inProgress, number } from "../parts/words.js";

/** @typedef {import("../types.d.ts").ConnectionCard} ConnectionCard */
/** @typedef {import("../types.d.ts").Connections} Connections */
/** @typedef {import("../types.d.ts").DisconnectReceipt} DisconnectReceipt */
/** @typedef {import("../types.d.ts").PeopleStatus} PeopleStatus */
/** @typedef {import("../types.d.ts").Product} Product */
/** @typedef {import("../app.js").Context} Context */

/** @type {Record<Product, { about: string, read: string, written: string, never: string, role: string }>} */
const AGREED = {
  people: {
    about: "Members and families, kept the same here and there.",
    read: "People with their primary email, phone and address, birthdate and gender; households.",
    written: "Changes and new people, children and families that you add here.",
    never: "Giving, check-ins, groups, notes, other emails, phones and addresses. Nobody is deleted in Planning Center.",
    role: "Editor in Planning Center People",
  },
  calendar: {
    about: "Events, read from Planning Center.",
    read: "Events with their dates, times and locations.",
    written: "Nothing, unless you ask for it with an event.",
    never: "Rooms, resources and approvals.",
    role: "Viewer in Planning Center Calendar",
  },
};

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
      card(context, connections.people, connections, status_, said, reload),
      card(context, connections.calendar, connections, status_, said, reload),
    ],
    skeleton: () => [0, 1].map(() => h("div", { class: "card", "aria-hidden": "true" }, h("span", { class: "bone" }), h("span", { class: "bone" }), h("span", { class: "bone" }))),
  });
  const reload = () => cards.reload();
  /** What the People card shows beside its connection: parts of its own, so that one failing leaves the rest. */
  const status_ = peopleParts(context, cards);
  main.append(
    heading(
      "Integrations",
      h("a", { href: "/runs" }, "Sync history"),
      h("a", { href: "/settings" }, "Settings"),
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
    said.prepend(notice("bad", h("p", {}, "That address is not a sign-in that you began here. Nothing was changed. Connect from the card below.")));
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
      ? `${name} is connected again with ${connected.pco_organization_name}. Everybody is linked as before. What changed meanwhile comes with the next sync.`
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
      if (shown && canSync !== known.connected) queueMicrotask(() => cards.show(shown));
      canSync = known.connected;
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
  /** The connection is known a moment later to the sync itself: ask again until it is. */
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
        h("p", {}, h("a", { href: at`/runs/${running.id}` }, asks && admin ? "See the question and answer it" : "View the sync")),
      ),
  ];
}

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
 * @param {ReturnType<typeof peopleParts>} people
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
            ? `Was connected with ${card.pco_organization_name}. Connecting it again links everybody as before, and adds nobody twice.`
            : `This church belongs to ${card.pco_organization_name} in Planning Center: choose it there.`,
        ),
    ],
    product === "people" && !unconnected ? [people.conflicts.element, people.numbers.element] : null,
    buttons(context, card, connections, people, said, reload),
  );
}

/** An administrator has the button right below. @param {ConnectionCard} card @param {boolean} admin */
function reason(card, admin) {
  const sentence = card.reason ?? "Planning Center no longer accepts our sign-in. Nothing was lost; changes wait. Ask an administrator to reconnect.";
  return admin ? sentence.replace("Ask an administrator to reconnect", "Reconnect to go on") : sentence;
}

/**
 * @param {Context} context
 * @param {ConnectionCard} card
 * @param {Connections} connections
 * @param {ReturnType<typeof peopleParts>} people
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
  const syncNow = async () => {
    const run = await post("/people/runs", { kind: "full" });
    context.go(at`/runs/${run.id}`);
  };
  const other = connections[product === "people" ? "calendar" : "people"];
  const free = other.state === "not_connected" || other.state === "needs_authorization";
  const former = card.generation > 0 && (state === "not_connected" || state === "needs_authorization" || state === "closing");
  const receipt = former && action("View the receipt", () => showReceipt(context, product), { class: "link" });
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
          ? action("Sync Now", syncNow, { class: "primary", disabled: !people.canSync() })
          : h("a", { href: "/events" }, "View events"),
        action("Disconnect", () => disconnect(context, card, connections, people.numbers.value(), reload)),
      );
    case "reconnect_required":
      return h(
        "div",
        { class: "row" },
        action("Reconnect", connect, { class: "primary", name: `Reconnect ${name}` }),
        action("Disconnect", () => disconnect(context, card, connections, people.numbers.value(), reload)),
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
            ? action("Connect another organization", () => forget(card.pco_organization_name ?? "", said, reload), { class: "link" })
            : h("p", { class: "quiet small" }, `${PRODUCTS[other.product]} uses the same organization: to connect another one, disconnect it first.`)
          : null,
      );
  }
}

/**
 * @param {Context} context
 * @param {ConnectionCard} card
 * @param {Connections} connections
 * @param {PeopleStatus | undefined} known
 * @param {() => Promise<void>} reload
 */
async function disconnect(context, card, connections, known, reload) {
  const { product } = card;
  const name = PRODUCTS[product];
  const other = connections[product === "people" ? "calendar" : "people"];
  const stays =
    product === "people"
      ? [
          known
            ? `${count(known.members, "member")} and ${count(known.families, "family", "families")} here`
            : "All members and families here",
          "Every person and household in Planning Center",
          "The links between them, for when you connect again",
          "The history of all changes, and open conflicts",
        ]
      : ["All events here", "All events in Planning Center", "The links between them, for when you connect again"];
  if (other.state === "connected") stays.push(`${PRODUCTS[other.product]}: it stays connected`);
  const stops = [
    product === "people" ? "Syncing members and families, in both directions" : "Reading events",
    "A sync in progress; it stops safely",
    card.shares_grant
      ? `Our use of ${name}. The permission itself ends when ${PRODUCTS[other.product]} is disconnected too`
      : `Our access to ${name}, taken back at Planning Center`,
  ];
  const done = await confirm({
    title: `Disconnect ${name}?`,
    text: h(
      "div",
      { class: "two" },
      h("section", { class: "stack tight" }, h("h3", {}, "What stops"), h("ul", { class: "bullets" }, ...stops.map((text) => h("li", {}, text)))),
      h("section", { class: "stack tight" }, h("h3", {}, "What stays"), h("ul", { class: "bullets" }, ...stays.map((text) => h("li", {}, text)))),
    ),
    verb: `Disconnect ${name}`,
    work: () => post(at`/connections/${product}/disconnect`),
  });
  if (!done) return;
  void reload();
  await showReceipt(context, product);
  await reload();
}

const OUTCOMES = /** @type {const} */ ({
  done: ["good", "Done"],
  not_needed: ["calm", "Not needed"],
  pending: ["busy", "In progress"],
  failed: ["bad", "Not possible"],
  shared: ["warn", "Shared"],
});

/**
 * A sentence whose addresses can be followed.
 * @param {string} sentence
 */
const linked = (sentence) =>
  sentence
    .split(/(https:[/]{2}[^\s,]+[^\s,.])/)
    .map((part, position) => (position % 2 ? h("a", { href: part, target: "_blank", rel: "noreferrer" }, part) : part));

/**
 * The receipt of a disconnect, live until it is complete.
 * @param {Context} context
 * @param {Product} product
 */
async function showReceipt(context, product) {
  const closing = new AbortController();
  context.signal.addEventListener("abort", () => closing.abort());
  const shown = part({
    signal: closing.signal,
    load: async () => {
      /** @type {DisconnectReceipt} */
      const receipt = await get(at`/connections/${product}/receipt`, undefined, closing.signal);
      /** @type {PeopleStatus | null} */
      const stays = product === "people" && receipt.finished_at ? await get("/people/status", undefined, closing.signal).catch(() => null) : null;
      return { receipt, stays };
    },
    follows: ["/connections"],
    render: ({ receipt, stays }) => {
      if (receipt.finished_at) clearInterval(timer);
      return [
        h(
          "p",
          {},
          receipt.finished_at
            ? ["Disconnected from ", h("strong", {}, receipt.pco_organization_name), " ", when(receipt.finished_at), "."]
            : ["Disconnecting from ", h("strong", {}, receipt.pco_organization_name), ". This can take a minute."],
        ),
        h(
          "ul",
          { class: "plain-list" },
          ...receipt.lines.map((line) => {
            const [tone, word] = OUTCOMES[line.outcome] ?? ["calm", line.outcome];
            return h("li", { key: line.step, class: "receipt" }, status(tone, word), h("span", {}, linked(line.sentence)));
          }),
        ),
        product === "people" && receipt.finished_at && !stays
          ? h("p", {}, "How many members and families stay can't be read right now. The card shows it as soon as it can be.")
          : null,
        stays
          ? h(
              "p",
              {},
              `Still here: ${count(stays.members, "member")}, ${number(stays.linked_members)} of them linked, and `,
              `${count(stays.families, "family", "families")}, `,
              `${number(stays.linked_families)} of them linked.`,
            )
          : null,
        receipt.finished_at
          ? h("p", { class: "quiet" }, "In Planning Center, your people and households are where they were. Nothing there was removed.")
          : null,
      ];
    },
  });
  const timer = setInterval(shown.reload, 1500);
  await ask(`Receipt: ${PRODUCTS[product]}`, (dialog) => [
    shown.element,
    h("div", { class: "dialog-actions" }, h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close")),
  ]);
  clearInterval(timer);
  closing.abort();
}

/**
 * @param {string} former
 * @param {HTMLElement} said
 * @param {() => Promise<void>} reload
 */
async function forget(former, said, reload) {
  const answer = await ask("Connect another organization?", (dialog) =>
    h(
      "form",
      {
        class: "stack",
        onsubmit: (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          const form = /** @type {HTMLFormElement} */ (event.currentTarget);
          void work(form, async () => {
            await post("/connections/forget-organization", { confirmation: String(new FormData(form).get("confirmation")) });
            dialog.close("done");
          });
        },
      },
      h("p", {}, `Until now this church belongs to ${former} in Planning Center. Another organization gets links of its own.`),
      h("p", {}, "Members and families here stay. Their links to the former organization are no longer used."),
      field("Name of the former organization", "confirmation", { required: true, hint: `Type ${former} to confirm.` }),
      h(
        "div",
        { class: "dialog-actions" },
        h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button", { class: "dangerous" }, "Allow another organization"),
      ),
    ),
  );
  if (answer !== "done") return;
  said.prepend(notice("good", h("p", {}, "Another Planning Center organization can be connected now.")));
  await reload();
}
