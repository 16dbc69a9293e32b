// Whether changes come at once: what Planning Center was asked to tell, since when, and what was lost.

import { at, get, post } from "../api.js";
import { parted } from "./deliveries.js";
import { h } from "./dom.js";
import { action, notice, status, when } from "./look.js";
import { part } from "./part.js";
import { PRODUCTS, count, number, sentenceCase } from "./words.js";

/** @typedef {import("../types.d.ts").SubscriptionStatement} Statement */
/** @typedef {import("../types.d.ts").SubscriptionStatements} Statements */
/** @typedef {import("../types.d.ts").Product} Product */

/** @type {Record<Statement["state"], [tone: import("./look.js").Tone, word: string, icon?: string]>} */
const STATES = { live: ["good", "Live"], partly: ["warn", "Partly live"], waiting: ["busy", "Not live yet", "clock"], off: ["calm", "Not live"] };
/** @type {Record<import("../types.d.ts").SubscribedName["state"], [tone: import("./look.js").Tone, word: string, icon?: string]>} */
const NAMES = { active: ["good", "Active"], waiting: ["busy", "Not made yet", "clock"], refused: ["bad", "Refused", "alert"] };

/** @param {Statement} statement */
export function liveStatus({ state }) {
  const [tone, word, image] = STATES[state];
  return status(tone, word, { pill: true, icon: image });
}

const load = (/** @type {AbortSignal} */ signal) => get("/webhooks/status", undefined, signal);

/** The line of a product's card: *Live* only if the statement says so. @param {AbortSignal} signal @param {Product} product */
export const liveLine = (signal, product) =>
  part({
    signal,
    class: "stack tight",
    skeleton: () => null,
    load: () => load(signal),
    follows: ["/webhooks/status"],
    render: (/** @type {Statements} */ both) => {
      const known = both[product];
      if (known.state !== "live" && known.state !== "partly") return null;
      return h(
        "p",
        { class: "row" },
        liveStatus(known),
        h("span", { class: "small quiet" }, known.sentence, " ", known.last_delivery_at ? ["Last message ", when(known.last_delivery_at), "."] : "No message yet.", " ", h("a", { href: "/activity" }, "Activity")),
      );
    },
  });

/** The statements of both products, with *Check now* for administrators. @param {import("../app.js").Context} context */
export function statements(context) {
  const { signal, admin } = context;
  const both = part({
    signal,
    class: "cards",
    load: () => load(signal),
    follows: ["/webhooks/status"],
    render: (/** @type {Statements} */ known) => [statementOf(known.people), statementOf(known.calendar)],
    skeleton: () => [0, 1].map(() => h("div", { class: "card", "aria-hidden": "true" }, h("span", { class: "bone" }), h("span", { class: "bone" }))),
  });

  /** @param {Statement} statement */
  function statementOf(statement) {
    const { product, names, gaps, state } = statement;
    const open = gaps.filter((gap) => gap.closed_at === null);
    const refused = names.filter((one) => one.state === "refused");
    return h(
      "section",
      { key: product, class: "card", "aria-labelledby": `live-${product}` },
      h("div", { class: "row spread" }, h("h3", { id: `live-${product}` }, PRODUCTS[product]), liveStatus(statement)),
      h("p", {}, statement.sentence),
      state === "off" && names.length === 0
        ? null
        : h(
            "dl",
            { class: "facts" },
            h("dt", {}, "Last message"),
            h("dd", {}, when(statement.last_delivery_at, "None yet")),
            h("dt", {}, "Last checked"),
            h("dd", {}, when(statement.verified_at, "Not yet")),
            h("dt", {}, "Kinds of change"),
            h("dd", {}, `${number(names.filter((one) => one.state === "active").length)} of ${number(names.length)} active`),
            h("dt", {}, "Messages that may be missing"),
            h("dd", {}, gaps.length === 0 ? "None" : `${count(gaps.length, "time")}, ${open.length === 0 ? "all read again" : `${number(open.length)} still to be read again`}`),
          ),
      refused.length > 0 ? notice("warn", h("p", {}, `Planning Center refuses ${count(refused.length, "kind of change", "kinds of change")}:`), h("ul", { class: "bullets" }, ...refused.map((one) => h("li", { key: one.name }, `${sentenceCase(one.subject)}: ${one.refusal ?? "no reason was given"}`)))) : null,
      names.length > 0 ? namesOf(statement) : null,
      gaps.length > 0 ? gapsOf(statement) : null,
      admin && (state !== "off" || refused.length > 0)
        ? h(
            "div",
            { class: "row" },
            action("Check now", async () => void both.show({ .../** @type {Statements} */ (both.value()), [product]: await post(at`/webhooks/${product}/verify`) }), { key: "check", name: `Check now: ${PRODUCTS[product]}` }),
          )
        : null,
    );
  }
  return both;
}

/** @param {Statement} statement */
const namesOf = ({ product, names }) =>
  h(
    "details",
    { key: "names" },
    h("summary", {}, "Each kind of change"),
    h(
      "div",
      { class: "scroll wide", tabindex: "0", role: "group", "aria-label": `Kinds of change of ${PRODUCTS[product]}` },
      h(
        "table",
        { class: "table" },
        h("caption", { class: "hidden-visually" }, `What ${PRODUCTS[product]} was asked to tell`),
        h("thead", {}, h("tr", {}, ...["Kind", "State", "Since", "Last message"].map((word) => h("th", { scope: "col" }, word)))),
        h(
          "tbody",
          {},
          ...names.map((one) => {
            const [tone, word, image] = NAMES[one.state];
            return h(
              "tr",
              { key: one.name },
              h("th", { scope: "row" }, sentenceCase(one.subject), h("br"), h("code", { class: "small quiet" }, ...parted(one.name))),
              h("td", {}, status(tone, word, { icon: image })),
              h("td", {}, when(one.since, "")),
              h("td", {}, when(one.last_delivery_at, "None yet")),
            );
          }),
        ),
      ),
    ),
  );

/** @param {Statement} statement */
const gapsOf = ({ gaps }) =>
  h(
    "details",
    { key: "gaps", open: gaps.some((gap) => gap.closed_at === null) },
    h("summary", {}, "Times when messages may be missing"),
    h(
      "ul",
      { class: "plain-list" },
      ...gaps.map((gap) =>
        h(
          "li",
          { key: gap.id },
          h("p", {}, status(gap.closed_at ? "good" : "warn", gap.closed_at ? "Read again" : "Still to be read again"), " ", gap.cause),
          h(
            "p",
            { class: "small quiet" },
            "Messages from ",
            when(gap.since),
            " to ",
            when(gap.until),
            " may be missing. ",
            gap.redelivered > 0 ? `${count(gap.redelivered, "message")} asked for again. ` : "",
            gap.closed_at ? [gap.closed_how, " That was ", when(gap.closed_at), ". "] : "What changed then is still to be read again, which happens by itself while Planning Center is connected. ",
          ),
        ),
      ),
    ),
  );
