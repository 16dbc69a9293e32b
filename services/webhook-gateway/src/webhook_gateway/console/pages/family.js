// One family: its name, members and primary contact.

import { at, get, patch, post, remove } from "../api.js";
import { announce, h, update } from "../parts/dom.js";
import { action, confirm, field, heading, limit, run as work, when } from "../parts/look.js";
import { conflictOf } from "../parts/conflict.js";
import { differencesOf } from "../parts/differences.js";
import { historyOf } from "../parts/history.js";
import { keptOutOf } from "../parts/kept_out.js";
import { WRITTEN, differing, linkStatus, nameAmong } from "../parts/member.js";
import { otherwiseChanged } from "../parts/newest.js";
import { part } from "../parts/part.js";
import { MOST } from "../parts/search.js";
import { syncNow } from "../parts/sync.js";
import { whyDifferent } from "../parts/why.js";
import { sentenceOf } from "../parts/problem.js";
import { undoOf } from "../parts/undo.js";
import { openThere } from "../parts/there.js";
import { count, listed, shown } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Family} Family */
/** @typedef {import("../types.d.ts").Member} Member */
/** @typedef {import("../app.js").Context} Context */
/** @typedef {{ family: Family, members: Member[] }} Known */

/** @param {Context} context */
export async function show(context) {
  if (context.id === "new" && context.admin) return edit(context, null);
  if (context.id === "new") {
    context.main.append(
      heading("Add a family", h("a", { href: "/families" }, "All families")),
      h("p", {}, "Administrators add families. Nothing was changed; ask one of them."),
    );
    return;
  }
  if (context.query.has("edit") && context.admin) return edit(context, await read(context));
  return view(context);
}

/**
 * @param {Context} context
 * @returns {Promise<Known>}
 */
async function read({ id, signal, absent }) {
  /** @type {Family} */
  const family = await get(at`/people/families/${id}`, undefined, signal).catch(absent);
  /** @type {Member[]} */
  const members = [];
  let after = null;
  do {
    /** @type {import("../types.d.ts").Page<Member>} */
    const page = await get("/people/members", { family_id: id, after, limit: 200 }, signal);
    members.push(...page.items);
    after = page.next;
  } while (after);
  return { family, members };
}

/** @param {Context} context */
function view(context) {
  const { id, main, signal, admin } = context;
  const title = heading("Family", h("a", { href: "/families" }, "All families"));
  const conflict = conflictOf(context);
  const differences = differencesOf(context, at`/people/families/${id}`, (field, value) => {
    if (field !== "primary_contact") return shown(value);
    const members = record.value()?.members ?? [];
    const member = members.find((one) => one.id === value);
    return member ? nameAmong(member, members) : value ? "somebody who left" : "";
  });
  const why = whyDifferent(context, at`/people/families/${id}`, "/people/families");
  const sync = syncNow(context, {
    label: "Sync this family now",
    path: at`/people/families/${id}/sync`,
    done: async () => {
      await Promise.all([record.reload(), why.reload()]);
    },
  });
  const keptOut = keptOutOf(context, at`/people/families/${id}`, async () => {
    await Promise.all([record.reload(), history.reload()]);
  });
  const conflicts = part({
    signal,
    follows: ["/conflicts"],
    load: () => get("/conflicts", { family_id: id, limit: 1 }, signal),
    skeleton: () => null,
    render: (/** @type {import("../types.d.ts").Page<unknown>} */ { total }) =>
      total ? h("p", {}, h("a", { href: `/conflicts?family_id=${encodeURIComponent(id)}` }, count(total, "open conflict"), " of this family")) : null,
  });
  const waiting = part({
    signal,
    follows: ["/people/held-matches"],
    load: () => get("/people/held-matches", { family_id: id, limit: 1 }, signal),
    skeleton: () => null,
    render: (/** @type {import("../types.d.ts").Page<unknown>} */ { total }) =>
      total ? h("p", {}, h("a", { href: `/held?family_id=${encodeURIComponent(id)}` }, count(total, "held match", "held matches"), " of this family")) : null,
  });
  const record = part({
    signal,
    load: () => read(context),
    follows: ["/people/families"],
    onFact: (fact, /** @type {Known} */ value) => {
      const changed = fact.body.family?.id === id && fact.body.version > value.family.version;
      if (changed) void history.reload();
      const renamed = value.members.some((member) => fact.body.member?.id === member.id);
      return changed || renamed ? undefined : value;
    },
    render: (/** @type {Known} */ { family, members }) => {
      const name = family.name || "No name";
      document.title = `${name} · Families`;
      /** @type {HTMLElement} */ (title.querySelector("h1")).textContent = name;
      keptOut.told(family.kept_out);
      return [
        h(
          "section",
          { class: "card", "aria-label": "Members" },
          h(
            "div",
            { class: "row spread" },
            h("span", { class: "row" }, linkStatus(family), family.link?.state === "gone" ? null : openThere(context, "family", family.link?.pco_id, name)),
            h("span", { class: "quiet small" }, "Changed ", when(family.updated_at)),
          ),
          keptOut.element,
          conflict.element,
          conflicts.element,
          waiting.element,
          h("h2", {}, count(members.length, "member")),
          h(
            "ul",
            { class: "plain-list" },
            ...members.map((member) =>
              h(
                "li",
                { key: member.id, class: "row" },
                h("a", { href: at`/people/${member.id}` }, nameAmong(member, members)),
                h("span", { class: "quiet small" }, [member.child ? "Child" : "Adult", member.id === family.primary_contact_id && "primary contact"].filter(Boolean).join(", ")),
                member.kept_out ? linkStatus(member) : null,
              ),
            ),
          ),
          differences.element,
          why.element,
          admin
            ? h(
                "div",
                { class: "row" },
                action("Edit", () => context.go(context.here({ edit: "1" })), { class: "primary", key: "edit" }),
                family.kept_out ? null : sync.button,
                keptOut.button(family.kept_out, { name, people: members.map((member) => nameAmong(member, members)) }),
                action("Delete", () => erase(family, members), { key: "delete" }),
              )
            : null,
          family.kept_out ? null : sync.said,
        ),
      ];
    },
  });

  /** @param {Family} family @param {Member[]} members */
  async function erase(family, members) {
    const done = await confirm({
      title: `Delete ${family.name}?`,
      text: h(
        "ul",
        { class: "bullets" },
        h("li", {}, members.length > 0 ? `The family is removed here. ${count(members.length, "person stays here, and is", "people stay here, and are")} no longer in it: ${listed(members.map((member) => nameAmong(member, members)))}.` : "The family is removed here. Nobody is in it."),
        h("li", {}, family.link ? "In Planning Center the household stays as it is." : "Planning Center does not have this family."),
      ),
      verb: `Delete ${family.name}`,
      work: () => remove(at`/people/families/${family.id}`),
    });
    if (!done) return;
    announce(`${family.name} was deleted.`);
    context.go("/families");
  }

  const history = historyOf(context, at`/people/families/${id}`, "family");
  main.append(title, record.element, h("section", { class: "stack", "aria-labelledby": "history" }, h("div", { class: "row spread" }, h("h2", { id: "history" }, "History"), admin ? undoOf(context, "Undo what syncs changed", { family_id: id }, "Undo what syncs changed of this family and its people") : null), history.element));
}

/**
 * @param {Context} context
 * @param {Known | null} known
 */
function edit(context, known) {
  const { main, signal } = context;
  const family = known?.family;
  const back = family ? at`/families/${family.id}` : "/families";
  /** @type {Map<string, Member>} */
  const chosen = new Map(known?.members.map((member) => [member.id, member]));
  let contact = family?.primary_contact_id ?? null;
  let saved = false;
  /** @type {Member[]} */
  let matching = [];
  let more = false;
  const members = h("ul", { class: "plain-list" });
  const found = h("ul", { class: "plain-list", "aria-label": "People found" });
  const search = h("input", {
    type: "search",
    id: "f-find",
    placeholder: "Name or email",
    oninput: () => void find(),
    // Enter searches for a person here; it must not submit the family's form.
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") event.preventDefault();
    },
  });

  /** The name among all who are, were or may become members. @param {Member} member */
  function named(member) {
    const all = new Map([...matching, ...chosen.values(), ...(known?.members ?? [])].map((one) => [one.id, one]));
    return nameAmong(all.get(member.id) ?? member, [...all.values()]);
  }

  function showMembers() {
    update(
      members,
      chosen.size === 0 ? h("li", { class: "quiet" }, family?.link ? "Nobody. Find people above." : "Nobody yet. Find people above: without anybody in it a family stays here only.") : null,
      ...[...chosen.values()].map((member) =>
        h(
          "li",
          { key: member.id, class: "row" },
          h("span", {}, named(member)),
          h("span", { class: "quiet small" }, member.child ? "Child" : "Adult"),
          h(
            "span",
            { class: "row" },
            h("input", { type: "radio", name: "contact", id: `contact-${member.id}`, checked: member.id === contact, onchange: () => {
              contact = member.id;
            } }),
            h("label", { for: `contact-${member.id}` }, "Primary contact", h("span", { class: "hidden-visually" }, `: ${named(member)}`)),
          ),
          action("Remove", () => {
            chosen.delete(member.id);
            if (contact === member.id) contact = null;
            showMembers();
            showFound();
            search.focus();
          }, { class: "link", name: `Remove ${named(member)}` }),
        ),
      ),
    );
  }

  async function find() {
    const text = search.value.trim();
    limit(search, MOST);
    matching = [];
    if (text.length < 2) return update(found);
    if (!search.validity.valid) return update(found, h("li", {}, search.validationMessage));
    try {
      // Members of a large family may fill the first results.
      const page = await get("/people/members", { q: text, limit: Math.min(8 + chosen.size, 200) }, signal);
      if (search.value.trim() !== text) return;
      const others = page.items.filter((/** @type {Member} */ member) => !chosen.has(member.id));
      matching = others.slice(0, 8);
      more = others.length > 8 || Boolean(page.next);
      if (matching.length === 0) update(found, h("li", { class: "quiet" }, "Nobody else matches."));
      else showFound();
    } catch (error) {
      if (!signal.aborted) update(found, h("li", {}, sentenceOf(error)));
    }
  }

  /** An added person keeps the row, so that a double click cannot add the next one. */
  function showFound() {
    if (matching.length === 0) return;
    update(
      found,
      ...matching.map((member) =>
        h(
          "li",
          { key: member.id, class: "row" },
          chosen.has(member.id)
            ? h("button", { key: "added", type: "button", disabled: true }, `Added ${named(member)}`)
            : action(`Add ${named(member)}`, () => {
                chosen.set(member.id, member);
                showFound();
                showMembers();
                search.focus();
                search.select();
              }),
          h("span", { class: "quiet small" }, [member.child ? "Child" : "Adult", member.email].filter(Boolean).join(", ")),
        ),
      ),
      more ? h("li", { key: "more", class: "quiet small" }, "More people match: type more of the name.") : null,
    );
  }

  const form = h(
    "form",
    {
      class: "card",
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        void work(form, async () => {
          const changed = changes();
          if (!(await mayGo())) return;
          let id = family?.id ?? "";
          if (!family) id = (await post("/people/families", values())).id;
          else if (Object.keys(changed).length > 0) {
            await patch(at`/people/families/${id}`, { ...touched(changed), version: family.version }).catch(otherwiseChanged(context, "family"));
          }
          saved = true;
          announce("Saved.");
          context.go(at`/families/${id}`, { replace: true });
        });
      },
    },
    field("Family name", "name", { value: family?.name, required: true, most: 200, ...WRITTEN }),
    h("div", { class: "field" }, h("label", { for: "f-find" }, "Find people to add"), search),
    h("div", { role: "status" }, found),
    h("fieldset", { class: "stack tight" }, h("legend", {}, "Members"), members),
    h("div", { class: "row" }, h("button", { class: "primary" }, family ? "Save" : "Add this family"), h("a", { href: back }, "Cancel")),
  );
  const values = () => ({
    name: String(new FormData(form).get("name")).trim(),
    // Sorted, so that removing and adding a person again is no change.
    member_ids: [...chosen.keys()].sort(),
    primary_contact_id: contact,
  });
  const untouched = values();
  const changes = () => differing(values(), untouched);
  /** Confirm the removal of several people, or of the last one: names, and the effect in Planning Center. */
  async function mayGo() {
    const before = known?.members ?? [];
    const gone = before.filter(({ id }) => !chosen.has(id));
    const empty = chosen.size === 0;
    if (gone.length === 0 || (gone.length === 1 && !empty)) return true;
    const linked = family?.link && family.link.state !== "gone";
    return confirm({
      title: `Take ${count(gone.length, "person", "people")} out of ${family?.name}?`,
      text: h(
        "ul",
        { class: "bullets" },
        h("li", {}, `${listed(gone.map(named))} ${gone.length === 1 ? "leaves" : "leave"} the family. ${gone.length === 1 ? "The person stays" : "They stay"} in your directory.`),
        h("li", {}, empty ? "Nobody is left in the family." : `${count(chosen.size, "person stays", "people stay")} in it: ${listed([...chosen.values()].map(named))}.`),
        family?.kept_out
          ? h("li", {}, "The family is kept out of the sync: in Planning Center nothing changes.")
          : linked
            ? h("li", {}, `The next sync takes ${gone.length === 1 ? "the same person" : `the same ${gone.length} people`} out of the household in Planning Center.${empty ? " The household stays there, with nobody in it." : ""}`)
            : h("li", {}, "Planning Center does not have this family: nothing changes there."),
      ),
      verb: `Take ${count(gone.length, "person", "people")} out`,
      work: () => null,
    });
  }
  /** The changed fields, with joining and leaving members in place of the whole list. @param {Partial<ReturnType<typeof values>>} changed */
  function touched({ member_ids, ...rest }) {
    if (!member_ids) return rest;
    const before = new Set(untouched.member_ids);
    const add = member_ids.filter((member) => !before.has(member));
    const gone = untouched.member_ids.filter((member) => !chosen.has(member));
    return { ...rest, ...(add.length && { add_member_ids: add }), ...(gone.length && { remove_member_ids: gone }) };
  }
  context.keep(() => !saved && Object.keys(changes()).length > 0);
  showMembers();
  main.append(heading(family ? `Edit ${family.name}` : "Add a family", h("a", { href: "/families" }, "All families")), form);
}
