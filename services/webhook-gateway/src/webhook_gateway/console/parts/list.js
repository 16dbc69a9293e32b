// A list of records as a table: keyset "Load more", a visible count, rows that open by Enter and by click. Of a long list
// only the rows near the screen are in the document.

import { onNetwork } from "../api.js";
import { follow } from "../live.js";
import { h, update } from "./dom.js";
import { freshLine } from "./fresh.js";
import { Problem, sentenceOf } from "./problem.js";
import { gap, windowed } from "./windowed.js";
import { number } from "./words.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {import("../app.js").Context} Context */
/**
 * @template T
 * @typedef {import("../types.d.ts").Page<T>} Page
 */

const STEP = 50;
const MOST = 10_000;
/** Rows of the first read, few enough to appear at once. */
const FIRST = 200;
/** Assumed pixel height of a row before it is drawn. */
const GUESS = 41;
/** Milliseconds from a fact about a new row until a watched list is read again. */
const LATER = 1000;

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
 *   most?: number,
 *   dear?: boolean,
 *   follows?: string[],
 *   onFact?: (fact: import("../live.js").Fact, known: (id: string) => T | undefined) => { id: string, item: T | null } | null | undefined,
 *   grows?: boolean,
 *   file?: HTMLElement,
 * }} options the first cell heads its row; `most`: rows of one read; `dear`: the reader asks for every further
 *   read, since a page that is shorter than asked for took long enough; `onFact` gives an item's new state (null: removed)
 *   without a read; null: the fact is of no concern, undefined: the list is to be read again; `grows`: read again by
 *   itself where nobody points, for a list that is watched
 */
export function list(context, { caption, columns, load, id, cells, href, noun, empty, most = FIRST, dear = false, follows = [], onFact, grows = false, file }) {
  const body = h("tbody");
  const table = h(
    "table",
    { class: "table fold" },
    h("caption", { class: "hidden-visually" }, caption),
    h("thead", {}, h("tr", {}, ...columns.map((column) => h("th", { scope: "col" }, column || h("span", { class: "hidden-visually" }, "Actions"))))),
    body,
  );
  const counted = h("p", { class: "quiet", role: "status" });
  const fresh = freshLine("This list", reload);
  const more = h("button", { type: "button", onclick: () => extend() }, "Load more");
  const failure = h("div");
  const element = h("div", { class: "stack" }, h("div", { class: "row spread" }, counted, fresh.element, file), table, failure, more);
  /** @type {Map<string, T>} */
  const items = new Map();
  /** Ids of items removed since they were read. @type {Set<string>} */
  const gone = new Set();
  const rows = windowed({ signal: context.signal, row, into: body, guess: GUESS, between: 0, few: FIRST, space: filler });
  /** @type {string | null} */
  let next = null;
  /** @type {number | null} */
  let total = null;
  let asked = 0;
  let length = Math.min(Number(context.query.get("rows")) || STEP, MOST);
  /** The row that the reader left the page from. */
  let back = context.query.get("at");

  /** @param {string} key */
  function row(key) {
    const item = /** @type {T} */ (items.get(key));
    const address = gone.has(key) ? null : (href?.(item) ?? null);
    return h(
      "tr",
      {
        key,
        class: gone.has(key) && "quiet",
        "data-href": address,
        onclick: (/** @type {MouseEvent} */ event) => {
          const target = /** @type {Element} */ (event.target);
          if (!address || getSelection()?.toString()) return;
          if (target.closest("a[data-row]")) return leave(key);
          if (target.closest("a, button")) return;
          leave(key);
          context.go(address);
        },
      },
      ...cells(item).map((cell, position) =>
        position === 0
          ? // Load more and Back focus it where it has no link.
            h("th", { scope: "row", tabindex: address ? null : "-1" }, address ? h("a", { href: address, "data-row": true }, cell) : cell)
          : h("td", { "data-label": columns[position] || null }, cell),
      ),
    );
  }

  /** Put the row into the address, so that Back returns to it. @param {string} key */
  function leave(key) {
    context.note({ at: key });
  }

  /** @param {number} height */
  function filler(height) {
    return h("tr", { class: "filler", "aria-hidden": "true" }, h("td", { colspan: columns.length }, gap(height)));
  }

  function draw() {
    rows.show([...items.keys()]);
    const part = body.rows.length < items.size;
    steady(part);
    if (part) table.setAttribute("aria-rowcount", String(items.size + 1));
    else table.removeAttribute("aria-rowcount");
  }

  /** Fix the columns' widths, which would otherwise change with the rows near the screen. @param {boolean} part */
  function steady(part) {
    if (part === table.classList.contains("steady")) return;
    table.querySelector("colgroup")?.remove();
    if (part) table.tHead?.before(h("colgroup", {}, ...[...table.querySelectorAll("thead th")].map((head) => h("col", { width: /** @type {HTMLElement} */ (head).offsetWidth }))));
    table.classList.toggle("steady", part);
  }
  addEventListener(
    "resize",
    () => {
      steady(false);
      draw();
    },
    { signal: context.signal },
  );

  function describe() {
    more.hidden = next === null || items.size >= MOST;
    const all = total === null && next === null ? items.size : total;
    const text =
      all === null
        ? `${number(items.size)} ${noun[1]} shown`
        : all === items.size
          ? `${number(all)} ${all === 1 ? noun[0] : noun[1]}`
          : `${number(items.size)} of ${number(all)} ${noun[1]}`;
    if (counted.textContent !== text) counted.textContent = text;
    table.hidden = items.size === 0;
    element.querySelector(".empty")?.remove();
    if (items.size === 0) table.after(h("div", { class: "card empty" }, empty()));
  }

  /**
   * @param {string | null} after
   * @param {number} wanted
   * @returns {Promise<boolean>} whether all rows were read
   */
  async function fetchRows(after, wanted) {
    failure.replaceChildren();
    const ticket = ++asked;
    more.disabled = true;
    try {
      let remaining = wanted;
      let first = after === null;
      do {
        const page = await load(after, Math.min(remaining, first ? FIRST : most));
        if (context.signal.aborted || ticket !== asked) return false;
        if (first) {
          items.clear();
          gone.clear();
        }
        for (const item of page.items) {
          // An item read twice takes the later position.
          items.delete(id(item));
          items.set(id(item), item);
        }
        next = page.next;
        total = page.total ?? (first ? null : total);
        after = page.next;
        remaining -= page.items.length;
        first = false;
        draw();
        describe();
        comeBack();
      } while (after !== null && remaining > 0 && !dear);
      return true;
    } catch (error) {
      if (context.signal.aborted || ticket !== asked) return false;
      if (items.size === 0) update(body);
      failed(error, () => fetchRows(after, wanted));
      return false;
    } finally {
      more.disabled = false;
    }
  }

  /** @param {unknown} error @param {() => unknown} again */
  function failed(error, again) {
    update(
      failure,
      h(
        "div",
        { class: "notice bad", role: "alert" },
        h("p", {}, sentenceOf(error)),
        h("div", { class: "row" }, h("button", { type: "button", onclick: again }, "Try again")),
      ),
    );
    table.hidden = items.size === 0;
    if (error instanceof Problem && error.status === 0) onNetwork(() => failure.hasChildNodes() && void again(), context.signal);
  }

  /** Focus the row the reader came back to once it is drawn, unless the focus is already elsewhere. */
  function comeBack() {
    if (back === null || !items.has(back)) return;
    const elsewhere = document.activeElement !== document.body && document.activeElement?.localName !== "h1";
    if (!elsewhere) focusOn(back);
    back = null;
  }

  /** @param {string} key */
  function focusOn(key) {
    const found = rows.reveal(key);
    const link = found?.querySelector("a[data-row]") ?? found?.querySelector("th");
    if (!(link instanceof HTMLElement)) return;
    link.focus({ preventScroll: true });
    link.scrollIntoView({ block: "center" });
  }

  async function extend() {
    const before = new Set(items.keys());
    if (!(await fetchRows(next, STEP))) return;
    length = items.size;
    context.note({ rows: length });
    const added = [...items.keys()].find((key) => !before.has(key));
    if (added) focusOn(added);
  }

  /** Read again from the start, as many rows as are shown or requested. */
  async function reload() {
    fresh.hide();
    await fetchRows(null, length);
  }

  /** @param {string} key @param {T | null} item */
  function replace(key, item) {
    if (!items.has(key)) return false;
    if (item === null) gone.add(key);
    else {
      gone.delete(key);
      items.set(key, item);
    }
    draw();
    return true;
  }

  /** @type {number | undefined} */
  let later;
  context.signal.addEventListener("abort", () => clearTimeout(later));

  /** Any row may have changed. Rows must not move under a pointer or lose the focus. */
  function refresh() {
    later = undefined;
    if (items.size > 0 && element.matches(":hover, :focus-within")) fresh.offer();
    else void reload();
  }

  for (const path of follows) {
    follow(
      path,
      (fact) => {
        if (fact === null) {
          refresh();
          return;
        }
        const change = onFact?.(fact, (key) => items.get(key));
        if (change === null || (change && replace(change.id, change.item))) return;
        if (grows) later ??= setTimeout(refresh, LATER);
        else fresh.offer();
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
  return { element, reload, refresh, replace, ready, values: () => [...items.values()] };
}

/**
 * Filters as chips: links, so that the address holds them. An unknown value counts as no filter.
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
      h("a", { href: context.here({ [name]: value, rows: null, at: null }), "aria-current": chosen === value && "true" }, text),
    ),
  );
}
