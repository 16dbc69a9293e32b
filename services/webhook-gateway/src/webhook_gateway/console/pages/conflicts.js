// Open conflicts: what differs, and what was last agreed.

import { at, get } from "../api.js";
import { h } from "../parts/dom.js";
import { heading, action, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { count, fieldName, longDay, shown } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Conflict} Conflict */
/** @typedef {import("../types.d.ts").ConflictField} ConflictField */
/** @typedef {import("../types.d.ts").Page<Conflict>} Conflicts */

const STEP = 25;
const MOST = 200;

/** @param {import("../app.js").Context} context */
export function show(context) {
  const { main, query, signal } = context;
  let limit = Math.min(Number(query.get("rows")) || STEP, MOST);
  const family = query.get("family_id");
  const open = query.get("open");
  /** @type {Conflict[]} */
  let earlier = [];
  /** @type {import("../parts/part.js").Part<Conflicts>} */
  const conflicts = part({
    signal,
    follows: ["/conflicts"],
    load: async () => {
      earlier = [];
      if (!open) return get("/conflicts", { limit, family_id: family }, signal);
      /** @type {Conflict} */
      const one = await get(at`/conflicts/${open}`, undefined, signal);
      return { items: one.state === "open" ? [one] : [], next: null, total: null };
    },
    render: (/** @type {Conflicts} */ page) =>
      page.items.length === 0
        ? h(
            "div",
            { class: "card empty" },
            h("h2", {}, open ? "This conflict is settled" : "No open conflicts"),
            h("p", {}, "When a field was changed to different values here and in Planning Center, or differed when the two were matched and you chose to be asked, it is listed here. Both sides keep their own value."),
            h("p", {}, h("a", { href: "/integrations" }, "Go to Integrations")),
          )
        : [
            h("p", {}, "To settle one, give both sides the same values, here or in Planning Center: the next sync closes it. The fields in conflict are left as they are on both sides until then; all others are synced."),
            h("p", { class: "quiet", role: "status" }, page.total === null ? null : count(page.total, "open conflict")),
            ...[...earlier, ...page.items].map(conflict),
            page.next
              ? action("Load more", async () => {
                  if (limit < MOST) {
                    limit = Math.min(limit + STEP, MOST);
                    context.note({ rows: limit });
                    return conflicts.reload();
                  }
                  const next = await get("/conflicts", { limit: MOST, family_id: family, after: page.next }, signal);
                  earlier = [...earlier, ...page.items];
                  return conflicts.show(next);
                })
              : null,
          ],
  });
  main.append(
    heading("Conflicts"),
    h("p", { class: "quiet" }, "Fields with different values here and in Planning Center. Both sides keep their own value."),
    conflicts.element,
  );
  if (open) main.append(h("p", {}, h("a", { href: "/conflicts" }, "Show all open conflicts")));
  else if (family) main.append(h("p", {}, h("a", { href: "/conflicts" }, "Show conflicts of all families")));
}

/** @param {Conflict} item */
function conflict(item) {
  const { record } = item;
  const address = record.kind === "family" ? at`/families/${record.id}` : at`/people/${record.id}`;
  return h(
    "section",
    { key: item.id, class: "card", "aria-labelledby": `conflict-${item.id}` },
    h("div", { class: "row spread" }, h("h2", { id: `conflict-${item.id}` }, h("a", { href: address }, record.name || "No name")), h("span", { class: "quiet small" }, "Since ", when(item.opened_at))),
    h(
      "table",
      { class: "table fold" },
      h("caption", { class: "hidden-visually" }, `What differs for ${record.name || "this record"}`),
      h("thead", {}, h("tr", {}, ...["Field", "Last agreed", "Here", "Planning Center"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...item.fields.map(row)),
    ),
  );
}

/** @param {ConflictField} field */
function row(field) {
  const base = shown(field.base);
  /** @param {unknown} value */
  const side = (value) => (field.base_known ? changed(base, shown(value)) : shown(value) || h("span", { class: "quiet" }, "empty"));
  return h(
    "tr",
    { key: field.field },
    h("th", { scope: "row" }, fieldName(field.field)),
    h("td", { "data-label": "Last agreed" }, base || h("span", { class: "quiet" }, field.base_known ? "empty" : "Nothing yet: they differed when they were matched."), field.agreed_at ? h("div", { class: "quiet small" }, `Last agreed on ${longDay(field.agreed_at)}`) : null),
    h("td", { "data-label": "Here" }, side(field.ours), at_(field.ours_changed_at)),
    h("td", { "data-label": "Planning Center" }, side(field.theirs), at_(field.theirs_changed_at)),
  );
}

/** @param {string | null} moment */
const at_ = (moment) => (moment ? h("div", { class: "quiet small" }, when(moment)) : null);

/**
 * The new value with its changed words marked; what was taken away is shown struck through.
 * @param {string} before
 * @param {string} after
 */
function changed(before, after) {
  if (!after) return before ? h("del", {}, before) : h("span", { class: "quiet" }, "empty");
  const old = before.split(" ");
  const words = after.split(" ");
  let start = 0;
  while (start < words.length && start < old.length && words[start] === old[start]) start += 1;
  let end = 0;
  while (end < words.length - start && end < old.length - start && words.at(-1 - end) === old.at(-1 - end)) end += 1;
  const head = words.slice(0, start).join(" ");
  const middle = words.slice(start, words.length - end).join(" ");
  const gone = old.slice(start, old.length - end).join(" ");
  const tail = words.slice(words.length - end).join(" ");
  return [
    head && `${head} `,
    !middle && gone ? [h("del", {}, gone), " "] : null,
    middle ? h("ins", {}, middle) : null,
    tail && ` ${tail}`,
  ];
}
