// The differences between two values, marked by more than colour.

import { h } from "./dom.js";

/**
 * The new value with changed words marked and removed ones struck through.
 * @param {string} before
 * @param {string} after
 */
export function changed(before, after) {
  const empty = h("span", { class: "quiet" }, "empty");
  if (!after) return before ? [empty, " ", h("del", {}, before)] : empty;
  const old = before.split(" ");
  const words = after.split(" ");
  let start = 0;
  while (start < words.length && start < old.length && words[start] === old[start]) start += 1;
  let end = 0;
  while (end < words.length - start && end < old.length - start && words.at(-1 - end) === old.at(-1 - end)) end += 1;
  const head = words.slice(0, start).join(" ");
  const middle = words.slice(start, words.length - end).join(" ");
  const gone = old.slice(start, old.length - end).join(" ");
  const tail = words.slice(words.length - end).join(" ");
  return [
    head && `${head} `,
    !middle && gone ? [h("del", {}, gone), " "] : null,
    middle ? h("ins", {}, middle) : null,
    tail && ` ${tail}`,
  ];
}
