// A search field whose text is in the address.

import { h } from "./dom.js";
import { limit } from "./look.js";

/** Maximum characters that the server accepts. */
export const MOST = 100;

/**
 * @param {import("../app.js").Context} context
 * @param {string} label
 * @param {string} placeholder
 */
export function searchBox(context, label, placeholder) {
  if ((context.query.get("q")?.length ?? 0) > MOST) context.note({ q: null });
  return h(
    "form",
    {
      role: "search",
      class: "search",
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        const q = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget)).get("q");
        context.go(context.here({ q: String(q).trim(), rows: null }));
      },
    },
    h("input", {
      type: "search",
      name: "q",
      "aria-label": label,
      placeholder,
      value: context.query.get("q"),
      oninput: (/** @type {Event} */ event) => limit(/** @type {HTMLInputElement} */ (event.currentTarget), MOST),
    }),
    h("button", {}, "Search"),
  );
}
