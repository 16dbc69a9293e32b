// The quiet line "Updated just now · Show", where a change would move what the reader points at.

import { announce, h } from "./dom.js";

/**
 * @param {string} what "This list"
 * @param {() => unknown} show
 */
export function freshLine(what, show) {
  const element = h("div", { class: "row", hidden: true });
  return {
    element,
    hide() {
      element.hidden = true;
    },
    offer() {
      if (!element.hidden) return;
      element.replaceChildren(h("span", { class: "quiet" }, "Updated just now"), h("button", { type: "button", class: "link", onclick: show }, "Show"));
      element.hidden = false;
      announce(`${what} was updated. Choose Show to see it.`);
    },
  };
}
