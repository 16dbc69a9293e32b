// A small bar chart, oldest value first. The table beside it serves readers who cannot see it.

import { h } from "./dom.js";
import { number } from "./words.js";

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 60;

/**
 * @param {string} title
 * @param {number[]} values
 * @param {number} slots how many there can be
 */
export function bars(title, values, slots) {
  const most = Math.max(...values, 1);
  const step = WIDTH / slots;
  const chart = document.createElementNS(SPACE, "svg");
  const attributes = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "bars", role: "img", "aria-label": `${title}: ${values.map(number).join(", ")}` };
  for (const [name, value] of Object.entries(attributes)) chart.setAttribute(name, value);
  values.forEach((value, position) => {
    const bar = document.createElementNS(SPACE, "rect");
    // At least 2 pixels, so that a value above zero is visible.
    const height = value > 0 ? Math.max(2, (value / most) * HEIGHT) : 0;
    const shape = { x: (slots - values.length + position) * step + 1, y: HEIGHT - height, width: Math.max(1, step - 2), height };
    for (const [name, size] of Object.entries(shape)) bar.setAttribute(name, String(size));
    chart.append(bar);
  });
  const last = values.at(-1) ?? 0;
  return h("figure", { key: title }, h("figcaption", {}, title, h("span", { class: "quiet small" }, ` last ${number(last)}, at most ${number(Math.max(...values, 0))}`)), /** @type {any} */ (chart));
}
