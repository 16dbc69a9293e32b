// Held matches: people in Planning Center who may or may not be somebody here.

import { at, get, post } from "../api.js";
import { announce, h } from "../parts/dom.js";
import { chips } from "../parts/list.js";
import { action, heading, status, when } from "../parts/look.js";
import { FIELDS } from "../parts/member.js";
import { part } from "../parts/part.js";
import { count, fieldName, fullName, shown } from "../parts/words.js";

/** @typedef {import("../types.d.ts").HeldMatch} HeldMatch */
/** @typedef {import("../types.d.ts").HeldCandidate} Candidate */
/** @typedef {import("../app.js").Context} Context */
/** @typedef {import("../types.d.ts").Page<HeldMatch>} Held */

const STATES = /** @type {const} */ ({
  open: ["warn", "Waits for an answer"],
  later: ["calm", "Later"],
  same: ["good", "Same person"],
  different: ["calm", "Different people"],
});

/** @param {Context} context */
export function show(context) {
  const { main, query, signal, admin } = context;
  let shownCount = 25;
  /** @type {import("../parts/part.js").Part<Held>} */
  const matches = part({
    signal,
    follows: ["/people/held-matches"],
    load: () => get("/people/held-matches", { state: query.get("state") ?? "open", limit: Math.min(shownCount, 200) }, signal),
    render: (/** @type {Held} */ page) =>
      page.items.length === 0
        ? h(
            "div",
            { class: "card empty" },
            h("h2", {}, "No held matches"),
            h("p", {}, "When a sync is not sure that two records are the same person, they wait here for your answer. Neither is overwritten nor doubled meanwhile."),
            h("p", {}, h("a", { href: "/people" }, "Go to People")),
          )
        : [
            h("p", { class: "quiet", role: "status" }, page.total === null ? null : count(page.total, "held match", "held matches")),
            ...page.items.map((held) => match(held)),
            page.next && shownCount < 200
              ? action("Load more", () => {
                  shownCount += 25;
                  return matches.reload();
                })
              : null,
          ],
  });

  /** @param {HeldMatch} held */
  function match(held) {
    const name = fullName(held.theirs);
    const answerable = admin && (held.state === "open" || held.state === "later");
    /** @param {"same" | "different" | "later"} answer @param {string} [member] */
    const answer = async (answer, member) => {
      await post(at`/people/held-matches/${held.id}/answer`, { answer, version: held.version, ...(member ? { member_id: member } : {}) });
      announce(`${name}: ${STATES[answer][1].toLowerCase()}.`);
      await matches.reload();
      main.querySelector("h1")?.focus();
    };
    /** Two members may have one name: what tells them apart is said too. @param {Candidate} candidate */
    const called = ({ member }) => {
      const name = fullName(member);
      const twins = held.candidates.map((other) => other.member).filter((other) => fullName(other) === name);
      if (twins.length < 2) return name;
      const telling = FIELDS.find((field) => shown(member[field]) && new Set(twins.map((twin) => shown(twin[field]))).size === twins.length);
      return telling ? `${name}, ${shown(member[telling])}` : `${name}, number ${twins.indexOf(member) + 1}`;
    };
    const [tone, word] = STATES[held.state];
    return h(
      "section",
      { key: held.id, class: "card", "aria-labelledby": `held-${held.id}` },
      h("div", { class: "row spread" }, h("h2", { id: `held-${held.id}` }, name), h("span", { class: "row" }, status(tone, word), h("span", { class: "quiet small" }, when(held.created_at)))),
      h("ul", { class: "bullets" }, ...held.reasons.map((reason) => h("li", {}, reason))),
      h(
        "table",
        { class: "table fold" },
        h("caption", { class: "hidden-visually" }, `${name} in Planning Center, and who it may be here`),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", { scope: "col" }, "Field"),
            h("th", { scope: "col" }, "Planning Center"),
            ...held.candidates.map(({ member }) => h("th", { scope: "col" }, "Here: ", h("a", { href: at`/people/${member.id}` }, fullName(member)))),
          ),
        ),
        h(
          "tbody",
          {},
          ...FIELDS.filter((field) => [held.theirs, ...held.candidates.map(({ member }) => member)].some((values) => shown(values[field]))).map((field) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, fieldName(field)),
              h("td", { "data-label": "Planning Center" }, shown(held.theirs[field]) || "—"),
              ...held.candidates.map((candidate) => {
                const { member } = candidate;
                const value = shown(member[field]) || "—";
                return h("td", { "data-label": `Here, ${called(candidate)}` }, value === (shown(held.theirs[field]) || "—") ? value : h("strong", {}, value));
              }),
            ),
          ),
          held.candidates.length > 1 && held.candidates.some(({ reasons }) => reasons.length > 0)
            ? h("tr", {}, h("th", { scope: "row" }, "Why"), h("td", {}), ...held.candidates.map((candidate) => h("td", { "data-label": `Here, ${called(candidate)}` }, candidate.reasons.join(" "))))
            : null,
        ),
      ),
      answerable
        ? h(
            "div",
            { class: "row" },
            ...held.candidates.map((candidate) =>
              action(held.candidates.length === 1 ? "Same person" : `Same person as ${called(candidate)}`, () => answer("same", candidate.member.id), { class: "primary" }),
            ),
            action("Different people", () => answer("different")),
            held.state === "open" ? action("Later", () => answer("later")) : null,
          )
        : null,
    );
  }

  main.append(
    heading("Held matches", h("a", { href: "/people" }, "All people")),
    h("p", { class: "quiet" }, "People in Planning Center who may be somebody you have here already. Nothing happens to them until you answer."),
    chips("State", context, "state", [
      ["", "Waiting"],
      ["later", "Later"],
      ["same", "Same person"],
      ["different", "Different people"],
    ]),
    matches.element,
  );
}
