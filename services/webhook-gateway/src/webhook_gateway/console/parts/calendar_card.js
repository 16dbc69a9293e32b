// Figures of the Calendar card, as a part of its own, so that a failure leaves the rest.

import { at, get, post } from "../api.js";
import { checkedOf } from "./checked.js";
import { h } from "./dom.js";
import { action, notice, status, when } from "./look.js";
import { part } from "./part.js";
import { progressOf, runStatus } from "./progress.js";
import { inProgress, number } from "./words.js";

/** @typedef {import("../types.d.ts").CalendarStatus} CalendarStatus */

/** @param {import("../app.js").Context} context */
export function calendarPart(context) {
  const { signal, admin } = context;
  return part({
    signal,
    load: () => get("/calendar/status", undefined, signal),
    follows: ["/calendar/status", "/connections"],
    onFact: (fact, /** @type {CalendarStatus} */ value) => {
      const run = fact.body.run;
      return run && inProgress(run) && value.run && value.run.id === run.id ? { ...value, run: run.version > value.run.version ? run : value.run } : undefined;
    },
    render: (/** @type {CalendarStatus} */ known) => [
      known.role_missing
        ? notice("bad", h("p", {}, status("bad", "Role missing", { icon: "alert" })), h("p", {}, known.message))
        : known.message
          ? notice("bad", h("p", {}, known.message))
          : null,
      h(
        "dl",
        { class: "facts" },
        h("dt", {}, "Linked events"),
        h("dd", {}, h("a", { href: "/events?state=linked" }, number(known.linked))),
        known.gone > 0 ? [h("dt", {}, "Deleted there"), h("dd", {}, h("a", { href: "/events?state=gone" }, number(known.gone)), ", kept here")] : null,
        h("dt", {}, "Checks"),
        h("dd", {}, known.linked > 0 ? checkedOf(known) : "Begin with the first linked event"),
        h("dt", {}, "Last sync"),
        h("dd", {}, known.last_run ? [h("a", { href: at`/events/syncs/${known.last_run.id}` }, when(known.last_run.finished_at)), " ", runStatus(known.last_run, admin)] : "Never by hand"),
      ),
      known.run
        ? h(
            "div",
            { key: "run", class: "stack tight" },
            h("div", { class: "row" }, runStatus(known.run, admin, true)),
            progressOf(known.run),
            h("p", {}, h("a", { href: at`/events/syncs/${known.run.id}` }, "View the sync")),
          )
        : null,
      h(
        "div",
        { key: "acts", class: "row" },
        admin ? action("Sync all linked events", async () => context.go(at`/events/syncs/${(await post("/calendar/runs")).id}`), { key: "sync", class: "primary", disabled: !known.connected || known.linked === 0 }) : null,
        h("a", { href: "/events/suggestions" }, "Suggested links"),
        h("a", { href: "/events/syncs" }, "Syncs of linked events"),
        h("a", { href: "/settings/calendar" }, "Calendar settings"),
      ),
    ],
  });
}
