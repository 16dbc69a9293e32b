// The chart of the last 24 hours. Its series differ in dashes and marks as well as in colour; the table serves readers who
// cannot see it.

import { h } from "./dom.js";
import { count, exact, number } from "./words.js";

/** @typedef {import("../types.d.ts").ActivityHour} Hour */
/** @typedef {"received" | "applied" | "waiting" | "refused"} Series */

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 720;
const HEIGHT = 200;
const LEFT = 56;
const RIGHT = 16;
const TOP = 12;
const BOTTOM = 28;
const TICK = new Intl.DateTimeFormat(undefined, { hour: "numeric" });
const HOUR = new Intl.DateTimeFormat(undefined, { weekday: "short", hour: "numeric", minute: "2-digit" });
/** Half the size of a mark. */
const SIZE = 3.5;
/** Pixels between the marks of one hour, so that equal numbers stand side by side. */
const APART = 5;

/** @type {[name: Series, word: string, dashes: string, mark: (x: number, y: number) => string][]} */
const SERIES = [
  ["received", "Received", "", (x, y) => `M${x - SIZE} ${y}a${SIZE} ${SIZE} 0 1 0 ${2 * SIZE} 0a${SIZE} ${SIZE} 0 1 0 ${-2 * SIZE} 0`],
  ["applied", "Applied", "8 4", (x, y) => `M${x - SIZE} ${y - SIZE}h${2 * SIZE}v${2 * SIZE}h${-2 * SIZE}z`],
  ["waiting", "Waiting", "2 3", (x, y) => `M${x} ${y - SIZE}l${SIZE} ${2 * SIZE}h${-2 * SIZE}z`],
  ["refused", "Refused", "10 3 2 3", (x, y) => `M${x - SIZE} ${y - SIZE}l${2 * SIZE} ${2 * SIZE}m0 ${-2 * SIZE}l${-2 * SIZE} ${2 * SIZE}`],
];

/** @param {string} tag @param {Record<string, string | number>} attributes @param {...(Element | string)} children */
function shape(tag, attributes, ...children) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** A round number not below the largest value, for the axis. @param {number} value */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((factor) => factor * power).find((top) => top >= value) ?? value;
}

/** @param {Hour[]} hours */
const total = (hours) => (/** @type {Series} */ name) => hours.reduce((sum, hour) => sum + hour[name], 0);

/**
 * @param {Hour[]} hours
 * @param {(hour: Hour) => string} href of the log of one hour
 */
export function hoursOf(hours, href) {
  const sum = total(hours);
  const spoken = `Messages of the last 24 hours by hour: ${SERIES.map(([name, word]) => `${number(sum(name))} ${word.toLowerCase()}`).join(", ")}. The numbers of each hour are in the table below.`;
  return h(
    "div",
    { class: "stack tight" },
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Chart of the last 24 hours" }, /** @type {any} */ (drawing(hours, spoken))),
    h(
      "ul",
      { class: "legend", "aria-label": "Series of the chart" },
      ...SERIES.map(([name, word, dashes, mark]) =>
        h(
          "li",
          { key: name, class: `series ${name}` },
          /** @type {any} */ (
            shape(
              "svg",
              { viewBox: "0 0 40 12", "aria-hidden": "true" },
              shape("path", { class: "line", d: "M0 6H40", "stroke-dasharray": dashes }),
              shape("path", { class: "mark", d: mark(20, 6) }),
            )
          ),
          `${word} `,
          h("strong", {}, number(sum(name))),
        ),
      ),
    ),
    h(
      "details",
      {},
      h("summary", {}, "The same as a table"),
      h(
        "div",
        { class: "scroll wide", tabindex: "0", role: "group", "aria-label": "Table of the last 24 hours" },
        h(
          "table",
          { class: "table" },
          h("caption", { class: "hidden-visually" }, "Messages of the last 24 hours by the hour of their arrival"),
          h("thead", {}, h("tr", {}, ...["Hour", ...SERIES.map(([, word]) => word), "Failed"].map((word) => h("th", { scope: "col" }, word)))),
          h(
            "tbody",
            {},
            ...hours
              .toReversed()
              .map((hour) =>
                h(
                  "tr",
                  { key: hour.hour },
                  h("th", { scope: "row" }, h("a", { href: href(hour), title: exact(hour.hour) }, HOUR.format(new Date(hour.hour)))),
                  ...SERIES.map(([name]) => h("td", {}, number(hour[name]), name === "received" && hour.more ? " or more" : "")),
                  h("td", {}, number(hour.failed)),
                ),
              ),
          ),
        ),
      ),
    ),
    hours.some((hour) => hour.more) ? h("p", { class: "small quiet" }, `Of an hour with more than ${count(10_000, "message")} only so many are counted.`) : null,
  );
}

/** @param {Hour[]} hours @param {string} spoken */
function drawing(hours, spoken) {
  const top = roundUp(Math.max(1, ...hours.flatMap((hour) => SERIES.map(([name]) => hour[name]))));
  /** @param {number} position */
  const across = (position) => LEFT + (position * (WIDTH - LEFT - RIGHT)) / Math.max(hours.length - 1, 1);
  /** @param {number} value */
  const down = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const chart = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "hours", role: "img", "aria-label": spoken });
  for (const value of top > 1 ? [0, top / 2, top] : [0, top]) {
    chart.append(
      shape("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: down(value), y2: down(value) }),
      shape("text", { x: LEFT - 8, y: down(value) + 4, "text-anchor": "end" }, number(value)),
    );
  }
  hours.forEach((hour, position) => {
    const anchor = position === hours.length - 1 ? "end" : "middle";
    if (position % 4 === 0) chart.append(shape("text", { x: across(position) + (anchor === "end" ? RIGHT : 0), y: HEIGHT - 6, "text-anchor": anchor }, TICK.format(new Date(hour.hour))));
  });
  for (const [order, [name, word, dashes, mark]] of SERIES.entries()) {
    if (hours.every((hour) => hour[name] === 0)) continue;
    /** @param {number} position */
    const beside = (position) => across(position) + (order - (SERIES.length - 1) / 2) * APART;
    const points = hours.map((hour, position) => [beside(position), down(hour[name])]);
    chart.append(
      shape(
        "g",
        { class: `series ${name}` },
        shape("title", {}, word),
        shape("polyline", { class: "line", points: points.map((point) => point.join(",")).join(" "), "stroke-dasharray": dashes }),
        ...hours.flatMap((hour, position) => (hour[name] > 0 ? [shape("path", { class: "mark", d: mark(beside(position), down(hour[name])) })] : [])),
      ),
    );
  }
  return chart;
}
