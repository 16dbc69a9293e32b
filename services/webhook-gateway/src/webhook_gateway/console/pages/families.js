// Families.

import { at, get } from "../api.js";
import { h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { list } from "../parts/list.js";
import { heading, when } from "../parts/look.js";
import { linkStatus } from "../parts/member.js";
import { searchBox } from "../parts/search.js";
import { number } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Family} Family */

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, query, signal, admin } = context;
  const box = searchBox(context, "Search families", "Name");
  const families = list(context, {
    caption: "Families",
    columns: ["Name", "Members", "Planning Center", "Changed"],
    noun: ["family", "families"],
    load: (after, limit) => get("/people/families", { after, limit, q: query.get("q") }, signal),
    id: (/** @type {Family} */ family) => family.id,
    href: (family) => at`/families/${family.id}`,
    cells: (family) => [family.name || "No name", number(family.member_ids.length), linkStatus(family), when(family.updated_at)],
    most: 1000,
    file: downloads("/people/families.csv", { q: query.get("q") }),
    follows: ["/people/families"],
    onFact: (fact) => {
      if (fact.type === "FamilyChanged") return { id: fact.body.family.id, item: fact.body.family };
      return fact.type === "FamilyRemoved" ? { id: fact.body.family_id, item: null } : null;
    },
    empty: () =>
      query.get("q")
        ? [h("h2", {}, "No family matches"), h("p", {}, h("a", { href: "/families" }, "Show all families"))]
        : [
            h("h2", {}, "No families yet"),
            h("p", {}, "Families of your church are listed here, once they are synced or added."),
            h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations to sync")),
          ],
  });
  main.append(
    heading("Families", admin ? h("a", { href: "/families/new" }, "Add a family") : null),
    box,
    families.element,
  );
  await families.ready;
}
