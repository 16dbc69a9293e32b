// A search field whose text is in the address.

import { h } from "./dom.js";

/**
 * @param {import("../app.js").Context} context
 * @param {string} label
 * @param {string} placeholder
 */
export function searchBox(context, label, placeholder) {
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
      maxlength: 100,
    }),
    h("button", {}, "Search"),
  );
}
