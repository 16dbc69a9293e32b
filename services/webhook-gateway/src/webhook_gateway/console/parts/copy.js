// A value to copy.

import { announce, h } from "./dom.js";
import { action } from "./look.js";
import { Problem } from "./problem.js";

/**
 * @param {string} what
 * @param {string} text
 */
export const copyButton = (what, text) =>
  action(
    "Copy",
    async () => {
      await navigator.clipboard?.writeText(text).catch(() => {
        throw new Problem("This browser did not allow it. Select the text and copy it with the keyboard.");
      });
      announce(`${what} was copied.`);
    },
    { key: `copy-${what}`, class: "link", name: `Copy: ${what}` },
  );

/**
 * Values with a button each; empty ones are left out.
 * @param {[what: string, text: string | null][]} values
 */
export const copyable = (values) =>
  h(
    "dl",
    { class: "facts" },
    ...values.map(([what, text]) => text && [h("dt", {}, what), h("dd", { key: what, class: "row" }, h("span", { class: "lines" }, text), copyButton(what, text))]),
  );
