// A long list of which only what is near the screen is on the page; what has the focus is always there.

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
 * }} options `row` makes an element whose key is the id; `drawn` is told which rows are on the page; `guess`: pixels that
 *   a row is taken to be high until it was seen, `between` two of them; a list of `few` rows is on the page as a whole; `space` stands for rows that are not on the page
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
  /** Whether the reader is on the way to the end of the page. */
  let toEnd = false;
  /** Pixels of a row that was not seen yet. */
  let typical = guess;

  /** The height of a row and of the gap behind it. @param {string} id */
  const heightOf = (id) => (heights.get(id) ?? typical) + between;

  /** Positions that have to be on the page. */
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
      // Rows turn out higher than they were taken to be.
      if (toEnd) scrollTo(0, document.documentElement.scrollHeight);
    });
  }

  addEventListener("keydown", ({ key }) => (toEnd = key === "End"), { signal });
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
    /** Put a row on the page, wherever that is; null if it is not in the list. @param {string} id @returns {HTMLElement | null} */
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

/** Stands for rows that are not on the page. An inline style is not allowed; the height of a drawing is none. @param {number} height */
export function gap(height) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["width", "1"], ["height", String(Math.max(0, height))], ["aria-hidden", "true"], ["class", "gap"]]) svg.setAttribute(String(name), String(value));
  return svg;
}
