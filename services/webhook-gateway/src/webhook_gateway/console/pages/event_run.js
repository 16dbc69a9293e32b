// One sync of all linked events: live progress, its counts and the list behind each of them.

import { at, get, post } from "../api.js";
import { announce, h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { list } from "../parts/list.js";
import { action, heading, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { progressOf, runStatus, waitsForPlanningCenter } from "../parts/progress.js";
import { count, duration, hasList, inProgress, number, outcomeName, runState, runTrigger, tookSeconds } from "../parts/words.js";

/** @typedef {import("../types.d.ts").EventChange} EventChange */
/** @typedef {import("../types.d.ts").Run} Run */

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, id, query, signal, admin, absent } = context;
  const path = at`/calendar/runs/${id}`;
  const asked = query.get("outcome");
  const outcome = asked && hasList(asked) ? asked : null;
  if (asked && !outcome) context.note({ outcome: null });
  let state = "";
  /** @type {import("../parts/part.js").Part<Run>} */
  const page = part({
    signal,
    load: () => get(path, undefined, signal).catch(absent),
    follows: ["/calendar/runs"],
    onFact: (fact, /** @type {Run} */ value) => {
      const run = /** @type {Run | undefined} */ (fact.body.run);
      return run?.id === id && run.version > value.version ? run : value;
    },
    render: (/** @type {Run} */ run) => {
      if (state && state !== run.state) announce(`Sync: ${runState(run, admin)}.`);
      state = run.state;
      return [stateOf(run), countsOf(run)];
    },
  });

  /** @param {Run} run */
  function stateOf(run) {
    const going = inProgress(run);
    const seconds = tookSeconds(run);
    return h(
      "section",
      { key: "state", class: "card", "aria-label": "State" },
      h("div", { class: "row spread" }, runStatus(run, admin, true), h("span", { class: "quiet" }, "All linked events")),
      h("p", {}, "Started ", when(run.started_at ?? run.created_at), " by ", runTrigger(run), seconds === null ? "" : `, took ${duration(seconds)}`),
      run.message ? h("p", { key: "message" }, run.message) : null,
      going ? progressOf(run) : h("p", { class: "quiet" }, `${count(run.progress.requests, "request")} to Planning Center`),
      waitsForPlanningCenter(run) ? h("p", { key: "reconnect" }, h("a", { href: "/integrations" }, "See the connection on the Integrations page")) : null,
      going && admin && run.state !== "stopping"
        ? h(
            "div",
            { key: "stop", class: "row" },
            action("Stop safely", async () => page.show(await post(`${path}/stop`))),
            h("span", { class: "quiet small" }, "What is done stays. The next check, or the next sync, reads the other events."),
          )
        : null,
    );
  }

  /** @param {Run} run */
  function countsOf(run) {
    const counts = Object.entries(run.counts);
    if (counts.length === 0) return null;
    return h(
      "section",
      { key: "counts", class: "stack", "aria-label": "Counts by outcome" },
      h("h2", {}, inProgress(run) ? "So far" : "Outcome"),
      h(
        "div",
        { class: "counts" },
        ...counts.map(([name, amount]) => {
          const content = [h("strong", {}, number(amount)), h("span", {}, outcomeName(name))];
          return hasList(name)
            ? h("a", { key: name, href: context.here({ outcome: name, rows: null }), "aria-current": name === outcome && "true" }, ...content)
            : h("div", { key: name }, ...content, h("span", { class: "quiet small" }, "As they were, so not listed"));
        }),
      ),
    );
  }

  main.append(heading("Sync of linked events", h("a", { href: "/events/syncs" }, "Syncs of linked events")), page.element);
  if (!outcome) return;
  const changes = list(context, {
    caption: outcomeName(outcome),
    columns: ["Event", "What happened"],
    noun: ["event", "events"],
    load: (after, limit) => get(`${path}/changes`, { after, limit, outcome }, signal),
    id: (/** @type {EventChange} */ one) => one.event_id,
    href: (one) => at`/events/${one.event_id}`,
    file: downloads(`${path}/changes.csv`, { outcome }),
    follows: ["/calendar/runs"],
    onFact: (fact) => (fact.body.run?.id === id && !inProgress(fact.body.run) ? { id: "", item: null } : null),
    cells: (one) => [one.title, one.sentence],
    empty: () => h("p", {}, "No event of this sync has this outcome."),
  });
  main.append(
    h(
      "section",
      { class: "stack", "aria-labelledby": "behind" },
      h("div", { class: "row spread" }, h("h2", { id: "behind" }, outcomeName(outcome)), h("a", { href: at`/events/syncs/${id}` }, "Close this list")),
      changes.element,
    ),
  );
  await changes.ready;
}
