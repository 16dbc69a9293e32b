// A list of records as a table: keyset "Load more", a visible count, rows that open by Enter and by click.

import { follow } from "../live.js";
import { announce, h } from "./dom.js";
import { sentenceOf } from "./problem.js";
import { number } from "./words.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {import("../app.js").Context} Context */
/**
 * @template T
 * @typedef {import("../types.d.ts").Page<T>} Page
 */

const STEP = 50;
const MOST_AT_ONCE = 200;
const MOST = 10_000;

/**
 * @template T
 * @param {Context} context
 * @param {{
 *   caption: string,
 *   columns: string[],
 *   load: (after: string | null, limit: number) => Promise<Page<T>>,
 *   id: (item: T) => string,
 *   cells: (item: T) => Child[],
 *   href?: (item: T) => string | null,
 *   noun: [one: string, many: string],
 *   empty: () => Child,
 *   follows?: string[],
 *   onFact?: (fact: import("../live.js").Fact) => { id: string, item: T | null } | null,
 * }} options the first cell heads its row; `onFact` gives an item's new state (null: removed) without a read
 */
export function list(context, { caption, columns, load, id, cells, href, noun, empty, follows = [], onFact }) {
  const body = h("tbody");
  const table = h(
    "table",
    { class: "table fold" },
    h("caption", { class: "hidden-visually" }, caption),
    h("thead", {}, h("tr", {}, ...columns.map((column) => h("th", { scope: "col" }, column || h("span", { class: "hidden-visually" }, "Actions"))))),
    body,
  );
  const counted = h("p", { class: "quiet", role: "status" });
  const fresh = h("div", { class: "row", hidden: true });
  const more = h("button", { type: "button", onclick: () => extend() }, "Load more");
  const failure = h("div");
  const element = h("div", { class: "stack" }, h("div", { class: "row spread" }, counted, fresh), table, failure, more);
  /** @type {Map<string, HTMLTableRowElement>} */
  const rows = new Map();
  /** @type {string | null} */
  let next = null;
  /** @type {number | null} */
  let total = null;
  let asked = 0;
  let length = Math.min(Number(context.query.get("rows")) || STEP, MOST);

  /** @param {T} item */
  function row(item) {
    const address = href?.(item);
    const made = h(
      "tr",
      {
        "data-href": address,
        onclick: (/** @type {MouseEvent} */ event) => {
          const target = /** @type {Element} */ (event.target);
          if (address && !target.closest("a, button") && !getSelection()?.toString()) context.go(address);
        },
      },
      ...cells(item).map((cell, position) =>
        position === 0
          ? h("th", { scope: "row" }, address ? h("a", { href: address }, cell) : cell)
          : h("td", { "data-label": columns[position] || null }, cell),
      ),
    );
    return made;
  }

  /** @param {T[]} items */
  function add(items) {
    const added = document.createDocumentFragment();
    for (const item of items) {
      const made = row(item);
      rows.get(id(item))?.remove();
      rows.set(id(item), made);
      added.append(made);
    }
    body.append(added);
  }

  function describe() {
    more.hidden = next === null;
    const all = total === null && next === null ? rows.size : total;
    const text =
      all === null
        ? `${number(rows.size)} ${noun[1]} shown`
        : all === rows.size
          ? `${number(all)} ${all === 1 ? noun[0] : noun[1]}`
          : `${number(rows.size)} of ${number(all)} ${noun[1]}`;
    counted.textContent = text;
    table.hidden = rows.size === 0;
    element.querySelector(".empty")?.remove();
    if (rows.size === 0) table.after(h("div", { class: "card empty" }, empty()));
  }

  /**
   * @param {string | null} after
   * @param {number} wanted
   */
  async function fetchRows(after, wanted) {
    failure.replaceChildren();
    const ticket = ++asked;
    more.disabled = true;
    try {
      let remaining = wanted;
      let first = after === null;
      do {
        const page = await load(after, Math.min(remaining, MOST_AT_ONCE));
        if (context.signal.aborted || ticket !== asked) return;
        if (first) {
          body.replaceChildren();
          rows.clear();
          first = false;
        }
        add(page.items);
        next = page.next;
        total = page.total ?? (after === null ? null : total);
        after = page.next;
        remaining -= page.items.length;
      } while (after !== null && remaining > 0);
      describe();
    } catch (error) {
      if (context.signal.aborted || ticket !== asked) return;
      if (after === null && rows.size === 0) body.replaceChildren();
      failure.replaceChildren(
        h(
          "div",
          { class: "notice bad", role: "alert" },
          h("p", {}, sentenceOf(error)),
          h(
            "div",
            { class: "row" },
            h("button", { type: "button", onclick: () => fetchRows(after, wanted) }, "Try again"),
          ),
        ),
      );
      table.hidden = rows.size === 0;
    } finally {
      more.disabled = false;
    }
  }

  async function extend() {
    await fetchRows(next, STEP);
    length = rows.size;
    context.note({ rows: length });
  }

  /** Read again from the start, as many rows as are shown or were asked for. */
  async function reload() {
    fresh.hidden = true;
    await fetchRows(null, length);
  }

  function offer() {
    if (!fresh.hidden) return;
    fresh.replaceChildren(
      h("span", { class: "quiet" }, "Updated just now"),
      h("button", { type: "button", class: "link", onclick: reload }, "Show"),
    );
    fresh.hidden = false;
    announce("This list was updated. Choose Show to see it.");
  }

  /** @param {string} key @param {T | null} item */
  function replace(key, item) {
    const present = rows.get(key);
    if (!present) return false;
    if (item === null) {
      const gone = present.querySelector("a");
      gone?.removeAttribute("href");
      present.removeAttribute("data-href");
      present.onclick = null;
      present.classList.add("quiet");
      return true;
    }
    const made = row(item);
    if (present.contains(document.activeElement)) queueMicrotask(() => made.querySelector("a")?.focus());
    present.replaceWith(made);
    rows.set(key, made);
    return true;
  }

  for (const path of follows) {
    follow(
      path,
      (fact) => {
        if (fact === null) {
          // Anything may have changed. Rows are not moved under a pointer or out of a focus.
          if (rows.size > 0 && element.matches(":hover, :focus-within")) offer();
          else void reload();
          return;
        }
        const change = onFact?.(fact);
        if (change === null) return;
        if (!change || !replace(change.id, change.item)) offer();
      },
      context.signal,
    );
  }

  body.append(
    ...Array.from({ length: 6 }, () =>
      h(
        "tr",
        { class: "skeleton", "aria-hidden": "true" },
        ...columns.map(() => h("td", {}, h("span", { class: "bone" }))),
      ),
    ),
  );
  more.hidden = true;
  const ready = reload();
  return { element, reload, replace, ready };
}

/**
 * Filters as chips: links, so that the address holds them. One that is not among the choices is none.
 * @param {string} label
 * @param {Context} context
 * @param {string} name the query's parameter
 * @param {[value: string, text: string][]} choices
 */
export function chips(label, context, name, choices) {
  if (!choices.some(([value]) => value === (context.query.get(name) ?? ""))) context.note({ [name]: null });
  const chosen = context.query.get(name) ?? "";
  return h(
    "nav",
    { class: "chips", "aria-label": label },
    ...choices.map(([value, text]) =>
      h("a", { href: context.here({ [name]: value, rows: null }), "aria-current": chosen === value && "true" }, text),
    ),
  );
}
