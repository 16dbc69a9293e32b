// Two members who share one person in Planning Center: comparison and answers.

import { at, get, post } from "../api.js";
import { announce, h } from "./dom.js";
import { downloads } from "./download.js";
import { action, confirm, notice, status, when } from "./look.js";
import { FIELDS } from "./member.js";
import { part } from "./part.js";
import { Problem } from "./problem.js";
import { count, fieldName, fullName, mailed, shown } from "./words.js";

/** @typedef {import("../types.d.ts").MergedPair} MergedPair */
/** @typedef {import("../types.d.ts").MergedMember} MergedMember */
/** @typedef {import("../types.d.ts").Page<MergedPair>} Pairs */
/** @typedef {import("../app.js").Context} Context */

const STEP = 25;
const MOST = 200;

/**
 * An error handler that leads from a joined member to the member they were joined to, with a notice.
 * @param {Context} context
 * @returns {(error: unknown) => never}
 */
export const orJoined = (context) => (error) => {
  if (!(error instanceof Problem) || !error.joinedInto) return context.absent(error);
  context.go(`${at`/people/${error.joinedInto}`}?joined=1`, { replace: true });
  throw error;
};

/** @param {MergedPair} pair */
const headingOf = ({ joins }) => `merged-${joins.member.id}`;

/** @param {MergedMember} one */
const homes = ({ families }) => families.map(({ name, primary_contact }) => `${name}${primary_contact ? " (primary contact)" : ""}`).join(", ");

/**
 * The questions about merged pairs, if any.
 * @param {Context} context of the page
 * @param {{ state?: "open" | "kept_two", member?: string | null, changed: () => unknown }} about `member`: only pairs
 *   of this member; `changed` is called after every answer
 */
export function mergedPairs({ main, signal, admin }, { state, member, changed }) {
  let most = STEP;
  /** This notice tells the outcome of the last answer. @type {HTMLElement | null} */
  let told = null;
  /** @type {import("./part.js").Part<Pairs>} */
  const pairs = part({
    signal,
    follows: ["/people/held-matches", "/people/members"],
    skeleton: () => null,
    load: () => get("/people/merged", { state, member_id: member, limit: most }, signal),
    render: (/** @type {Pairs} */ page) => [
      told,
      page.items.length === 0
        ? member && !told
          ? h("p", {}, "There is no question about this person any more.")
          : null
        : h(
            "section",
            { key: "merged", class: "stack", "aria-labelledby": "merged" },
            h(
              "div",
              { class: "row spread" },
              h("h2", { id: "merged" }, "Merged in Planning Center"),
              member ? null : downloads("/people/merged.csv", { state }),
            ),
            h(
              "p",
              { class: "quiet" },
              `${count(page.total ?? page.items.length, "pair")} of people here whose records were merged in Planning Center. `,
              state === "kept_two" ? "You keep them as two." : "Both stay as they are until " + (admin ? "you answer." : "an administrator answers."),
            ),
            ...page.items.map(card),
            page.next && most < MOST
              ? action("Load more pairs", async () => {
                  const before = page.items.length;
                  most = Math.min(most + STEP, MOST);
                  await pairs.reload();
                  const fresh = pairs.value()?.items[before];
                  if (fresh) document.getElementById(headingOf(fresh))?.focus();
                })
              : null,
          ),
    ],
  });

  /** @param {MergedPair} pair @param {"join" | "keep_two" | "ask_again"} answer @param {string[]} [take] */
  async function send(pair, answer, take = []) {
    const body = { answer, with_id: pair.stays.member.id, version: pair.joins.member.version, with_version: pair.stays.member.version, take };
    try {
      await post(at`/people/merged/${pair.joins.member.id}`, body);
    } catch (error) {
      if (!(error instanceof Problem) || !["version-conflict", "pair-over", "answered"].includes(error.kind)) throw error;
      const said = new Problem(error.message, { status: error.status });
      said.remedy = action("Show them as they are now", async () => {
        document.querySelector("dialog")?.close();
        await pairs.reload();
        main.querySelector("h1")?.focus();
      });
      throw said;
    }
  }

  /** @param {string} sentence @param {MergedMember} about */
  async function done(sentence, { member: one }) {
    announce(sentence);
    told = notice("good", h("p", {}, `${sentence} `, h("a", { href: at`/people/${one.id}` }, `See ${fullName(one)}`)));
    await Promise.all([pairs.reload(), changed()]);
    main.querySelector("h1")?.focus();
  }

  /** @param {MergedPair} pair */
  async function join(pair) {
    const { stays, joins } = pair;
    const [kept, gone] = [fullName(stays.member), fullName(joins.member)];
    const choices = pair.differs.map((name) => choice(pair, name));
    const filled = pair.fills.map((name) => `${fieldName(name).toLowerCase()} ${shown(joins.member[name])}`).join("; ");
    const families = joins.families.map(({ name }) => name).join(", ");
    const joined = await confirm({
      title: `Join ${gone} to ${kept}?`,
      text: h(
        "div",
        { class: "stack" },
        h(
          "ul",
          { class: "bullets" },
          h("li", {}, `${kept} stays, linked to the person in Planning Center. The second record, ${gone}, is deleted here; what it has moves:`),
          h("li", {}, families ? `Families: ${kept} takes the place of ${gone} in ${families}.` : `Families: ${gone} is in none.`),
          h("li", {}, `History: ${count(joins.history, "change")} of ${gone} ${joins.history === 1 ? "is" : "are"} shown on the page of ${kept} from then on.`),
          joins.member.external_id ? h("li", {}, `Platform: its ID ${joins.member.external_id} leads to ${kept} from then on.`) : null,
          h("li", {}, filled ? `Values that ${kept} does not have: ${filled}.` : `Values: ${gone} has none that ${kept} lacks.`),
        ),
        ...choices,
        pair.may_be_mailed ? h("p", {}, mailed(1)) : null,
        h("p", {}, "What changes is sent to Planning Center right away. This cannot be taken back."),
      ),
      verb: "Join them here",
      work: () =>
        send(
          pair,
          "join",
          pair.differs.filter((_, number) => choices[number]?.querySelector("input:checked")?.getAttribute("value") === "joins"),
        ),
    });
    if (joined) await done(`${gone} was joined to ${kept}.`, stays);
  }

  /** Radio buttons for the value that stays. @param {MergedPair} pair @param {MergedPair["differs"][number]} name */
  function choice({ stays, joins }, name) {
    /** @param {"stays" | "joins"} whose @param {MergedMember} one */
    const option = (whose, one) =>
      h(
        "div",
        { class: "choice" },
        h("input", { type: "radio", name: `take-${name}`, id: `take-${name}-${whose}`, value: whose, checked: whose === "stays" }),
        h("label", { for: `take-${name}-${whose}` }, shown(one.member[name]), h("span", { class: "quiet" }, whose === "stays" ? " (as it is)" : " (from the second record)")),
      );
    return h("fieldset", { class: "stack tight" }, h("legend", {}, `${fieldName(name)} afterwards`), option("stays", stays), option("joins", joins));
  }

  /** @param {MergedPair} pair */
  function card(pair) {
    const { stays, joins } = pair;
    const [kept, gone] = [fullName(stays.member), fullName(joins.member)];
    const id = headingOf(pair);
    const two = `${gone} and ${kept}`;
    /** @type {[string, string, string, import("./dom.js").Child, boolean][]} */
    const rows = FIELDS.filter((name) => shown(stays.member[name]) || shown(joins.member[name])).map((name) => {
      const [here, there] = [shown(stays.member[name]), shown(joins.member[name])];
      const after = pair.fills.includes(name) ? h("ins", {}, there) : pair.differs.includes(name) ? [here, h("span", { class: "quiet" }, " (you choose)")] : here;
      return [fieldName(name), here, there, after, pair.differs.includes(name)];
    });
    const ids = [stays, joins].map((one) => one.member.external_id).filter(Boolean).join(", ");
    /** Families of both members; a primary contact of either record stays primary contact. @type {Map<string, import("../types.d.ts").MergedFamily>} */
    const together = new Map();
    for (const one of [...stays.families, ...joins.families]) together.set(one.id, { ...one, primary_contact: one.primary_contact || Boolean(together.get(one.id)?.primary_contact) });
    const families = homes({ ...stays, families: [...together.values()] });
    rows.push(["Families", homes(stays), homes(joins), families, homes(stays) !== homes(joins)]);
    if (ids) rows.push(["Platform ID", stays.member.external_id ?? "", joins.member.external_id ?? "", ids, true]);
    rows.push(["History", count(stays.history, "change"), count(joins.history, "change"), "Both", false]);
    return h(
      "section",
      { key: id, class: "card", "aria-labelledby": id },
      h(
        "div",
        { class: "row spread" },
        h("h3", { id, tabindex: "-1" }, two),
        h("span", { class: "row" }, status(pair.state === "open" ? "warn" : "calm", pair.state === "open" ? "Waits for an answer" : "Kept as two people"), h("span", { class: "quiet small" }, when(pair.merged_at, ""))),
      ),
      h("p", {}, `${two} are one person in Planning Center: somebody merged their records there.`),
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          { class: "table fold compared" },
          h("caption", { class: "hidden-visually" }, `What ${kept} and ${gone} have here`),
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", { scope: "col" }, "Field"),
              h("th", { scope: "col" }, "Linked: ", h("a", { href: at`/people/${stays.member.id}` }, kept)),
              h("th", { scope: "col" }, "Only here: ", h("a", { href: at`/people/${joins.member.id}` }, gone)),
              h("th", { scope: "col" }, "If joined"),
            ),
          ),
          h(
            "tbody",
            {},
            ...rows.map(([name, here, there, after, differs]) =>
              h(
                "tr",
                {},
                h("th", { scope: "row" }, name),
                h("td", { "data-label": `Linked, ${kept}` }, here || "—"),
                h("td", { "data-label": `Only here, ${gone}` }, differs && there ? h("strong", {}, there) : there || "—"),
                h("td", { "data-label": "If joined" }, after || "—"),
              ),
            ),
          ),
        ),
      ),
      admin
        ? h(
            "div",
            { class: "row" },
            ...(pair.state === "open"
              ? [
                  action("Join them here", () => join(pair), { name: `Join them here: ${two}` }),
                  action(
                    "Keep two",
                    async () => {
                      await send(pair, "keep_two");
                      await done(`${two} are kept as two people. ${gone} is only here, and can be created again in Planning Center.`, joins);
                    },
                    { name: `Keep two: ${two}` },
                  ),
                ]
              : [
                  action(
                    "Ask again",
                    async () => {
                      await send(pair, "ask_again");
                      await done(`${two}: the question waits for an answer again.`, stays);
                    },
                    { name: `Ask again: ${two}` },
                  ),
                ]),
          )
        : null,
    );
  }

  return pairs;
}
