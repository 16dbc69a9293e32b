// Held matches: people in Planning Center who may be members here.

import { at, get, post } from "../api.js";
import { answerAll } from "../parts/answers.js";
import { announce, h } from "../parts/dom.js";
import { downloads } from "../parts/download.js";
import { chips } from "../parts/list.js";
import { action, confirm, heading, notice, status, when } from "../parts/look.js";
import { FIELDS, nameAmong } from "../parts/member.js";
import { mergedPairs } from "../parts/merged.js";
import { part } from "../parts/part.js";
import { Problem } from "../parts/problem.js";
import { openThere } from "../parts/there.js";
import { count, fieldName, fullName, listed, mailed, shown } from "../parts/words.js";

/** @typedef {import("../types.d.ts").HeldMatch} HeldMatch */
/** @typedef {import("../types.d.ts").HeldCandidate} Candidate */
/** @typedef {import("../app.js").Context} Context */
/** @typedef {import("../types.d.ts").Page<HeldMatch>} Held */

const STEP = 25;
/** Milliseconds between polls while an answer can be taken back. */
const LOOK_AGAIN = 5000;
const MOST = 200;

const STATES = /** @type {const} */ ({
  open: ["warn", "Waits for an answer"],
  later: ["calm", "Later"],
  same: ["good", "Same person"],
  different: ["calm", "Different people"],
});

/** @type {import("../parts/answers.js").Kind<import("../types.d.ts").HeldBulk, import("../types.d.ts").HeldBulkPreview["samples"][number]>} */
const ANSWERS = {
  path: "/people/held-matches/bulk",
  noun: (amount) => count(amount, "held match", "held matches"),
  answers: [
    ["same", "Same person"],
    ["different", "Different people"],
    ["later", "Later"],
  ],
  leftOut: {
    same: "because several people may be meant: those are answered one by one.",
    different: "and can have the next answer.",
    later: "because they have this answer already.",
  },
  explain: "First you see how many can have it, and what would be done; nothing is done before you agree.",
  promise: () => "A person who changes before their turn, here or in what we have read from Planning Center, is left as they are and named. Changes in Planning Center that we have not read yet are not noticed.",
  sample: ({ match, sentence }) => [sentence, h("span", { class: "quiet small" }, ` ${match.reasons.join(" ")}`)],
  further: (preview) => (preview.may_be_mailed > 0 ? h("p", {}, mailed(preview.may_be_mailed)) : null),
  last: (answer) => (answer === "later" ? null : "Each answer can be taken back in its list until the sync has acted on it, usually within a few seconds. After that, what the sync changed can be undone on the person's page."),
  named: ({ held_id, name }) => [held_id, name],
};

/** @param {Context} context */
export function show(context) {
  const { main, query, signal, admin } = context;
  const states = chips("State", context, "state", [
    ["", "Unanswered"],
    ["open", "Waiting"],
    ["later", "Later"],
    ["same", "Same person"],
    ["different", "Different people"],
  ]);
  const reasons = chips("Why it is doubtful", context, "reason", [
    ["", "Any doubt"],
    ["name", "Same name"],
    ["email", "Same email"],
    ["child", "Child and adult"],
    ["suffix", "Suffix"],
  ]);
  const candidates = chips("How many it may be", context, "single", [
    ["", "Any number of people"],
    ["true", "One person"],
    ["false", "Several people"],
  ]);
  const ages = chips("Age of the question", context, "older_than_days", [
    ["", "Any age"],
    ["7", "Older than a week"],
    ["30", "Older than a month"],
  ]);
  const state = query.get("state");
  const single = query.get("single");
  const older = query.get("older_than_days");
  const family = query.get("family_id");
  /** The only match shown, by its id or by the id of the person in Planning Center. */
  const open = query.get("open");
  const person = query.get("pco_id");
  const candidate = query.get("candidate");
  const alone = open !== null || person !== null || candidate !== null;
  /** Filters except the state. */
  const filters = { reason: query.get("reason") || null, single: single && single === "true", older_than_days: older ? Number(older) : null, family_id: family };
  const filtered = Object.values(filters).some((value) => value !== null);
  const answers = answerAll(context, ANSWERS, { filters: () => ({ ...filters, state: state || null }), done: () => matches.reload() });
  const member = query.get("member");
  // Merged pairs cannot be answered "later", and "same" ends their question.
  const asked = !filtered && !alone && (!state || state === "open" || state === "different");
  const pairs = mergedPairs(context, { state: member ? undefined : state === "different" ? "kept_two" : "open", member, changed: () => matches.reload() });
  /** The match answered last on this page. @type {HeldMatch | null} */
  let last = null;
  let shownCount = Math.min(Number(query.get("rows")) || STEP, MOST);
  let unanswered = 0;
  let asking = 0;
  /** The match that the reader went away from. */
  let back = query.get("at");
  /** @type {import("../parts/part.js").Part<Held>} */
  const matches = part({
    signal,
    follows: ["/people/held-matches"],
    load: async () => {
      /** @type {Held} */
      const page = open
        ? { items: [await get(at`/people/held-matches/${open}`, undefined, signal)], next: null, total: null }
        : await get("/people/held-matches", { ...filters, state, pco_id: person, member_id: candidate, limit: shownCount }, signal);
      // Polled: no fact announces that the sync has acted on an answer.
      if (page.items.some((/** @type {HeldMatch} */ one) => one.can_take_back) || last?.can_take_back) setTimeout(() => signal.aborted || void matches.reload(), LOOK_AGAIN);
      if (last) last = await get(at`/people/held-matches/${last.id}`, undefined, signal);
      if ((state || filtered) && page.items.length === 0) unanswered = (await get("/people/held-matches", { limit: 1 }, signal)).total ?? 0;
      asking = page.items.length === 0 && asked ? (await get("/people/merged", { limit: 1 }, signal)).total ?? 0 : 0;
      if (back !== null) requestAnimationFrame(comeBack);
      return page;
    },
    render: (/** @type {Held} */ page) => [
      last && !page.items.some(({ id }) => id === last?.id) ? answeredNow(last) : null,
      page.items.length === 0
        ? h(
            "div",
            { class: "card empty" },
            h("h2", {}, person || candidate ? "There is no question about this person any more" : filtered ? "No held matches fit these filters" : state ? "No held matches in this state" : asking > 0 ? "No other held matches" : "No held matches"),
            unanswered > 0
              ? h("p", {}, h("a", { href: "/held" }, `${count(unanswered, "held match is", "held matches are")} unanswered: show ${unanswered === 1 ? "it" : "them"}`))
              : null,
            h("p", {}, "When a sync is not sure that two records are the same person, they wait here for an answer. Neither is overwritten nor doubled meanwhile."),
            h("p", {}, h("a", { href: "/people" }, "Go to People")),
          )
        : [
            h(
              "div",
              { class: "row spread" },
              h("p", { class: "quiet", role: "status" }, page.total === null ? null : count(page.total, "held match", "held matches")),
              alone ? null : downloads("/people/held-matches.csv", { ...filters, state }),
            ),
            admin && page.total && !alone && (!state || state === "open" || state === "later") ? answers.buttons(page.total) : null,
            ...page.items.map((held) => match(held)),
            page.next && shownCount < MOST
              ? action("Load more", async () => {
                  const before = new Set(page.items.map(({ id }) => id));
                  shownCount = Math.min(shownCount + STEP, MOST);
                  context.note({ rows: shownCount });
                  await matches.reload();
                  const fresh = matches.value()?.items.find(({ id }) => !before.has(id));
                  if (fresh) focusOn(fresh);
                })
              : null,
          ],
    ],
  });

  /** The answer just given, with a button to take it back. @param {HeldMatch} held */
  const answeredNow = (held) =>
    held.state === "open"
      ? null
      : h("div", { key: "answered-now" }, notice("good", h("p", {}, `${fullName(held.theirs)}: ${STATES[held.state][1].toLowerCase()}. `, h("a", { href: `/held?open=${encodeURIComponent(held.id)}` }, "Show it")), held.can_take_back ? h("div", { class: "row" }, takeBack(held)) : null));

  /** @param {HeldMatch} held */
  const takeBack = (held) =>
    action(
      "Take the answer back",
      async () => {
        last = await post(at`/people/held-matches/${held.id}/take-back`, { version: held.version });
        announce(`${fullName(held.theirs)}: the answer was taken back.`);
        await matches.reload();
        focusOn(held);
      },
      { key: "take-back", name: `Take the answer back: ${fullName(held.theirs)}` },
    );

  /** @param {HeldMatch} held */
  const focusOn = (held) => (document.getElementById(`held-${held.id}`) ?? main.querySelector("h1"))?.focus();

  /** Focuses the match that the reader came from, unless the focus has moved elsewhere. */
  function comeBack() {
    const found = document.getElementById(`held-${back}`);
    back = null;
    const elsewhere = document.activeElement !== document.body && document.activeElement !== main.querySelector("h1");
    if (!elsewhere && !signal.aborted) found?.focus();
  }

  /** An answer with its author and its effect so far. @param {HeldMatch} held */
  function since(held) {
    if (held.state !== "same" && held.state !== "different") return null;
    const name = fullName(held.theirs);
    const linked = held.member_id ? h("a", { href: at`/people/${held.member_id}` }, held.candidates.some(({ member }) => member.id === held.member_id) ? fullName(/** @type {Candidate} */ (held.candidates.find(({ member }) => member.id === held.member_id)).member) : name) : null;
    return h(
      "div",
      { key: "since", class: "stack tight" },
      h("p", {}, `${held.answered_by_name ?? "Somebody"} answered: ${STATES[held.state][1].toLowerCase()}, `, when(held.answered_at), "."),
      held.can_take_back && admin
        ? [h("p", { class: "quiet" }, "No sync has acted on this yet."), h("div", { class: "row" }, takeBack(held))]
        : linked
          ? h("p", {}, held.state === "same" ? "The sync has linked the two: " : "The sync has added this person here: ", linked, ". What it changed can be undone on that page.")
          : null,
    );
  }

  /** @param {HeldMatch} held */
  function match(held) {
    const name = fullName(held.theirs);
    const answerable = admin && (held.state === "open" || held.state === "later");
    /** @param {"same" | "different" | "later"} answer @param {string} [member] */
    async function send(answer, member) {
      try {
        last = await post(at`/people/held-matches/${held.id}/answer`, { answer, version: held.version, ...(member ? { member_id: member } : {}) });
      } catch (error) {
        if (!(error instanceof Problem) || !["answered", "version-conflict"].includes(error.kind)) throw error;
        const said = new Problem(error.message, { status: error.status });
        said.remedy = action("Show it as it is now", async () => {
          document.querySelector("dialog")?.close();
          context.go(`/held?open=${encodeURIComponent(held.id)}`);
        });
        throw said;
      }
    }
    /** @param {"same" | "different" | "later"} answer */
    const answered = async (answer) => {
      announce(`${name}: ${STATES[answer][1].toLowerCase()}.`);
      await matches.reload();
      main.querySelector("h1")?.focus();
    };
    /** @param {"same" | "different"} answer @param {string} title @param {string} does @param {string} [member] */
    const asks = async (answer, title, does, member) => {
      const done = await confirm({
        title,
        text: [h("p", {}, does), h("p", {}, "You can take your answer back until the sync has acted on it, usually within a few seconds. After that, what the sync changed can be undone on the person's page.")],
        verb: STATES[answer][1],
        dangerous: false,
        work: () => send(answer, member),
      });
      if (done) await answered(answer);
    };
    /** @param {Candidate} candidate */
    const same = (candidate) =>
      asks(
        "same",
        "Are they the same person?",
        `${called(candidate)} here and ${name} in Planning Center become one person; from then on both sides are kept equal. Where both have a value and these differ, your settings decide: one of them is kept, or a conflict is opened.`,
        candidate.member.id,
      );
    const different = () =>
      asks(
        "different",
        "Are they different people?",
        `${name} in Planning Center is somebody else than ${listed(held.candidates.map(called))} here. Both people stay, and each is added on the side where they are missing.`,
      );
    const members = held.candidates.map(({ member }) => member);
    /** @param {Candidate} candidate */
    const called = ({ member }) => nameAmong(member, members);
    const [tone, word] = STATES[held.state];
    return h(
      "section",
      {
        key: held.id,
        class: "card",
        "aria-labelledby": `held-${held.id}`,
        onclick: (/** @type {MouseEvent} */ event) => {
          if (event.target instanceof Element && event.target.closest("a[href]")) context.note({ at: held.id });
        },
      },
      h("div", { class: "row spread" }, h("h2", { id: `held-${held.id}`, tabindex: "-1" }, name), h("span", { class: "row" }, openThere(context, "member", held.pco_id, name), status(tone, word), h("span", { class: "quiet small" }, when(held.created_at)))),
      h("ul", { class: "bullets" }, ...held.reasons.map((reason) => h("li", {}, reason))),
      h(
        "div",
        { class: "scroll", tabindex: held.candidates.length > 3 && "0" },
        h(
          "table",
          { class: "table fold compared" },
          h("caption", { class: "hidden-visually" }, `${name} in Planning Center, and who it may be here`),
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", { scope: "col" }, "Field"),
              ...held.candidates.map(({ member }) => h("th", { scope: "col" }, "Here: ", h("a", { href: at`/people/${member.id}` }, fullName(member)))),
              h("th", { scope: "col" }, "Planning Center"),
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
                ...held.candidates.map((candidate) => {
                  const { member } = candidate;
                  const value = shown(member[field]) || "—";
                  return h("td", { "data-label": `Here, ${called(candidate)}` }, value === (shown(held.theirs[field]) || "—") ? value : h("strong", {}, value));
                }),
                h("td", { "data-label": "Planning Center" }, shown(held.theirs[field]) || "—"),
              ),
            ),
            ...about(held, (candidate) => `Here, ${called(candidate)}`),
            held.candidates.length > 1 && held.candidates.some(({ reasons }) => reasons.length > 0)
              ? h("tr", {}, h("th", { scope: "row" }, "Why"), ...held.candidates.map((candidate) => h("td", { "data-label": `Here, ${called(candidate)}` }, candidate.reasons.join(" "))), h("td", {}))
              : null,
          ),
        ),
      ),
      since(held),
      answerable
        ? h(
            "div",
            { class: "row" },
            ...held.candidates.map((candidate) =>
              action(held.candidates.length === 1 ? "Same person" : `Same person as ${called(candidate)}`, () => same(candidate)),
            ),
            action("Different people", different),
            held.state === "open"
              ? action("Later", async () => {
                  await send("later");
                  await answered("later");
                })
              : null,
          )
        : null,
    );
  }

  /** Fields that are not synced but tell people apart. @param {HeldMatch} held @param {(candidate: Candidate) => string} label */
  function about({ theirs, candidates }, label) {
    /** @param {boolean | null} active */
    const activity = (active) => (active === null ? "—" : active ? "Active" : "Inactive");
    /** @type {[string, string, (candidate: Candidate) => string][]} */
    const rows = [
      ["Middle name", theirs.middle_name ?? "", () => ""],
      ["Suffix", theirs.suffix ?? "", ({ suffix }) => suffix ?? ""],
      ["Status", activity(theirs.active), ({ member }) => activity(member.active)],
    ];
    return rows
      .filter(([, there, here]) => there || candidates.some((candidate) => here(candidate)))
      .map(([name, there, here]) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, name),
          ...candidates.map((candidate) => {
            const value = here(candidate) || (name === "Middle name" ? "Not kept here" : "—");
            return h("td", { "data-label": label(candidate) }, value === (there || "—") || name === "Middle name" ? value : h("strong", {}, value));
          }),
          h("td", { "data-label": "Planning Center" }, there || "—"),
        ),
      );
  }

  main.append(
    heading("Held matches", h("a", { href: "/people" }, "All people")),
    h("p", { class: "quiet" }, "People in Planning Center who may be somebody you have here already. Nothing happens to them until " + (admin ? "you answer." : "an administrator answers.")),
    alone ? h("p", {}, "Only the question about one person. ", h("a", { href: "/held" }, "Show all held matches")) : h("div", { class: "stack tight" }, states, reasons, candidates, ages),
    family ? h("p", {}, "Only those of one family. ", h("a", { href: at`/families/${family}` }, "Go to the family"), " · ", h("a", { href: context.here({ family_id: null, rows: null }) }, "Show all families")) : "",
    answers.said,
    member ? h("p", {}, "Only the question about one person. ", h("a", { href: "/held" }, "Show all held matches")) : "",
    asked || member ? pairs.element : "",
    member ? "" : matches.element,
  );
}
