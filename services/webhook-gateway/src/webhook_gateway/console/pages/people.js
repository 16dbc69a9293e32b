// People: members and children.

import { at, get } from "../api.js";
import { h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { chips, list } from "../parts/list.js";
import { heading } from "../parts/look.js";
import { linkStatus } from "../parts/member.js";
import { searchBox } from "../parts/search.js";
import { fullName } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Member} Member */

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, query, signal, admin } = context;
  const filters = h(
    "div",
    { class: "stack" },
    searchBox(context, "Search people", "Name, email or phone"),
    chips("Planning Center", context, "state", [
      ["", "All"],
      ["linked", "Linked"],
      ["local", "Only here"],
      ["gone", "Gone in Planning Center"],
      ["held", "Held"],
      ["kept_out", "Kept out of the sync"],
      ["inactive", "Inactive"],
    ]),
    chips("Adults and children", context, "child", [
      ["", "Adults and children"],
      ["false", "Adults"],
      ["true", "Children"],
    ]),
  );
  const filtered = ["q", "state", "child"].some((name) => query.get(name));
  const members = list(context, {
    caption: "Members and children",
    columns: ["Name", "Adult or child", "Email", "Phone", "Planning Center"],
    noun: ["person", "people"],
    load: (after, limit) =>
      get("/people/members", { after, limit, q: query.get("q"), state: query.get("state"), child: query.get("child") }, signal),
    id: (/** @type {Member} */ member) => member.id,
    href: (member) => at`/people/${member.id}`,
    cells: (member) => [fullName(member), member.child ? "Child" : "Adult", member.email, member.phone, linkStatus(member)],
    most: 1000,
    file: downloads("/people/members.csv", { q: query.get("q"), state: query.get("state"), child: query.get("child") }),
    follows: ["/people/members"],
    onFact: (fact) => {
      if (fact.type === "MemberChanged") return { id: fact.body.member.id, item: fact.body.member };
      return fact.type === "MemberRemoved" ? { id: fact.body.member_id, item: null } : null;
    },
    empty: () =>
      filtered
        ? [h("h2", {}, "Nobody matches"), h("p", {}, h("a", { href: "/people" }, "Show everybody"))]
        : [
            h("h2", {}, "No people yet"),
            h("p", {}, "Members and children of your church are listed here, once they are synced or added."),
            h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations to sync")),
          ],
  });
  main.append(
    heading(
      "People",
      h("a", { href: "/held" }, "Held matches"),
      admin ? h("a", { href: "/people/erased" }, "Erased people") : null,
      admin ? h("a", { href: "/people/new" }, "Add a person") : null,
    ),
    filters,
    members.element,
  );
  await members.ready;
}
