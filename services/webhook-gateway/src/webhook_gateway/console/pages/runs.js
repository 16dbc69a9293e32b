// Sync history of people and families.

import { at } from "../api.js";
import { h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { heading } from "../parts/look.js";
import { runsOf } from "../parts/runs.js";

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const runs = runsOf(context, { path: "/people/runs", here: "/runs", href: (id) => at`/runs/${id}`, file: (query) => downloads("/people/runs.csv", query) });
  context.main.append(
    heading("Sync history", h("a", { href: "/events/syncs" }, "Syncs of linked events"), h("a", { href: "/integrations" }, "Integrations")),
    ...runs.elements,
  );
  await runs.ready;
}
