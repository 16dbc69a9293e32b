// Events: linked here once Calendar is connected.

import { get } from "../api.js";
import { h } from "../parts/dom.js";
import { heading } from "../parts/look.js";
import { part } from "../parts/part.js";

/** @param {import("../app.js").Context} context */
export function show({ main, signal }) {
  const state = part({
    signal,
    follows: ["/connections"],
    load: () => get("/connections", undefined, signal),
    render: (/** @type {import("../types.d.ts").Connections} */ { calendar }) =>
      h(
        "div",
        { class: "card empty" },
        h("h2", {}, "No events yet"),
        calendar.state === "connected"
          ? h("p", {}, `Planning Center Calendar is connected with ${calendar.pco_organization_name}. No events are linked.`)
          : [
              h("p", {}, "Events will be linked here. Connect Planning Center Calendar first."),
              h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations")),
            ],
      ),
  });
  main.append(heading("Events"), state.element);
}
