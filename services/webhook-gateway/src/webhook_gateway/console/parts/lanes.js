// Places of events in the days of a calendar, so that one of several days has the same place in each.

import { shifted } from "./times.js";

/**
 * @template T
 * @typedef {{ item: T, first: string, last: string }} Placed from its first to its last day
 */

/** The days of whole weeks around a month. @param {string} month `2026-04` @param {number} weekBegins 0 for Sunday */
export function weeksOf(month, weekBegins) {
  const first = `${month}-01`;
  const start = shifted(first, -((new Date(first).getUTCDay() - weekBegins + 7) % 7));
  /** @type {string[][]} */
  const weeks = [];
  for (let day = start; day.slice(0, 7) <= month; day = shifted(day, 7)) weeks.push([0, 1, 2, 3, 4, 5, 6].map((one) => shifted(day, one)));
  return weeks;
}

/**
 * @template T
 * @param {string[]} days of a week
 * @param {Placed<T>[]} placed in the order of their starts
 * @returns {(Placed<T> | null)[][]} of each day its places from the top, empty ones as null
 */
export function lanes(days, placed) {
  const [begin, end] = [String(days[0]), String(days.at(-1))];
  /** @type {(Placed<T> | null)[][]} */
  const found = days.map(() => []);
  const here = placed.filter((one) => one.first <= end && one.last >= begin);
  /** @param {Placed<T>} one */
  const lasts = ({ first, last }) => first < last;
  // Those of several days first: they would otherwise lie below different numbers of others.
  for (const one of [...here.filter(lasts), ...here.filter((each) => !lasts(each))]) {
    const on = days.flatMap((day, position) => (day >= one.first && day <= one.last ? [position] : []));
    let lane = 0;
    while (on.some((position) => found[position]?.[lane])) lane += 1;
    for (const position of on) {
      const places = /** @type {(Placed<T> | null)[]} */ (found[position]);
      while (places.length < lane) places.push(null);
      places[lane] = one;
    }
  }
  return found;
}
