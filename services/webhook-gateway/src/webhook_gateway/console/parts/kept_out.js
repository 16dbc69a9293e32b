// Keeping a record out of the sync, on its page: state, author, and both switches.

import { at, get, post, remove } from "../api.js";
import { announce, h } from "./dom.js";
import { action, confirm, notice, when } from "./look.js";
import { part } from "./part.js";
import { count, listed } from "./words.js";

/** @typedef {import("../types.d.ts").KeptOut} KeptOut */
/** @typedef {{ name: string, people: string[] | null }} About `people`: names of a family's people; null for a person */

/** @param {KeptOut} found */
function whom({ record_kind, people }) {
  if (people) return `the family and ${count(people, "person", "people")} as they are`;
  return record_kind === "family" ? "the family as it is" : "this person as they are";
}

/** @param {...import("./dom.js").Child} items */
const bullets = (...items) => h("ul", { class: "bullets" }, ...items.map((item) => item && h("li", {}, item)));

/**
 * @param {import("../app.js").Context} context of the record's page
 * @param {string} path of the record
 * @param {() => unknown} done reads the record again
 */
export function keptOutOf({ signal, admin }, path, done) {
  /** @type {import("./part.js").Part<KeptOut>} */
  const state = part({
    signal,
    skeleton: () => null,
    load: () => get(`${path}/kept-out`, undefined, signal),
    render: (found) =>
      found.kept_out &&
      notice(
        "warn",
        h(
          "p",
          {},
          h("strong", {}, "Kept out of the sync"),
          found.family_name ? [" with ", found.family_id ? h("a", { href: at`/families/${found.family_id}` }, found.family_name) : found.family_name] : null,
          ` by ${found.by_name ?? "somebody"}, `,
          when(found.at),
          ".",
        ),
        h("p", {}, `The sync leaves ${whom(found)}, here and in Planning Center, until an administrator chooses Sync again.`),
      ),
  });

  /** @param {About} about */
  async function begin({ name, people }) {
    const agreed = await confirm({
      title: `Keep ${name} out of the sync?`,
      text: bullets(
        people?.length ? `This is about the family and ${count(people.length, "person", "people")} in it now: ${listed(people)}.` : null,
        `The sync leaves ${people?.length ? "them" : name} as they are: nothing is sent to Planning Center, and nothing is taken over from there.`,
        "You can go on editing here. What is edited on one side stays on that side.",
        people ? "Anybody who joins the family later is synced." : "Their families are synced without them.",
        "This ends when an administrator chooses Sync again.",
      ),
      verb: "Keep out of the sync",
      work: async () => state.show(await post(`${path}/kept-out`)),
      dangerous: false,
    });
    if (!agreed) return;
    announce(`${name} is kept out of the sync.`);
    await done();
  }

  /** @param {About} about */
  async function end({ name, people }) {
    const out = state.value()?.people ?? 0;
    const agreed = await confirm({
      title: `Sync ${name} again?`,
      text: bullets(
        people ? `This is about the family and ${count(out, "person", "people")} kept out with it.` : null,
        "Both sides are compared with what they last agreed on.",
        "What was changed on one side meanwhile goes to the other.",
        "What was changed on both sides is a conflict: nothing is overwritten until somebody decides.",
      ),
      verb: "Sync again",
      work: async () => state.show(await remove(`${path}/kept-out`)),
      dangerous: false,
    });
    if (!agreed) return;
    announce(`${name} is synced again.`);
    await done();
  }

  return {
    get element() {
      return state.element;
    },
    /** Reload if a newer read of the record has another state. @param {boolean} kept */
    told(kept) {
      if (state.value() && state.value()?.kept_out !== kept) void state.reload();
    },
    /** @param {boolean} kept @param {About} about */
    button: (kept, about) =>
      admin
        ? kept
          ? action("Sync again", () => end(about), { key: "sync-again" })
          : action("Keep out of the sync", () => begin(about), { key: "keep-out" })
        : null,
  };
}
