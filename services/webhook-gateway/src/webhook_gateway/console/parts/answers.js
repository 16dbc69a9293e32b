// One answer to many held matches: shown first, then carried out, then told.

import { at, get, post } from "../api.js";
import { announce, h, update } from "./dom.js";
import { action, confirm, notice, status } from "./look.js";
import { Problem, sentenceOf } from "./problem.js";
import { count, mailed, number } from "./words.js";

/** @typedef {import("../types.d.ts").HeldBulk} HeldBulk */
/** @typedef {import("../types.d.ts").HeldBulkPreview} Preview */
/** @typedef {import("../types.d.ts").HeldSkipped} Skipped */
/** @typedef {HeldBulk["answer"]} Answer */

/** @type {Record<Answer, string>} */
const WORDS = { same: "Same person", different: "Different people", later: "Later" };
/** @type {Record<Answer, string>} */
const LEFT_OUT = {
  same: "because several people may be meant. Answer those one by one.",
  different: "because they can't have this answer.",
  later: "because they have this answer already.",
};
/** Milliseconds between two looks. */
const PAUSES = [250, 400, 600, 1000, 1500];
const STEP = 50;

const matches = (/** @type {number} */ amount) => count(amount, "held match", "held matches");

/**
 * Buttons for one answer to all that the filters show, and what became of the last one.
 * @param {import("../app.js").Context} context
 * @param {{ filters: () => Record<string, unknown>, done: () => unknown }} about `done` reads the list again
 */
export function answerAll(context, { filters, done }) {
  const { signal, query, main } = context;
  const said = h("div", { class: "stack", id: "answered" });
  /** Only the newest is followed. */
  let turn = 0;

  /** @param {Answer} answer */
  async function begin(answer) {
    /** @type {Preview} */
    const preview = await post("/people/held-matches/bulk", { answer, ...filters() });
    const left = preview.left_out > 0 ? `${matches(preview.left_out)} ${preview.left_out === 1 ? "is" : "are"} left as ${preview.left_out === 1 ? "it is" : "they are"}, ${LEFT_OUT[answer]}` : "";
    if (preview.count === 0) throw new Problem(`None of these can have the answer “${WORDS[answer]}”. ${left}`.trim());
    const answered = await confirm({
      title: `Answer ${matches(preview.count)}: ${WORDS[answer].toLowerCase()}?`,
      text: [
        h("p", {}, `Exactly ${preview.count === 1 ? "this one is" : `these ${number(preview.count)} are`} answered. Whatever changes here before its turn, or is read from Planning Center as changed, is left as it is and named. A change in Planning Center that we have not read yet is not noticed. `, left),
        h("p", { id: "samples" }, preview.count > preview.samples.length ? `The first ${number(preview.samples.length)}:` : "What will be done:"),
        h("ul", { class: "bullets", "aria-labelledby": "samples" }, ...preview.samples.map(({ match, sentence }) => h("li", {}, sentence, h("span", { class: "quiet small" }, ` ${match.reasons.join(" ")}`)))),
        preview.may_be_mailed > 0 ? h("p", {}, mailed(preview.may_be_mailed)) : null,
        answer === "later" ? null : h("p", {}, "This cannot be taken back here."),
      ],
      verb: `Answer ${matches(preview.count)}`,
      dangerous: false,
      work: () => post(at`/people/held-matches/bulk/${preview.id}/answer`, { digest: preview.digest }),
    });
    if (!answered) return;
    context.note({ answers: preview.id });
    void watch(preview.id);
    main.querySelector("h1")?.focus();
  }

  /** @param {string} id */
  async function watch(id) {
    const mine = (turn += 1);
    const over = () => signal.aborted || mine !== turn;
    for (let looks = 0; ; looks += 1) {
      try {
        /** @type {HeldBulk} */
        const bulk = await get(at`/people/held-matches/bulk/${id}`, undefined, signal);
        if (over()) return;
        if (bulk.state === "done") {
          await tell(bulk, over);
          return done();
        }
        if (bulk.state === "shown") return update(said);
        update(said, h("div", { key: "working", class: "card" }, h("p", {}, status("busy", "Answering", { pill: true }), ` ${number(bulk.done)} of ${matches(bulk.count)}.`), h("progress", { "aria-label": "Answering held matches", max: bulk.count, value: bulk.done })));
      } catch (error) {
        if (over()) return;
        if (error instanceof Problem && error.status === 404) {
          context.note({ answers: null });
          return update(said);
        }
        update(said, notice("bad", h("p", {}, sentenceOf(error))));
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSES[Math.min(looks, PAUSES.length - 1)]));
      if (over()) return;
    }
  }

  /** @param {HeldBulk} bulk @param {() => boolean} over */
  async function tell(bulk, over) {
    const taken = bulk.done - bulk.skipped;
    const sentence = `${matches(taken)} ${taken === 1 ? "was" : "were"} answered: ${WORDS[bulk.answer].toLowerCase()}.`;
    const left = bulk.skipped > 0 ? `${matches(bulk.skipped)} changed meanwhile and ${bulk.skipped === 1 ? "was" : "were"} left as ${bulk.skipped === 1 ? "it is" : "they are"}.` : "";
    /** @type {Skipped[]} */
    const named = [];
    /** @type {string | null} */
    let next = null;
    async function more() {
      const page = await get(at`/people/held-matches/bulk/${bulk.id}/skipped`, { after: next, limit: STEP }, signal);
      named.push(...page.items);
      next = page.next;
    }
    const render = () =>
      update(
        said,
        h(
          "section",
          { key: "done", class: "card", "aria-label": "What was answered" },
          h("p", {}, status(bulk.skipped > 0 ? "warn" : "good", "Done", { pill: true }), ` ${sentence}`),
          left ? h("p", {}, left) : null,
          named.length > 0 ? h("ul", { class: "bullets" }, ...named.map((one) => h("li", { key: one.held_id }, h("strong", {}, one.name), `: ${one.sentence}`))) : null,
          h(
            "div",
            { class: "row" },
            next ? action("Name more", async () => {
              await more();
              render();
            }) : null,
            action("Close", () => {
              context.note({ answers: null });
              update(said);
              main.querySelector("h1")?.focus();
            }),
          ),
        ),
      );
    if (bulk.skipped > 0) await more();
    if (over()) return;
    render();
    announce(left ? `${sentence} ${left}` : sentence);
  }

  const before = query.get("answers");
  if (before) void watch(before);
  return {
    said,
    /** @param {number} total how many the filters show */
    buttons: (total) =>
      h(
        "section",
        { key: "answer-all", class: "card", "aria-labelledby": "answer-all" },
        h("h2", { id: "answer-all" }, "Answer all shown"),
        h("p", {}, `One answer for ${total === 1 ? "the held match" : `all ${matches(total)}`} that the filters above show. First you see how many can have it, and what would be done; nothing is done before you agree.`),
        h("div", { class: "row" }, .../** @type {Answer[]} */ (["same", "different", "later"]).map((answer) => action(`All: ${WORDS[answer].toLowerCase()}`, () => begin(answer), { key: answer }))),
      ),
  };
}
