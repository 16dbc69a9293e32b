// History of *Sync all linked events*.

import { at } from "../api.js";
import { h } from "../parts/dom.js";
import { heading } from "../parts/look.js";
import { runsOf } from "../parts/runs.js";

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const runs = runsOf(context, { path: "/calendar/runs", here: "/events/syncs", href: (id) => at`/events/syncs/${id}` });
  context.main.append(heading("Syncs of linked events", h("a", { href: "/events" }, "Events"), h("a", { href: "/integrations" }, "Integrations")), ...runs.elements);
  await runs.ready;
}
