// The plan of a sync, record by record and field by field; afterwards its outcomes.

import { at, get } from "../api.js";
import { changed } from "./compare.js";
import { h } from "./dom.js";
import { downloads } from "./download.js";
import { status } from "./look.js";
import { sentenceOf } from "./problem.js";
import { count, fieldName, hasList, intention, number, shown } from "./words.js";

/** @typedef {import("../types.d.ts").Run} Run */
/** @typedef {import("../types.d.ts").PlanItem} PlanItem */
/** @typedef {import("../types.d.ts").PlanField} PlanField */
/** @typedef {import("../app.js").Context} Context */

const STEP = 25;
const MOST = 200;
/** Counts that are no changes: records left alone, and figures about other things. */
const NO_CHANGES = new Set(["conflict", "later", "held", "rejected", "merged", "not_done", "unchanged", "left_out", "may_be_mailed", "linked_records"]);
/** Outcomes whose record does not exist here yet. */
const NOT_HERE = new Set(["created_here", "held"]);

/**
 * Number of records an approval changes, without those an undo leaves in Planning Center.
 * @param {Run} run
 */
export const changesOf = ({ purpose, question }) =>
  Object.entries(question?.counts ?? {}).reduce(
    (sum, [name, amount]) => sum + (NO_CHANGES.has(name) || (purpose === "undo" && name === "created_there") ? 0 : amount),
    0,
  );

/**
 * The plan with its counts, its filter in the address, and its download.
 * @param {Context} context
 * @param {Run} run
 */
export function planOf(context, run) {
  const asked = context.query.get("plan");
  const outcome = asked && asked !== "all" ? asked : null;
  const heading = run.question ? "The plan" : "What was planned";
  return h(
    "section",
    { class: "stack", "aria-labelledby": "plan" },
    h(
      "div",
      { class: "row spread" },
      h("h2", { id: "plan", tabindex: "-1" }, heading),
      downloads(at`/people/runs/${run.id}/plan.csv`, {}, "The plan"),
    ),
    run.question ? filters(context, run, run.question.counts, outcome) : null,
    outcome && !run.question ? h("p", {}, intended(run, outcome), ". ", h("a", { href: context.here({ plan: "all", rows: null }) }, "Show all")) : null,
    items(context, run, outcome),
  );
}

/** The intended effect; in an undo the administrator decides about people added in Planning Center. @param {Run} run @param {string} outcome */
const intended = (run, outcome) => (run.purpose === "undo" && outcome === "created_there" ? "Added in Planning Center by the sync" : intention(outcome));

/**
 * @param {Context} context
 * @param {Run} run
 * @param {Record<string, number>} counts
 * @param {string | null} chosen
 */
function filters(context, run, counts, chosen) {
  /** @type {(value: string | null, amount: number | null, text: string) => HTMLElement} */
  const link = (value, amount, text) =>
    h(
      "a",
      { href: context.here({ plan: value, rows: null }), "aria-current": chosen === value && "true" },
      amount === null ? text : [h("strong", {}, number(amount)), h("span", {}, text)],
    );
  const named = Object.entries(counts).filter(([name]) => hasList(name));
  if (named.length === 0) return null;
  const all = named.reduce((sum, [, amount]) => sum + amount, 0);
  return h(
    "nav",
    { class: "counts", "aria-label": "The plan by what would be done" },
    link(null, all, "In all"),
    ...named.map(([name, amount]) => link(name, amount, intended(run, name))),
  );
}

/**
 * @param {Context} context
 * @param {Run} run
 * @param {string | null} outcome
 */
function items(context, run, outcome) {
  const place = h("ol", { class: "plain-list", "aria-label": "Records of the plan" });
  const counted = h("p", { class: "quiet", role: "status" });
  const more = h("button", { type: "button", hidden: true, onclick: () => extend(STEP, true) }, "Load more");
  const failure = h("div");
  /** @type {string | null} */
  let next = null;
  let total = 0;
  let loading = false;

  /** @param {number} wanted @param {boolean} [focus] on the first of them */
  async function extend(wanted, focus = false) {
    if (loading) return;
    loading = true;
    failure.replaceChildren();
    const before = place.children.length;
    try {
      do {
        const limit = Math.min(wanted - (place.children.length - before), MOST);
        /** @type {import("../types.d.ts").Page<PlanItem>} */
        const page = await get(at`/people/runs/${run.id}/plan`, { after: next, limit, outcome }, context.signal);
        total = page.total ?? total;
        next = page.next;
        place.append(...page.items.map((item) => record(item, run)));
      } while (next && place.children.length - before < wanted);
      more.hidden = next === null;
      counted.textContent =
        total === 0
          ? "Nothing would change: both sides are the same."
          : total === place.children.length
            ? count(total, "record")
            : `${number(place.children.length)} of ${count(total, "record")}`;
      if (focus) {
        context.note({ rows: place.children.length });
        /** @type {HTMLElement | null | undefined} */ (place.children[before]?.querySelector("h3"))?.focus();
      }
    } catch (error) {
      if (context.signal.aborted) return;
      const retry = h("button", { type: "button", onclick: () => extend(wanted, focus) }, "Try again");
      failure.replaceChildren(h("div", { class: "notice bad", role: "alert" }, h("p", {}, sentenceOf(error)), h("div", { class: "row" }, retry)));
    } finally {
      loading = false;
    }
  }

  void extend(Math.min(Number(context.query.get("rows")) || STEP, 1000));
  return h("div", { class: "stack" }, counted, place, failure, more);
}

/** @param {PlanItem} item @param {Run} run */
function record(item, run) {
  const family = item.record_kind === "family";
  const here = item.record_id && (!NOT_HERE.has(item.outcome) || run.state === "done");
  const address = !here ? null : family ? at`/families/${item.record_id ?? ""}` : at`/people/${item.record_id ?? ""}`;
  const name = item.name || "No name";
  const id = `plan-${item.record_kind}-${item.record_id ?? item.pco_id}`;
  return h(
    "li",
    { class: "card" },
    h(
      "div",
      { class: "row spread" },
      h("h3", { id, tabindex: "-1" }, address ? h("a", { href: address }, name) : name),
      h("span", { class: "quiet" }, family ? "Family" : "Person"),
    ),
    h("p", {}, item.sentence ?? intended(run, item.outcome), " ", item.may_be_mailed ? status("warn", "Planning Center may mail them") : null),
    item.fields.length > 0 ? table(item, id) : null,
  );
}

const COLUMNS = ["Field", "Last agreed", "Here", "Planning Center", "After"];

/** @param {PlanItem} item @param {string} label */
function table(item, label) {
  return h(
    "table",
    { class: "table fold planned", "aria-labelledby": label },
    h("thead", {}, h("tr", {}, ...COLUMNS.map((name) => h("th", { scope: "col" }, name)))),
    h(
      "tbody",
      {},
      ...item.fields.map((field) => {
        const cells = [
          field.agreed_known ? value(field.agreed) : h("span", { class: "quiet" }, "Never agreed"),
          value(field.here),
          value(field.there),
          after(field),
        ];
        return h("tr", {}, h("th", { scope: "row" }, fieldName(field.field)), ...cells.map((cell, position) => h("td", { "data-label": COLUMNS[position + 1] }, cell)));
      }),
    ),
  );
}

/** People of a family are shown by name. @param {unknown} given @returns {string} */
function text(given) {
  if (Array.isArray(given)) return given.map(text).join(", ");
  if (given && typeof given === "object" && "pco_id" in given && "name" in given) return String(given.name);
  return shown(given);
}

/** @param {unknown} given */
const value = (given) => text(given) || h("span", { class: "quiet" }, "empty");

/** @type {Record<string, string>} */
const WHERE = { here: "changes here", there: "changes in Planning Center", both: "changes on both sides" };

/** @param {PlanField} field */
function after(field) {
  if (field.does === "conflict") return "Both stay until you decide";
  const before = text(field.does === "there" ? field.there : field.here);
  return [changed(before, text(field.after)), WHERE[field.does] ? h("div", { class: "quiet small" }, WHERE[field.does]) : null];
}
