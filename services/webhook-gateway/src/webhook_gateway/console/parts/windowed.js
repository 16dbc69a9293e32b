// A long list with only the rows near the screen, and the focused one, in the document.

import { h, slot, update } from "./dom.js";

let made = 0;

/**
 * @param {{
 *   signal: AbortSignal,
 *   row: (id: string) => HTMLElement,
 *   drawn?: (ids: string[]) => void,
 *   into?: HTMLElement,
 *   guess?: number,
 *   between?: number,
 *   few?: number,
 *   space?: (height: number) => Element,
 * }} options `row` makes an element whose key is the id; `drawn` gets the ids of the rows in the document; `guess`:
 *   assumed pixel height of a row before it is drawn, `between`: gap between two; a list of up to `few` rows is drawn whole; `space` makes the filler for rows outside the document
 */
export function windowed({ signal, row, drawn, into, guess = 300, between = 16, few = 60, space = gap }) {
  const element = into ?? h("div", { key: `windowed-${(made += 1)}`, class: "stack" });
  /** @type {string[]} */
  let order = [];
  /** @type {Map<string, number>} */
  const heights = new Map();
  /** @type {string | null} */
  let wanted = null;
  let shown = "";
  let waiting = false;
  /** Whether the reader is scrolling to the end of the page. */
  let toEnd = false;
  /** Assumed pixel height of a row before it is drawn. */
  let typical = guess;

  /** The height of a row and of the gap behind it. @param {string} id */
  const heightOf = (id) => (heights.get(id) ?? typical) + between;

  /** Positions of the rows that must be in the document. */
  function positions() {
    if (order.length <= few) return order.map((_, position) => position);
    const top = element.isConnected ? -element.getBoundingClientRect().top : 0;
    const [from, to] = [top - innerHeight, top + 2 * innerHeight];
    const held = document.activeElement instanceof Element && element.contains(document.activeElement) ? keyOf(document.activeElement) : null;
    /** @type {number[]} */
    const found = [];
    let offset = 0;
    order.forEach((id, position) => {
      const end = offset + heightOf(id);
      if ((end > from && offset < to) || id === held || id === wanted) found.push(position);
      offset = end;
    });
    return found;
  }

  /** @param {Element} inside */
  const keyOf = (inside) => [...element.children].find((child) => child.contains(inside))?.getAttribute("data-key") ?? null;

  function draw() {
    const found = positions();
    shown = found.join();
    /** @type {Element[]} */
    const children = [];
    let before = 0;
    for (const position of [...found, order.length]) {
      const left = order.slice(before, position).reduce((sum, id) => sum + heightOf(id), 0);
      if (left > 0) children.push(space(left - between));
      if (position < order.length) children.push(row(String(order[position])));
      before = position + 1;
    }
    update(element, ...children);
    measure();
    drawn?.(found.map((position) => String(order[position])));
  }

  function measure() {
    for (const child of element.children) {
      const id = child.getAttribute("data-key");
      if (child instanceof HTMLElement && id && child.offsetHeight > 0) heights.set(id, child.offsetHeight);
    }
    if (heights.size > 0) typical = [...heights.values()].reduce((sum, height) => sum + height, 0) / heights.size;
  }

  function soon() {
    if (waiting || order.length <= few) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (signal.aborted || positions().join() === shown) return;
      draw();
      // Drawn rows may be higher than assumed.
      if (toEnd) scrollTo(0, document.documentElement.scrollHeight);
    });
  }

  // The browser's own animation to the start or the end breaks off when rows are drawn on the way.
  addEventListener(
    "keydown",
    (event) => {
      toEnd = event.key === "End";
      if (order.length <= few || !(toEnd || event.key === "Home") || !movesThePage(event)) return;
      event.preventDefault();
      scrollTo({ top: toEnd ? document.documentElement.scrollHeight : 0, behavior: "instant" });
    },
    { signal },
  );
  for (const act of ["wheel", "pointerdown", "touchstart"]) addEventListener(act, () => (toEnd = false), { passive: true, signal });
  addEventListener("scroll", soon, { passive: true, signal });
  addEventListener("resize", soon, { passive: true, signal });
  return {
    get element() {
      return slot(element);
    },
    /** @param {string[]} ids in their order */
    show(ids) {
      order = ids;
      draw();
      soon();
    },
    /** Draw a row wherever it is in the list; null if it is not in the list. @param {string} id @returns {HTMLElement | null} */
    reveal(id) {
      if (!order.includes(id)) return null;
      if (!element.querySelector(`:scope > [data-key="${CSS.escape(id)}"]`)) {
        wanted = id;
        draw();
        wanted = null;
      }
      return element.querySelector(`:scope > [data-key="${CSS.escape(id)}"]`);
    },
  };
}

/** Whether a key without a modifier scrolls the page: in a text field or a dialog it does not. @param {KeyboardEvent} event */
function movesThePage(event) {
  const { target } = event;
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return false;
  return !(target instanceof Element && target.closest("input:not([type=radio], [type=checkbox]), textarea, select, dialog, [contenteditable], [role=menu], [role=listbox]"));
}

/** Filler for rows outside the document: an SVG, since its height attribute is no inline style, which the CSP forbids. @param {number} height */
export function gap(height) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["width", "1"], ["height", String(Math.max(0, height))], ["aria-hidden", "true"], ["class", "gap"]]) svg.setAttribute(String(name), String(value));
  return svg;
}
