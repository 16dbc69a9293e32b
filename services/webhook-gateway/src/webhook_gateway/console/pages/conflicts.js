// Conflicts: differing values, the last agreed one, and the choice for both sides.

import { at, get, post } from "../api.js";
import { follow } from "../live.js";
import { answerAll } from "../parts/answers.js";
import { changed } from "../parts/compare.js";
import { announce, h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { ANSWERS, CHOICES, conflictsOf, saidOf, whoOf } from "../parts/choices.js";
import { chips } from "../parts/list.js";
import { action, ask, heading, notice, run, status, when } from "../parts/look.js";
import { offersOf } from "../parts/offers.js";
import { part } from "../parts/part.js";
import { Problem } from "../parts/problem.js";
import { openThere } from "../parts/there.js";
import { undoOf, undone, undosOf } from "../parts/undo.js";
import { windowed } from "../parts/windowed.js";
import { count, fieldName, fullName, longDay, shown } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Conflict} Conflict */
/** @typedef {import("../types.d.ts").ConflictField} Field */
/** @typedef {import("../types.d.ts").Choice} Choice */
/** @typedef {import("../types.d.ts").Page<Conflict>} Conflicts */

const STEP = 25;
/** Maximum rows of one read, and of the whole page. */
const MOST = 200;
const ALL = 10_000;
/** Maximum number of changed conflicts that are read again one by one. */
const AT_ONCE = 50;
/** Maximum number of half-made choices stored while another page is open. */
const KEPT = 200;
/** Final states. */
const OVER = ["resolved", "agreed_elsewhere", "withdrawn"];
/** The field that no sync changes in Planning Center. */
const STATUS = "active";

const NOT_CERTAIN =
  "Only conflicts where this is certain are shown. Planning Center says when an email, phone or address was changed. For other fields it says only when anything about the person or family was last changed.";

/** @type {[key: string, what: string][]} */
const KEYS = [
  ["j, k", "Next conflict, previous conflict"],
  ["1", "Keep ours, in every field"],
  ["2", "Keep Planning Center's, in every field"],
  ["3", "Keep both different, in every field"],
  ["Tab, arrow keys", "Choose field by field"],
  ["Enter", "Apply what is chosen"],
  ["o", "Open the person or family"],
  ["?", "Show these keys"],
];

/** @param {import("../app.js").Context} context */
export function show(context) {
  const { main, query, signal, admin } = context;
  let rows = Math.min(Number(query.get("rows")) || STEP, ALL);
  /** The conflict that the reader left the page from. */
  let back = query.get("at");
  // The chips come first: they drop unknown values from the address before it is read.
  const chosenFilters = [
    chips("State", context, "state", [["", "Open"], ["resolving", "Being applied"], ["resolved", "Settled"], ["agreed_elsewhere", "Ended by themselves"]]),
    chips("Field", context, "field", [["", "Any field"], ...["last_name", "first_name", "email", "phone", "address", "birthdate", "gender", "primary_contact", "name"].map((name) => /** @type {[string, string]} */ ([name, name === "name" ? "Family name" : fieldName(name)]))]),
h(
      "div",
      { class: "row" },
      chips("Who", context, "child", [["", "Everybody"], ["false", "Adults"], ["true", "Children"]]),
      chips("Empty sides", context, "empty", [["", "Any values"], ["true", "One side is empty"]]),
      chips("Age of the conflict", context, "older_than_days", [["", "Any age"], ["7", "Older than a week"], ["30", "Older than a month"]]),
      chips("Newest edit", context, "newer", [["", "Whichever is newer"], ["ours", "Newer here"], ["theirs", "Newer in Planning Center"]]),
    ),
  ];
  const open = query.get("open");
  const family = query.get("family_id");
  const older = query.get("older_than_days");
  const child = query.get("child");
  const filters = {
    family_id: family,
    field: query.get("field") || null,
    child: child && child === "true",
    one_side_empty: query.get("empty") === "true" || null,
    older_than_days: older ? Number(older) : null,
    newer: query.get("newer") || null,
  };
  /** Filters of the list alone, which a bulk answer does not have. */
  const record = query.get("record_id");
  const wanted = { ...filters, record_id: record, bulk_id: query.get("bulk_id"), rule_id: query.get("rule_id"), state: query.get("state") };
  const filtered = Object.values(wanted).some((value) => value !== null);
  const answers = answerAll(context, ANSWERS, { filters: () => filters, done: () => conflicts.reload() });
  /** Conflicts on this page, in order; a conflict that ends meanwhile keeps its place. @type {Map<string, Conflict>} */
  let met = new Map();
  /** Choices so far, by conflict and field, each with the values it was made from.
   * @type {Map<string, Map<string, { choice: Choice, of: string }>>} */
  const chosen = keptChoices(context);
  /** Failures of the reader's attempts to settle a conflict, by conflict. @type {Map<string, string>} */
  const told = new Map();
  /** Names of members whose ids occur as values. @type {Map<string, string>} */
  const names = new Map();

  /** Undo runs by the decision they undo. @type {Map<string, import("../types.d.ts").Run>} */
  let undos = new Map();
  /** Names of families, by id. @type {Map<string, string>} */
  const families = new Map();
  /** Ids of conflicts that changed since they were read. @type {Set<string>} */
  const stale = new Set();
  /** The `after` of the next page. @type {string | null} */
  let following = null;
  /** Ids of the conflicts near the screen, of a long list. @type {Set<string>} */
  let near = new Set();
  /** By family: its conflicts here, the open ones among them, and the first one.
   * @type {Map<string, { amount: number, open: number, first: string }>} */
  let beside = new Map();

  const list = windowed({ signal, row: item, drawn: (ids) => onPage(new Set(ids)) });

  follow(
    "/conflicts",
    (fact) => {
      for (const id of fact === null ? met.keys() : [fact.body?.conflict_id]) if (met.has(id)) stale.add(id);
    },
    signal,
  );
  /** @type {import("../parts/part.js").Part<Conflicts>} */
  const conflicts = part({
    signal,
    follows: ["/conflicts"],
    load: async () => {
      const page = met.size === 0 ? await first() : await head();
      const here = new Set(page.items.map((item) => item.id));
      // The list was read whole, so an open conflict missing from it has ended.
      if (page.next === null) for (const { id, state } of met.values()) if (!OVER.includes(state)) stale.add(id);
      for (const id of here) stale.delete(id);
      const again = [...stale].filter((id) => near.has(id)).slice(0, AT_ONCE);
      const read = await Promise.all(again.map((id) => get(at`/conflicts/${id}`, undefined, signal)));
      for (const id of again) stale.delete(id);
      met = inPlace(met, [...page.items, ...read]);
      for (const item of [...page.items, ...read]) tellWhatMoved(item);
      await nameMembers(page.items);
      if ([...met.values()].some(({ state, decision }) => state === "resolved" && decision)) undos = await undosOf("decision_id", signal);
      return page;
    },
    render: (page) => {
      beside = ofFamilies(met);
      list.show([...met.keys()]);
      if (back !== null) requestAnimationFrame(comeBack);
      return met.size === 0
        ? nothing(filtered)
        : [
            h(
              "div",
              { class: "row spread" },
              h("p", { class: "quiet", role: "status" }, page.total === null ? null : wanted.state ? conflictsOf(page.total) : count(page.total, "open conflict")),
              downloads("/conflicts.csv", wanted),
            ),
            admin && page.total && page.total > 1 && !wanted.state && !record && !wanted.bulk_id && !wanted.rule_id ? answers.buttons(page.total) : null,
            list.element,
            following && rows < ALL ? action("Load more", more, { key: "more" }) : null,
            following && rows >= ALL ? h("p", { class: "quiet" }, "Settle some of these, or choose filters, to see the others.") : null,
          ];
    },
  });

  const applying = part({
    signal,
    follows: ["/conflicts"],
    skeleton: () => null,
    load: () => get("/conflicts", { state: "resolving", limit: 1 }, signal),
    render: (/** @type {Conflicts} */ { total }) =>
      total
        ? h("p", {}, h("a", { href: "/conflicts?state=resolving" }, `${conflictsOf(total)} ${total === 1 ? "is" : "are"} decided and being applied`), ".")
        : null,
  });

  /** As many conflicts as the address asks for. @returns {Promise<Conflicts>} */
  async function first() {
    if (open) return { items: [await get(at`/conflicts/${open}`, undefined, signal)], next: null, total: null };
    const page = await read(null, rows);
    following = page.next;
    return page;
  }

  /** The newest conflicts, and the total. @returns {Promise<Conflicts>} */
  async function head() {
    if (open) return first();
    const page = await read(null, Math.min(rows, MOST));
    if (rows <= MOST) following = page.next;
    return page;
  }

  /** @param {string | null} after @param {number} most @returns {Promise<Conflicts>} */
  async function read(after, most) {
    /** @type {Conflict[]} */
    const items = [];
    /** @type {number | null} */
    let total = null;
    let next = after;
    do {
      /** @type {Conflicts} */
      const page = await get("/conflicts", { ...wanted, limit: Math.min(most - items.length, MOST), after: next }, signal);
      items.push(...page.items);
      total ??= page.total;
      next = page.next;
    } while (next && items.length < most);
    return { items, next, total };
  }

  async function more() {
    const before = new Set(met.keys());
    const step = rows < MOST ? STEP : MOST;
    rows = Math.min(rows + step, ALL);
    const page = await read(following, step);
    following = page.next;
    met = inPlace(met, page.items);
    await nameMembers(page.items);
    context.note({ rows });
    draw();
    const fresh = [...met.keys()].find((id) => !before.has(id));
    if (fresh) focusOn(fresh);
  }

  /** Read changed conflicts again when they come near the screen, and name their families. @param {Set<string>} ids */
  function onPage(ids) {
    const came = [...ids].some((id) => stale.has(id) && !near.has(id));
    near = ids;
    if (came) void conflicts.reload();
    for (const id of ids) {
      const family = groupOfFamily(/** @type {Conflict} */ (met.get(id)));
      if (family && !families.has(family)) void nameFamily(family);
    }
  }

  /** @param {string} id */
  async function nameFamily(id) {
    families.set(id, "");
    try {
      families.set(id, (await get(at`/people/families/${id}`, undefined, signal)).name);
    } catch {
      // Conflicts are grouped without the family's name, too.
      return;
    }
    if (!signal.aborted) draw();
  }

  /** Focus the conflict the reader came back to once it is drawn, unless the focus is already elsewhere. */
  function comeBack() {
    const id = back;
    back = null;
    const elsewhere = document.activeElement !== document.body && document.activeElement !== main.querySelector("h1");
    if (id && !elsewhere && !signal.aborted) focusOn(id);
  }

  /** @param {string} id */
  function focusOn(id) {
    list.reveal(id);
    const heading = document.getElementById(`conflict-${id}`);
    heading?.focus();
    heading?.closest("section")?.scrollIntoView({ block: "nearest" });
  }

  /** @param {Conflict} item */
  const familyOf = ({ record }) => record.family_ids[0] ?? "";

  /** The family that groups a conflict with at least one neighbour. @param {Conflict} one */
  function groupOfFamily(one) {
    const id = familyOf(one);
    return !family && id && (beside.get(id)?.amount ?? 0) > 1 ? id : "";
  }


  /** A conflict, headed by its family's name if it is the group's first. @param {string} id */
  function item(id) {
    const one = /** @type {Conflict} */ (met.get(id));
    const group = groupOfFamily(one);
    const begins = group !== "" && beside.get(group)?.first === id;
    return h(
      "div",
      { key: id, class: group ? "stack grouped" : "stack" },
      begins
        ? h("h2", { key: "family" }, h("a", { href: at`/families/${group}` }, families.get(group) || "A family"), h("span", { class: "quiet small" }, ` ${ofGroup(group)}`))
        : null,
      one.state === "open" ? card(one, group ? "h3" : "h2") : ended(one, group ? "h3" : "h2"),
    );
  }

  /** @param {string} family */
  function ofGroup(family) {
    const { amount = 0, open: left = 0 } = beside.get(family) ?? {};
    return left === amount ? conflictsOf(amount) : `${left} of ${conflictsOf(amount)} open`;
  }

  /** Announce that values changed after the reader chose among them. @param {Conflict} item */
  function tellWhatMoved(item) {
    const made = chosen.get(item.id);
    const moved = item.fields.filter((field) => made?.has(field.field) && made.get(field.field)?.of !== valuesOf(field));
    if (moved.length === 0 || told.has(item.id)) return;
    const sentence = `${item.record.name || "This record"}: ${moved.map((field) => fieldName(field.field).toLowerCase()).join(", ")} changed just now. Choose again.`;
    told.set(item.id, sentence);
    announce(sentence);
  }

  /** Read the names of primary contacts, which the values give as ids. @param {Conflict[]} items */
  async function nameMembers(items) {
    const values = items.flatMap((item) => item.fields.filter(({ field }) => field === "primary_contact").flatMap(({ base, ours, theirs }) => [base, ours, theirs]));
    const unknown = [...new Set(values)].filter((id) => typeof id === "string" && !names.has(id));
    await Promise.all(
      unknown.map(async (id) => {
        try {
          names.set(String(id), fullName(await get(at`/people/members/${String(id)}`, undefined, signal)));
        } catch (error) {
          // Other failures are retried with the next read.
          if (error instanceof Problem && error.status === 404) names.set(String(id), "Somebody who was deleted");
        }
      }),
    );
  }

  /** @param {boolean} filtered */
  const nothing = (filtered) =>
    h(
      "div",
      { class: "card empty" },
      h("h2", {}, record ? "This record has no open conflict any more" : filtered ? "No conflicts fit these filters" : "No open conflicts"),
      record ? h("p", {}, h("a", { href: `/conflicts?record_id=${encodeURIComponent(record)}&state=resolved` }, "Show how it was settled")) : null,
      filtered ? h("p", {}, h("a", { href: "/conflicts" }, "Show all open conflicts")) : null,
      h("p", {}, `A field is listed here when it was changed to different values here and in Planning Center, or differed at the first sync and asking was chosen. Both sides keep their own value until ${admin ? "you decide" : "an administrator decides"}.`),
      h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations")),
    );

  /** @param {Field} field @param {unknown} value */
  const text = (field, value) => (field.field === "primary_contact" ? (names.get(String(value)) ?? "") : shown(value));

  /** @param {Conflict} item @param {Field} field @returns {Choice | undefined} */
  function choiceOf(item, field) {
    const made = chosen.get(item.id)?.get(field.field);
    // A choice is void once a value has changed, and no default replaces it.
    if (made) return made.of === valuesOf(field) ? made.choice : undefined;
    if (!field.base_known || field.field === STATUS) return undefined;
    // Only one side was edited, so its edit is the default.
    if (same(field.base, field.theirs)) return "ours";
    return same(field.base, field.ours) ? "theirs" : undefined;
  }

  /** @param {Conflict} item @param {Field[]} fields @param {Choice} choice */
  function choose(item, fields, choice) {
    const made = chosen.get(item.id) ?? new Map();
    for (const field of fields) {
      if (field.field !== STATUS || choice !== "ours") made.set(field.field, { choice, of: valuesOf(field) });
    }
    chosen.set(item.id, made);
    keepChoices(context, chosen);
    told.delete(item.id);
    main.querySelector(`[data-conflict="${CSS.escape(item.id)}"] .failure`)?.remove();
    draw();
    for (const field of item.fields) {
      for (const radio of document.querySelectorAll(`[name="${CSS.escape(groupOf(item, field))}"]`)) {
        if (radio instanceof HTMLInputElement) radio.checked = radio.value === choiceOf(item, field);
      }
    }
  }

  function draw() {
    const page = conflicts.value();
    if (page) conflicts.show(page);
  }

  /** @param {Conflict} item @param {string} level of its heading */
  function card(item, level) {
    const { record, decision } = item;
    const name = record.name || "No name";
    return h(
      "section",
      { key: item.id, class: "card conflict", "aria-labelledby": `conflict-${item.id}`, "data-conflict": item.id },
      h(
        "div",
        { class: "row spread" },
        h(level, { id: `conflict-${item.id}`, tabindex: "-1" }, h("a", { href: addressOf(item), onclick: () => context.note({ at: item.id }) }, name)),
        h("span", { class: "row" }, openThere(context, record.kind === "family" ? "family" : "member", record.pco_id, name), h("span", { class: "quiet small" }, "Since ", when(item.opened_at))),
      ),
      decision?.outcome === "overtaken"
        ? notice("warn", h("p", {}, `${whoOf(decision)} chose ${saidOf(decision)}. ${decision.sentence ?? ""} ${admin ? "Choose again." : ""}`))
        : null,
      said(item),
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          { class: "table fold" },
          h("caption", { class: "hidden-visually" }, `What differs for ${name}`),
          h("thead", {}, h("tr", {}, ...["Field", "Last agreed", "Here", "Planning Center", ...(admin ? ["Keep", "Afterwards"] : [])].map((column) => h("th", { scope: "col" }, column)))),
          h("tbody", {}, ...item.fields.map((field) => row(item, field))),
        ),
      ),
      admin
        ? h(
            "div",
            { class: "row" },
            ...CHOICES.map(([choice, label]) =>
              h("button", { type: "button", "aria-label": `${label}, in every field of ${name}`, onclick: () => choose(item, item.fields, choice) }, label),
            ),
            action("Apply", () => apply(item), { class: "primary", name: `Apply to ${name}` }),
          )
        : null,
    );
  }

  /** @param {Conflict} item */
  function said(item) {
    const sentence = told.get(item.id);
    return sentence ? h("div", { key: "told", class: "notice warn", role: "status" }, h("p", {}, sentence)) : null;
  }

  /** @param {Conflict} item @param {Field} field */
  function row(item, field) {
    const base = text(field, field.base);
    const none = () => h("span", { class: "quiet" }, "empty");
    /** @param {unknown} value */
    const side = (value) => (field.base_known ? changed(base, text(field, value)) : text(field, value) || none());
    const choice = choiceOf(item, field);
    return h(
      "tr",
      { key: field.field },
      h("th", { scope: "row" }, fieldName(field.field)),
      h("td", { "data-label": "Last agreed" }, base || h("span", { class: "quiet" }, field.base_known ? "empty" : "Nothing yet: they differed when they were matched."), field.agreed_at ? h("div", { class: "quiet small" }, `Last agreed on ${longDay(field.agreed_at)}`) : null),
      h("td", { "data-label": "Here" }, side(field.ours), changedAt(field.ours_changed_at)),
      h("td", { "data-label": "Planning Center" }, side(field.theirs), changedAt(field.theirs_changed_at, field.theirs_changed_before)),
      admin ? h("td", { "data-label": "Keep" }, radios(item, field, choice)) : null,
      admin ? h("td", { "data-label": "Afterwards" }, afterwards(field, choice)) : null,
    );
  }

  /** @param {Conflict} item @param {Field} field @param {Choice | undefined} choice */
  function radios(item, field, choice) {
    const group = groupOf(item, field);
    return h(
      "fieldset",
      { key: valuesOf(field) },
      h("legend", { class: "hidden-visually" }, `${fieldName(field.field)} of ${item.record.name || "this record"}`),
      .../** @type {[Choice, string][]} */ ([["ours", "Here"], ["theirs", "Planning Center"], ["both", "Both different"]])
        .filter(([value]) => field.field !== STATUS || value !== "ours")
        .map(([value, label]) =>
          h(
            "label",
            { class: "option" },
            h("input", { type: "radio", name: group, value, checked: choice === value, onchange: () => choose(item, [field], value) }),
            label,
          ),
        ),
      field.field === STATUS ? h("p", { class: "quiet small" }, "A sync never changes in Planning Center who is active.") : null,
    );
  }

  /** @param {Field} field @param {Choice | undefined} choice */
  function afterwards(field, choice) {
    if (!choice) return h("span", { class: "quiet" }, "Not chosen yet");
    if (choice === "both") return "Each side keeps its own";
    const value = text(field, choice === "ours" ? field.ours : field.theirs);
    return value ? ["On both sides: ", h("strong", {}, value)] : "Empty on both sides";
  }

  /** @param {Conflict} item */
  async function apply(item) {
    const missing = item.fields.filter((field) => !choiceOf(item, field));
    if (missing.length > 0) {
      const first = document.querySelector(`[name="${CSS.escape(groupOf(item, /** @type {Field} */ (missing[0])))}"]`);
      if (first instanceof HTMLElement) first.focus();
      throw new Problem(`Choose what to keep for ${missing.map((field) => fieldName(field.field).toLowerCase()).join(", ")}. Nothing was changed yet.`);
    }
    const choices = Object.fromEntries(item.fields.map((field) => [field.field, choiceOf(item, field)]));
    try {
      const answer = await post(at`/conflicts/${item.id}/decision`, { values_version: item.values_version, choices });
      // A live update may already have brought a newer version.
      if ((met.get(item.id)?.version ?? 0) < answer.version) met.set(item.id, answer);
      told.delete(item.id);
      chosen.delete(item.id);
      keepChoices(context, chosen);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 409) throw error;
      // The card is drawn with its present state and keeps the failure's message.
      told.set(item.id, error.message);
      stale.add(item.id);
      await conflicts.reload();
      announce(error.message);
      document.getElementById(`conflict-${item.id}`)?.focus();
      return;
    }
    announce(`${item.record.name || "Record"}: your choice is being applied.`);
    const ids = [...met.keys()];
    const position = ids.indexOf(item.id);
    const isOpen = (/** @type {string} */ id) => id !== item.id && met.get(id)?.state === "open";
    const next = ids.slice(position).find(isOpen) ?? ids.slice(0, position).reverse().find(isOpen);
    draw();
    if (next) focusOn(next);
    else /** @type {HTMLElement | null} */ (main.querySelector("h1"))?.focus();
  }

  /** A conflict that is decided or over. @param {Conflict} item @param {string} level of its heading */
  function ended(item, level) {
    const { record, decision, state } = item;
    const name = record.name || "No name";
    return h(
      "section",
      { key: item.id, class: "card", "aria-labelledby": `conflict-${item.id}` },
      h(
        "div",
        { class: "row spread" },
        h(level, { id: `conflict-${item.id}`, tabindex: "-1" }, h("a", { href: addressOf(item) }, name)),
        h(
          "span",
          { class: "row" },
          state === "withdrawn" ? null : openThere(context, record.kind === "family" ? "family" : "member", record.pco_id, name),
          state === "resolving" ? status("busy", "Being applied") : state === "resolved" ? status("good", "Settled") : status("calm", "Ended"),
        ),
      ),
      said(item),
      state === "agreed_elsewhere" ? h("p", {}, "Nothing is left to decide: both sides have the same values, or differ only where you keep them different.") : null,
      state === "withdrawn" ? h("p", {}, "Nothing is left to decide: the record was deleted, is kept out of the sync, or is not linked any more.") : null,
      decision && (state === "resolving" || state === "resolved") ? h("p", {}, `${whoOf(decision)} chose ${saidOf(decision)}, `, when(decision.decided_at), ".") : null,
      decision && state === "resolved" && Object.values(decision.choices).includes("both") ? h("p", { class: "quiet" }, "What stays different is listed on the page of ", h("a", { href: addressOf(item) }, name), ", where you can decide again.") : null,
      state === "resolving" ? h("p", { class: "quiet" }, "Both sides are brought up to date now. If Planning Center is not connected, this happens as soon as it is.") : null,
      decision && decision.refused.length > 0
        ? notice("warn", h("p", {}, "Not everything went to Planning Center. ", decision.refused.join(" ")))
        : null,
      decision?.rule_id ? h("p", {}, h("a", { href: at`/conflicts/rules?at=${decision.rule_id}` }, "Go to the rule")) : null,
      decision && undos.has(decision.id) ? undone(/** @type {import("../types.d.ts").Run} */ (undos.get(decision.id)), "Undone") : null,
      admin && decision && !undos.has(decision.id) && !decision.rule_id && state === "resolved" ? h("div", { class: "row" }, undoOf(context, "Undo", { decision_id: decision.id }, `Undo the decision about ${name}`)) : null,
    );
  }

  /** Put the conflict into the address, so that Back returns to it. @param {Conflict} item */
  function leave(item) {
    context.note({ at: item.id });
    context.go(addressOf(item));
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const target = event.target instanceof HTMLElement ? event.target : main;
    if (event.repeat && target.matches("button.primary")) return event.preventDefault();
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target.matches("select, textarea, input:not([type=radio])")) return;
    const current = target.closest("[data-conflict]");
    const item = current && met.get(current.getAttribute("data-conflict") ?? "");
    if (event.key === "j" || event.key === "k") {
      const ids = [...met.values()].filter(({ state }) => state === "open").map(({ id }) => id);
      const step = event.key === "j" ? 1 : -1;
      const next = ids[item ? ids.indexOf(item.id) + step : step > 0 ? 0 : ids.length - 1];
      if (next) focusOn(next);
    } else if (event.key === "?") {
      void ask("Keys", (dialog) => [
        h("table", { class: "table" }, h("caption", { class: "hidden-visually" }, "Keys of this page"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Key"), h("th", { scope: "col" }, "What it does"))), h("tbody", {}, ...KEYS.filter(([key]) => admin || !["1", "2", "3", "Enter", "Tab, arrow keys"].includes(key)).map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, what))))),
        h("div", { class: "dialog-actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")),
      ]);
    } else if (item && event.key === "o") leave(item);
    else if (item && admin && ["1", "2", "3"].includes(event.key)) {
      choose(item, item.fields, /** @type {[Choice, string, string]} */ (CHOICES[Number(event.key) - 1])[0]);
    } else if (item && admin && event.key === "Enter" && !target.matches("a, button")) {
      event.preventDefault();
      // A key held down must not settle the next conflict.
      if (event.repeat) return;
      if (!chosen.has(item.id) && item.fields.every((field) => choiceOf(item, field))) {
        chosen.set(item.id, new Map());
        told.set(item.id, "Look at what is preselected. Press Enter again to apply it.");
        return draw();
      }
      const button = current.querySelector("button.primary");
      if (button instanceof HTMLElement && !button.hasAttribute("disabled")) void run(button, () => apply(item));
    } else return;
    event.preventDefault();
  }

  document.addEventListener("keydown", onKey, { signal });
  const title = heading("Conflicts", h("a", { href: "/conflicts/rules" }, "Rules"));
  const offers = admin && !open && !record ? offersOf(context) : null;
  if (family) {
    void get(at`/people/families/${family}`, undefined, signal).then(
      ({ name }) => (/** @type {HTMLElement} */ (title.querySelector("h1")).textContent = `Conflicts of ${name || "a family"}`),
      () => null, // the list below shows its own failure
    );
  }
  main.append(
    title,
    h(
      "p",
      { class: "quiet" },
      wanted.rule_id ? "Conflicts that a rule decided. " : wanted.state ? "Conflicts that somebody has decided, or that are over. " : "Fields with different values here and in Planning Center. ",
      wanted.state || wanted.rule_id ? h("a", { href: "/conflicts" }, "Show open conflicts") : admin ? "Choose what to keep: it goes to both sides as soon as you apply it. Until then both keep their own value. Press ? for keys." : "Both sides keep their own value until an administrator decides.",
    ),
    open || record ? "" : h("div", { class: "stack tight" }, ...chosenFilters, filters.newer ? h("p", { class: "quiet small" }, NOT_CERTAIN) : null),
    open || record || wanted.state ? "" : applying.element,
    offers?.element ?? "",
    answers.said,
    conflicts.element,
  );
  if (open || record) main.append(h("p", {}, h("a", { href: "/conflicts" }, "Show all open conflicts")));
  else if (family) main.append(h("p", {}, h("a", { href: "/conflicts" }, "Show conflicts of all families")));
}

/** @param {unknown} a @param {unknown} b */
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The values that a choice is made between. @param {Field} field */
const valuesOf = ({ ours, theirs }) => JSON.stringify([ours, theirs]);

/** @param {Conflict} item @param {Field} field */
const groupOf = (item, field) => `${item.id}-${field.field}`;

/** @param {Conflict} item */
const addressOf = ({ record }) => (record.kind === "family" ? at`/families/${record.id}` : at`/people/${record.id}`);

/** @param {string | null} instant @param {string | null} [latest] where that is not known: it was then or before */
function changedAt(instant, latest = null) {
  if (instant) return h("div", { class: "quiet small" }, "Changed ", when(instant));
  return latest ? h("div", { class: "quiet small" }, "Changed ", when(latest), " or before") : null;
}

/**
 * Known conflicts keep their places; a new one goes behind the others of its family, else to the end.
 * @param {Map<string, Conflict>} before
 * @param {Conflict[]} now
 */
function inPlace(before, now) {
  const fresh = new Map(now.map((item) => [item.id, item]));
  const found = [...before.values()].map((item) => fresh.get(item.id) ?? item);
  const last = new Map(found.map((item, position) => [item.record.family_ids[0] ?? item.id, position]));
  /** @type {Map<number, Conflict[]>} */
  const behind = new Map();
  for (const item of fresh.values()) {
    if (before.has(item.id)) continue;
    const position = last.get(item.record.family_ids[0] ?? item.id) ?? found.length;
    behind.set(position, [...(behind.get(position) ?? []), item]);
  }
  const all = [...found.flatMap((item, position) => [item, ...(behind.get(position) ?? [])]), ...(behind.get(found.length) ?? [])];
  return new Map(all.map((item) => [item.id, item]));
}

/** @param {Map<string, Conflict>} met */
function ofFamilies(met) {
  /** @type {Map<string, { amount: number, open: number, first: string }>} */
  const found = new Map();
  for (const { id, record, state } of met.values()) {
    const family = record.family_ids[0];
    if (!family) continue;
    const { amount, open, first } = found.get(family) ?? { amount: 0, open: 0, first: id };
    found.set(family, { amount: amount + 1, open: open + (state === "open" ? 1 : 0), first });
  }
  return found;
}

/** Storage key of half-made choices, which survive a visit to another page. @param {import("../app.js").Context} context */
const keptUnder = ({ user }) => `choices of ${user.user_id}`;

/** @param {import("../app.js").Context} context @returns {Map<string, Map<string, { choice: Choice, of: string }>>} */
function keptChoices(context) {
  try {
    /** @type {[string, [string, { choice: Choice, of: string }][]][]} */
    const kept = JSON.parse(sessionStorage.getItem(keptUnder(context)) ?? "[]");
    return new Map(kept.map(([id, choices]) => [id, new Map(choices)]));
  } catch {
    return new Map();
  }
}

/** @param {import("../app.js").Context} context @param {Map<string, Map<string, unknown>>} chosen */
function keepChoices(context, chosen) {
  const kept = [...chosen].slice(-KEPT).map(([id, choices]) => [id, [...choices]]);
  sessionStorage.setItem(keptUnder(context), JSON.stringify(kept));
}
