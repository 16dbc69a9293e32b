// One member: values, edit, history with undo, delete.

import { at, get, patch, post, remove } from "../api.js";
import { follow } from "../live.js";
import { announce, h } from "../parts/dom.js";
import { action, confirm, heading, notice, run as work, when } from "../parts/look.js";
import { orJoined } from "../parts/merged.js";
import { differing, linkStatus, memberFields, readMember, valuesOf } from "../parts/member.js";
import { conflictOf } from "../parts/conflict.js";
import { differencesOf } from "../parts/differences.js";
import { eraseButton } from "../parts/erase.js";
import { historyOf } from "../parts/history.js";
import { keptOutOf } from "../parts/kept_out.js";
import { part } from "../parts/part.js";
import { otherwiseChanged, showNewest } from "../parts/newest.js";
import { syncNow } from "../parts/sync.js";
import { undoOf } from "../parts/undo.js";
import { openThere } from "../parts/there.js";
import { whyDifferent } from "../parts/why.js";
import { fieldName, fullName, shown } from "../parts/words.js";

/** @typedef {import("../types.d.ts").Member} Member */
/** @typedef {import("../types.d.ts").HistoryEntry} HistoryEntry */
/** @typedef {import("../types.d.ts").MergedPair} MergedPair */
/** @typedef {import("../app.js").Context} Context */

const AGAIN = "This person is added in Planning Center again, at the latest by the next sync.";

/** @param {Context} context */
export async function show(context) {
  if (context.id === "new") return add(context);
  if (context.query.has("edit") && context.admin) return edit(context);
  return view(context);
}

/**
 * @param {Context} context
 * @param {Member | null} member
 * @param {string} verb
 * @param {(form: HTMLFormElement) => Promise<unknown>} save
 * @param {string} back
 */
function memberForm(context, member, verb, save, back) {
  const form = h(
    "form",
    {
      class: "card",
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        void work(form, async () => {
          await save(form);
        });
      },
    },
    ...memberFields(member),
    h("div", { class: "row" }, h("button", { class: "primary" }, verb), h("a", { href: back }, "Cancel")),
  );
  const untouched = readMember(form);
  const changes = () => differing(readMember(form), untouched);
  context.keep(() => !saved && Object.keys(changes()).length > 0);
  let saved = false;
  return {
    form,
    changes,
    done: () => (saved = true),
  };
}

/** @param {Context} context */
async function add(context) {
  const title = heading("Add a person", h("a", { href: "/people" }, "All people"));
  if (!context.admin) {
    context.main.append(title, h("p", {}, "Administrators add people. Nothing was changed; ask one of them."));
    return;
  }
  const made = memberForm(
    context,
    null,
    "Add this person",
    async (form) => {
      const member = await post("/people/members", readMember(form));
      made.done();
      announce(`${fullName(member)} was added.`);
      context.go(at`/people/${member.id}`, { replace: true });
    },
    "/people",
  );
  /** @type {Partial<import("../types.d.ts").PeopleStatus>} */
  const { connected } = await get("/people/status", undefined, context.signal).catch(() => ({}));
  context.main.append(
    title,
    h(
      "p",
      { class: "quiet" },
      connected
        ? "Added here now, and in Planning Center with the next sync."
        : "Added here now. Planning Center People is not connected: the first sync after connecting adds this person there.",
    ),
    made.form,
  );
}

/** @param {Context} context */
async function edit(context) {
  const { id, main, signal } = context;
  /** @type {Member} */
  const member = await get(at`/people/members/${id}`, undefined, signal).catch(orJoined(context));
  const address = at`/people/${id}`;
  const moved = h("div", { class: "stack" });
  const made = memberForm(
    context,
    member,
    "Save",
    async () => {
      const changes = made.changes();
      if (Object.keys(changes).length > 0) {
        await patch(at`/people/members/${id}`, { ...changes, version: member.version }).catch(otherwiseChanged(context, "person"));
      }
      made.done();
      announce("Saved.");
      context.go(address, { replace: true });
    },
    address,
  );
  main.append(heading(`Edit ${fullName(member)}`), moved, made.form);
  follow(
    "/people/members",
    (fact) => {
      if (fact?.body.member?.id !== id || fact.body.version <= member.version || moved.hasChildNodes()) return;
      moved.append(
        notice(
          "warn",
          h("p", {}, "This person was changed elsewhere meanwhile. What you typed is still here."),
          h("div", { class: "row" }, showNewest(context)),
        ),
      );
    },
    signal,
  );
}

/** @param {Context} context */
async function view(context) {
  const { id, main, signal, admin } = context;
  const title = heading("Person", h("a", { href: "/people" }, "All people"));
  const conflict = conflictOf(context);
  const differences = differencesOf(context, at`/people/members/${id}`);
  const why = whyDifferent(context, at`/people/members/${id}`, "/people/members");
  const sync = syncNow(context, {
    label: "Sync this person now",
    path: at`/people/members/${id}/sync`,
    done: async () => {
      await Promise.all([record.reload(), history.reload(), why.reload()]);
    },
  });
  const keptOut = keptOutOf(context, at`/people/members/${id}`, async () => {
    await Promise.all([record.reload(), history.reload()]);
  });
  /** @type {import("../parts/part.js").Part<Member>} */
  const record = part({
    signal,
    load: () => get(at`/people/members/${id}`, undefined, signal).catch(orJoined(context)),
    follows: ["/people/members"],
    onFact: (fact, /** @type {Member} */ value) => {
      const changed = fact.body.member;
      if (fact.type === "MemberRemoved" && fact.body.member_id === id) void record.reload();
      if (fact.type !== "MemberChanged" || changed.id !== id) return value;
      if (changed.version > value.version) void history.reload();
      return changed.version > value.version ? changed : value;
    },
    render: (/** @type {Member} */ member) => {
      const name = fullName(member);
      document.title = `${name} · People`;
      /** @type {HTMLElement} */ (title.querySelector("h1")).textContent = name;
      if (member.link?.state !== "gone" || member.link.create_again) sync.back();
      keptOut.told(member.kept_out);
      return [
        h(
          "section",
          { class: "card", "aria-label": "Values" },
          h(
            "div",
            { class: "row spread" },
            h("span", { class: "row" }, linkStatus(member), member.link?.state === "gone" ? null : openThere(context, "member", member.link?.pco_id, name)),
            h("span", { class: "quiet small" }, "Changed ", when(member.updated_at)),
          ),
          keptOut.element,
          conflict.element,
          valuesOf(member),
          differences.element,
          why.element,
          gone(member, admin && !member.kept_out),
          admin
            ? h(
                "div",
                { class: "row" },
                action("Edit", () => context.go(context.here({ edit: "1" })), { class: "primary", key: "edit" }),
                member.kept_out ? null : sync.button,
                keptOut.button(member.kept_out, { name, people: null }),
                action("Delete", () => discard(member), { key: "delete" }),
                eraseButton(context, member),
              )
            : null,
          member.kept_out ? null : sync.said,
        ),
        member.family_ids.length > 0 ? families.element : h("p", { class: "quiet" }, "Not in a family."),
      ];
    },
  });
  /** @type {import("../parts/part.js").Part<import("../types.d.ts").Family[]>} */
  const families = part({
    signal,
    label: "Families",
    skeleton: () => null,
    load: async () => {
      /** @type {string[]} */
      const ids = record.value()?.family_ids ?? (await get(at`/people/members/${id}`, undefined, signal)).family_ids;
      return Promise.all(ids.map((family) => get(at`/people/families/${family}`, undefined, signal)));
    },
    render: (/** @type {import("../types.d.ts").Family[]} */ found) => [
      h("h2", {}, found.length === 1 ? "Family" : "Families"),
      h("ul", { class: "plain-list" }, ...found.map((family) => h("li", {}, h("a", { href: at`/families/${family.id}` }, family.name || "No name")))),
    ],
  });

  /**
   * @param {Member} member
   * @param {boolean} may
   */
  function gone(member, may) {
    if (member.link?.state !== "gone") return null;
    const { gone_at, create_again: again } = member.link;
    const pair = member.link.merged_with ? pairWith(member.link.merged_with) : null;
    if (member.link.merged_with && pair?.state !== "kept_two") return merged(member.link.merged_with, pair);
    return notice(
      "warn",
      pair
        ? h("p", { key: "two" }, "Merged with ", h("a", { href: at`/people/${pair.stays.member.id}` }, fullName(pair.stays.member)), " in Planning Center. An administrator said that they are two people. ", h("a", { href: question() }, "Look at the two"))
        : null,
      h("p", {}, "No longer in Planning Center", gone_at ? [" since ", when(gone_at)] : null, ". Kept here", again ? "." : ", and not added there again by itself."),
      again ? h("p", { key: "again" }, h("strong", {}, AGAIN)) : null,
      may && !again
        ? h(
            "div",
            { key: "create-again", class: "row" },
            action("Create again in Planning Center", async () => {
              record.show(await post(at`/people/members/${member.id}/create-again`));
              announce(AGAIN);
            }),
          )
        : null,
    );
  }

  const question = () => `/held?member=${encodeURIComponent(id)}`;
  /** @type {Map<string, MergedPair | null>} by the other member's id; null while being read */
  const pairs = new Map();

  /** @param {string} other the member whose counterpart was kept */
  function pairWith(other) {
    if (!pairs.has(other)) {
      pairs.set(other, null);
      void get("/people/merged", { member_id: id }, signal).then(
        (/** @type {import("../types.d.ts").Page<MergedPair>} */ page) => {
          const found = page.items.find(({ joins }) => joins.member.id === id);
          const shown = record.value();
          if (!found || !shown) return;
          pairs.set(other, found);
          record.show(shown);
        },
        // The link works without the name, and the next render reads the pair again.
        () => pairs.delete(other),
      );
    }
    return pairs.get(other) ?? null;
  }

  /** @param {string} other @param {MergedPair | null} pair */
  function merged(other, pair) {
    const link = h("a", { href: at`/people/${other}` }, pair ? fullName(pair.stays.member) : "another person");
    return notice(
      "warn",
      h("p", {}, "Merged with ", link, " in Planning Center, and kept here."),
      h("p", {}, h("a", { href: question() }, "Say whether the two are one person")),
    );
  }

  /** @param {Member} member */
  async function discard(member) {
    const settings = await get("/people/settings");
    const name = fullName(member);
    const done = await confirm({
      title: `Delete ${name}?`,
      text: h(
        "ul",
        { class: "bullets" },
        h("li", {}, `${name} is removed here, and from ${member.family_ids.length === 1 ? "the family" : "all families"} here.`),
        h(
          "li",
          {},
          !member.link
            ? "Planning Center does not have this person."
            : settings.inactivate_deleted && !member.kept_out
              ? "In Planning Center the person stays and is made inactive by the next sync."
              : "In Planning Center nothing changes: the person stays there.",
        ),
      ),
      verb: `Delete ${name}`,
      work: () => remove(at`/people/members/${member.id}`),
    });
    if (!done) return;
    announce(`${name} was deleted.`);
    context.go("/people");
  }

  const history = historyOf(context, at`/people/members/${id}`, "person", undo);

  /** @param {HistoryEntry} entry */
  async function undo(entry) {
    const name = fieldName(entry.field);
    const done = await confirm({
      title: `Put the former ${name.toLowerCase()} back?`,
      text: h("p", {}, `${name} becomes ${shown(entry.old) || "empty"} here. Planning Center gets it now, or with the next sync.`),
      verb: "Put it back",
      dangerous: false,
      work: async () => record.show(await post(at`/people/members/${id}/history/${entry.id}/undo`)),
    });
    if (!done) return;
    announce(`The former ${fieldName(entry.field).toLowerCase()} is back here. Planning Center gets it now, or with the next sync.`);
    await history.reload();
    document.getElementById("history")?.focus();
  }

  const followed = context.query.has("joined") ? notice("calm", h("p", {}, "The record that you opened was joined to this one, which has everything of both.")) : "";
  const undoAll = admin ? undoOf(context, "Undo what syncs changed", { member_id: id }) : null;
  main.append(title, followed, record.element, h("section", { class: "stack", "aria-labelledby": "history" }, h("div", { class: "row spread" }, h("h2", { id: "history", tabindex: "-1" }, "History"), undoAll), history.element));
  await history.ready;
}
