// Activity: the traffic between here and Planning Center.

import { h } from "../parts/dom.js";
import { heading } from "../parts/look.js";

/** @param {import("../app.js").Context} context */
export function show({ main }) {
  main.append(
    heading("Activity"),
    h(
      "div",
      { class: "card empty" },
      h("h2", {}, "No notifications yet"),
      h("p", {}, "Planning Center does not notify us of changes yet. Each sync reads them."),
      h("p", {}, h("a", { href: "/runs" }, "See every sync in the sync history")),
    ),
  );
}
