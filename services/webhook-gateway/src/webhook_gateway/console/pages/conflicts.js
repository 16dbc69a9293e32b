// Conflicts: what differs, what was last agreed, and which value both sides get.

import { at, get, post } from "../api.js";
import { answerAll } from "../parts/answers.js";
import { changed } from "../parts/compare.js";
import { announce, h } from "../parts/dom.js";
import { chips } from "../parts/list.js";
import { action, ask, heading, notice, run, status, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { Problem } from "../parts/problem.js";
import { undoOf } from "../parts/undo.js";
import { count, fieldName, fullName, longDay, shown } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Conflict} Conflict */
/** @typedef {import("../types.d.ts").ConflictField} Field */
/** @typedef {import("../types.d.ts").Choice} Choice */
/** @typedef {import("../types.d.ts").Page<Conflict>} Conflicts */

const STEP = 25;
/** Rows of one read, and of all that this page holds. */
const MOST = 200;
const ALL = 2000;
/** The field that no sync changes in Planning Center. */
const STATUS = "active";

/** @type {[Choice, string, string][]} the choice, what it is called, and what is done */
const CHOICES = [
  ["ours", "Keep ours", "ours"],
  ["theirs", "Keep Planning Center's", "Planning Center's"],
  ["both", "Keep both different", "both kept different"],
];
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

/** Why an answer to many leaves a conflict as it is. */
const ALONE = "another field of the same conflict needs an answer of its own, or more than 10,000 conflicts fit and they come next time";
const conflictsOf = (/** @type {number} */ amount) => count(amount, "conflict");

/** @type {import("../parts/answers.js").Kind<import("../types.d.ts").Bulk, import("../types.d.ts").BulkSample>} */
const ANSWERS = {
  path: "/conflicts/bulk",
  noun: conflictsOf,
  answers: [
    ["ours", "Keep ours"],
    ["theirs", "Keep Planning Center's"],
    ["both", "Keep both different"],
    ["filled", "Fill the empty side"],
  ],
  leftOut: {
    ours: `because ${ALONE}, or because no sync changes in Planning Center who is active.`,
    theirs: `because ${ALONE}.`,
    both: `because ${ALONE}.`,
    filled: `because neither side of a field is empty there, or ${ALONE}.`,
  },
  explain: "Where only one side was edited, that edit is kept. First you see how many can have the answer, and what would be done; nothing is done before you agree.",
  promise: () => "A conflict that changes before its turn, here or in Planning Center, is left as it is and named.",
  sample: ({ conflict, choices }) => [h("strong", {}, conflict.record.name || "No name"), `: ${conflict.fields.map((field) => afterwardsOf(field, choices[field.field])).join("; ")}`],
  last: () => null,
  named: ({ conflict_id, name }) => [conflict_id, name],
  progress: (bulk) => (bulk.waiting > 0 ? { done: bulk.count - bulk.waiting, sentence: `${conflictsOf(bulk.waiting)} still to be applied on both sides.` } : null),
  results: (bulk) => [
    h("p", {}, `${conflictsOf(bulk.applied)} ${bulk.applied === 1 ? "is" : "are"} settled.`),
    bulk.overtaken > 0 ? notice("warn", h("p", {}, `${conflictsOf(bulk.overtaken)} changed before ${bulk.overtaken === 1 ? "its" : "their"} turn, here or in Planning Center, and ${bulk.overtaken === 1 ? "is" : "are"} open again: `, h("a", { href: `/conflicts?bulk_id=${encodeURIComponent(bulk.id)}` }, "show what is open again"), ".")) : null,
    bulk.refused > 0 ? notice("warn", h("p", {}, `Planning Center did not take everything for ${conflictsOf(bulk.refused)}: `, h("a", { href: `/conflicts?bulk_id=${encodeURIComponent(bulk.id)}&state=resolved` }, "show why"), ".")) : null,
  ],
};

/** @param {import("../types.d.ts").ConflictField} field @param {Choice | undefined} choice */
function afterwardsOf(field, choice) {
  if (choice === "both") return `${fieldName(field.field)} stays different`;
  if (field.field === "primary_contact") return `${fieldName(field.field)} as ${choice === "ours" ? "here" : "in Planning Center"}`;
  const [value, other] = choice === "ours" ? [field.ours, field.theirs] : [field.theirs, field.ours];
  const side = choice === "ours" ? "in Planning Center" : "here";
  return `${fieldName(field.field)} becomes ${shown(value) || "empty"} ${side}, in place of ${shown(other) || "an empty one"}`;
}

/** @param {import("../app.js").Context} context */
export function show(context) {
  const { main, query, signal, admin } = context;
  let rows = Math.min(Number(query.get("rows")) || STEP, ALL);
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
  };
  /** All but what is answered: of one answer to many, and those that are over. */
  const wanted = { ...filters, bulk_id: query.get("bulk_id"), state: query.get("state") };
  const filtered = Object.values(wanted).some((value) => value !== null);
  const chosenFilters = [
    chips("State", context, "state", [["", "Open"], ["resolving", "Being applied"], ["resolved", "Settled"], ["agreed_elsewhere", "Ended by themselves"]]),
    chips("Field", context, "field", [["", "Any field"], ...["last_name", "first_name", "email", "phone", "address", "birthdate", "name"].map((name) => /** @type {[string, string]} */ ([name, name === "name" ? "Family name" : fieldName(name)]))]),
    chips("Who", context, "child", [["", "Everybody"], ["false", "Adults"], ["true", "Children"]]),
    chips("Empty sides", context, "empty", [["", "Any values"], ["true", "One side is empty"]]),
    chips("Age of the conflict", context, "older_than_days", [["", "Any age"], ["7", "Older than a week"], ["30", "Older than a month"]]),
  ];
  const answers = answerAll(context, ANSWERS, { filters: () => filters, done: () => conflicts.reload() });
  /** Those on this page, in their order: one that ends meanwhile keeps its place. @type {Map<string, Conflict>} */
  let met = new Map();
  /** What is chosen so far, by conflict and field, with the values it was chosen from.
   * @type {Map<string, Map<string, { choice: Choice, of: string }>>} */
  const chosen = new Map();
  /** What the reader has to know of a conflict that they tried to settle. @type {Map<string, string>} */
  const told = new Map();
  /** Names of members that a value names by their id. @type {Map<string, string>} */
  const names = new Map();

  /** @type {import("../parts/part.js").Part<Conflicts>} */
  const conflicts = part({
    signal,
    follows: ["/conflicts"],
    load: async () => {
      const page = await read();
      const gone = [...met.keys()].filter((id) => !page.items.some((item) => item.id === id)).slice(-STEP);
      const ended = await Promise.all(gone.map((id) => get(at`/conflicts/${id}`, undefined, signal)));
      met = inPlace(met, [...page.items, ...ended]);
      for (const item of page.items) tellWhatMoved(item);
      await nameMembers(page.items);
      return page;
    },
    render: (page) =>
      met.size === 0
        ? nothing(filtered)
        : [
            h("p", { class: "quiet", role: "status" }, page.total === null ? null : wanted.state ? conflictsOf(page.total) : count(page.total, "open conflict")),
            admin && page.total && page.total > 1 && !wanted.state && !wanted.bulk_id ? answers.buttons(page.total) : null,
            ...[...met.values()].map((item) => (item.state === "open" ? card(item) : ended(item))),
            page.next && rows < ALL ? action("Load more", more, { key: "more" }) : null,
            page.next && rows >= ALL ? h("p", { class: "quiet" }, "Settle some of these, or choose filters, to see the others.") : null,
          ],
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

  /** @returns {Promise<Conflicts>} */
  async function read() {
    if (open) return { items: [await get(at`/conflicts/${open}`, undefined, signal)], next: null, total: null };
    /** @type {Conflict[]} */
    const items = [];
    /** @type {Conflicts | undefined} */
    let page;
    /** @type {number | null} */
    let total = null;
    do {
      page = /** @type {Conflicts} */ (await get("/conflicts", { ...wanted, limit: Math.min(rows - items.length, MOST), after: page?.next }, signal));
      items.push(...page.items);
      total ??= page.total;
    } while (page.next && items.length < rows);
    return { ...page, items, total };
  }

  async function more() {
    const before = met.size;
    rows = Math.min(rows + (rows < MOST ? STEP : MOST), ALL);
    context.note({ rows });
    await conflicts.reload();
    const first = [...met.keys()][before];
    if (first) document.getElementById(`conflict-${first}`)?.focus();
  }

  /** Who has chosen from values that are no more is told. @param {Conflict} item */
  function tellWhatMoved(item) {
    const made = chosen.get(item.id);
    const moved = item.fields.filter((field) => made?.has(field.field) && made.get(field.field)?.of !== valuesOf(field));
    if (moved.length === 0 || told.has(item.id)) return;
    const sentence = `${item.record.name || "This record"}: ${moved.map((field) => fieldName(field.field).toLowerCase()).join(", ")} changed just now. Choose again.`;
    told.set(item.id, sentence);
    announce(sentence);
  }

  /** A primary contact is named, not numbered. @param {Conflict[]} items */
  async function nameMembers(items) {
    const values = items.flatMap((item) => item.fields.filter(({ field }) => field === "primary_contact").flatMap(({ base, ours, theirs }) => [base, ours, theirs]));
    const unknown = [...new Set(values)].filter((id) => typeof id === "string" && !names.has(id));
    await Promise.all(
      unknown.map(async (id) => {
        try {
          names.set(String(id), fullName(await get(at`/people/members/${String(id)}`, undefined, signal)));
        } catch (error) {
          // Whatever else went wrong is asked again with the next read.
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
      h("h2", {}, filtered ? "No conflicts fit these filters" : "No open conflicts"),
      filtered ? h("p", {}, h("a", { href: "/conflicts" }, "Show all open conflicts")) : null,
      h("p", {}, "When a field was changed to different values here and in Planning Center, or differed when the two were matched and you chose to be asked, it is listed here. Both sides keep their own value."),
      h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations")),
    );

  /** @param {Field} field @param {unknown} value */
  const text = (field, value) => (field.field === "primary_contact" ? (names.get(String(value)) ?? "") : shown(value));

  /** @param {Conflict} item @param {Field} field @returns {Choice | undefined} */
  function choiceOf(item, field) {
    const made = chosen.get(item.id)?.get(field.field);
    // Who has chosen chooses again once a value has moved: nothing is chosen for them any more.
    if (made) return made.of === valuesOf(field) ? made.choice : undefined;
    if (!field.base_known || field.field === STATUS) return undefined;
    // Only one side was edited: that edit collides with nothing.
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

  /** @param {Conflict} item */
  function card(item) {
    const { record, decision } = item;
    const name = record.name || "No name";
    return h(
      "section",
      { key: item.id, class: "card conflict", "aria-labelledby": `conflict-${item.id}`, "data-conflict": item.id },
      h(
        "div",
        { class: "row spread" },
        h("h2", { id: `conflict-${item.id}`, tabindex: "-1" }, h("a", { href: addressOf(item) }, name)),
        h("span", { class: "quiet small" }, "Since ", when(item.opened_at)),
      ),
      decision?.outcome === "overtaken"
        ? notice("warn", h("p", {}, `${decision.decided_by_name ?? "Somebody"} chose ${saidOf(decision)}. ${decision.sentence ?? ""} ${admin ? "Choose again." : ""}`))
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
      h("td", { "data-label": "Here" }, side(field.ours), moment(field.ours_changed_at)),
      h("td", { "data-label": "Planning Center" }, side(field.theirs), moment(field.theirs_changed_at)),
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
      // A live update may have been faster, and know of the end already.
      if ((met.get(item.id)?.version ?? 0) < answer.version) met.set(item.id, answer);
      told.delete(item.id);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 409) throw error;
      // The card is drawn as it is now; what happened stays on it.
      told.set(item.id, error.message);
      await conflicts.reload();
      announce(error.message);
      document.getElementById(`conflict-${item.id}`)?.focus();
      return;
    }
    announce(`${item.record.name || "Record"}: your choice is being applied.`);
    const here = [...main.querySelectorAll("[data-conflict]")];
    const position = here.findIndex((each) => each.getAttribute("data-conflict") === item.id);
    const next = here[position + 1] ?? here[position - 1];
    draw();
    /** @type {HTMLElement | null | undefined} */ ((next ?? main).querySelector(next ? "h2" : "h1"))?.focus();
  }

  /** One that is decided, or over. @param {Conflict} item */
  function ended(item) {
    const { record, decision, state } = item;
    const name = record.name || "No name";
    const who = decision?.decided_by_name ?? "Somebody";
    return h(
      "section",
      { key: item.id, class: "card", "aria-labelledby": `conflict-${item.id}` },
      h(
        "div",
        { class: "row spread" },
        h("h2", { id: `conflict-${item.id}`, tabindex: "-1" }, h("a", { href: addressOf(item) }, name)),
        state === "resolving" ? status("busy", "Being applied") : state === "resolved" ? status("good", "Settled") : status("calm", "Over"),
      ),
      said(item),
      state === "agreed_elsewhere" ? h("p", {}, "Nothing is left to decide: both sides have the same values, or differ only where you keep them different.") : null,
      state === "withdrawn" ? h("p", {}, "The two records are not linked any more: nothing is left to decide.") : null,
      decision && (state === "resolving" || state === "resolved") ? h("p", {}, `${who} chose ${saidOf(decision)}, `, when(decision.decided_at), ".") : null,
      decision && state === "resolved" && Object.values(decision.choices).includes("both") ? h("p", { class: "quiet" }, "What stays different is listed on the page of ", h("a", { href: addressOf(item) }, name), ", where you can decide again.") : null,
      state === "resolving" ? h("p", { class: "quiet" }, "Both sides are brought up to date now. If Planning Center is not connected, this happens as soon as it is.") : null,
      decision && decision.refused.length > 0
        ? notice("warn", h("p", {}, "Not everything went to Planning Center. ", decision.refused.join(" ")))
        : null,
      admin && decision && state === "resolved" ? h("div", { class: "row" }, undoOf(context, "Undo", { decision_id: decision.id }, `Undo the decision about ${name}`)) : null,
    );
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const target = event.target instanceof HTMLElement ? event.target : main;
    if (event.repeat && target.matches("button.primary")) return event.preventDefault();
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target.matches("select, textarea, input:not([type=radio])")) return;
    const cards = /** @type {HTMLElement[]} */ ([...main.querySelectorAll("[data-conflict]")]);
    const current = target.closest("[data-conflict]");
    const item = current && met.get(current.getAttribute("data-conflict") ?? "");
    if (event.key === "j" || event.key === "k") {
      const step = event.key === "j" ? 1 : -1;
      const position = current ? cards.indexOf(/** @type {HTMLElement} */ (current)) + step : step > 0 ? 0 : cards.length - 1;
      cards[position]?.querySelector("h2")?.focus();
      cards[position]?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "?") {
      void ask("Keys", (dialog) => [
        h("table", { class: "table" }, h("caption", { class: "hidden-visually" }, "Keys of this page"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Key"), h("th", { scope: "col" }, "What it does"))), h("tbody", {}, ...KEYS.filter(([key]) => admin || !["1", "2", "3", "Enter", "Tab, arrow keys"].includes(key)).map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, what))))),
        h("div", { class: "dialog-actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Close")),
      ]);
    } else if (item && event.key === "o") context.go(addressOf(item));
    else if (item && admin && ["1", "2", "3"].includes(event.key)) {
      choose(item, item.fields, /** @type {[Choice, string, string]} */ (CHOICES[Number(event.key) - 1])[0]);
    } else if (item && admin && event.key === "Enter" && !target.matches("a, button")) {
      event.preventDefault();
      // A key that is held, or pressed once too often, settles nothing.
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
  const title = heading("Conflicts");
  if (family) {
    void get(at`/people/families/${family}`, undefined, signal).then(
      ({ name }) => (/** @type {HTMLElement} */ (title.querySelector("h1")).textContent = `Conflicts of ${name || "a family"}`),
      () => null, // the list below says what is wrong
    );
  }
  main.append(
    title,
    h(
      "p",
      { class: "quiet" },
      wanted.state ? "Conflicts that somebody has decided, or that are over. " : "Fields with different values here and in Planning Center. ",
      wanted.state ? h("a", { href: "/conflicts" }, "Show open conflicts") : admin ? "Choose what to keep: it goes to both sides as soon as you apply it. Until then both keep their own value. Press ? for keys." : "Both sides keep their own value until an administrator decides.",
    ),
    open ? "" : h("div", { class: "stack tight" }, ...chosenFilters),
    open || wanted.state ? "" : applying.element,
    answers.said,
    conflicts.element,
  );
  if (open) main.append(h("p", {}, h("a", { href: "/conflicts" }, "Show all open conflicts")));
  else if (family) main.append(h("p", {}, h("a", { href: "/conflicts" }, "Show conflicts of all families")));
}

/** @param {unknown} a @param {unknown} b */
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** A choice is made between these. @param {Field} field */
const valuesOf = ({ ours, theirs }) => JSON.stringify([ours, theirs]);

/** @param {Conflict} item @param {Field} field */
const groupOf = (item, field) => `${item.id}-${field.field}`;

/** @param {Conflict} item */
const addressOf = ({ record }) => (record.kind === "family" ? at`/families/${record.id}` : at`/people/${record.id}`);

/** @param {string | null} instant */
const moment = (instant) => (instant ? h("div", { class: "quiet small" }, when(instant)) : null);

/** "Phone: ours; Last name: Planning Center's". @param {import("../types.d.ts").Decision} decision */
const saidOf = ({ choices, fields }) =>
  fields
    .map(({ field, ours, theirs }) => {
      const choice = choices[field];
      const value = shown(choice === "ours" ? ours : theirs) || "empty";
      const exactly = choice === "both" || field === "primary_contact" ? "" : ` (${value})`;
      return `${fieldName(field)}: ${CHOICES.find(([one]) => one === choice)?.[2]}${exactly}`;
    })
    .join("; ");

/**
 * What was here stays where it was; what is new comes behind.
 * @param {Map<string, Conflict>} before
 * @param {Conflict[]} now
 */
function inPlace(before, now) {
  const fresh = new Map(now.map((item) => [item.id, item]));
  const kept = [...before.keys()].filter((id) => fresh.has(id));
  return new Map([...kept, ...fresh.keys()].map((id) => [id, /** @type {Conflict} */ (fresh.get(id))]));
}
