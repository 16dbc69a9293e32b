// A bulk answer: preview, progress and result.

import { at, get, post } from "../api.js";
import { announce, h, update } from "./dom.js";
import { downloads } from "./download.js";
import { action, confirm, notice, status } from "./look.js";
import { Problem, sentenceOf } from "./problem.js";
import { number } from "./words.js";

/** @typedef {import("./dom.js").Child} Child */
/** @typedef {{ id: string, answer: string, digest: string, count: number, left_out: number, state: string, done: number, skipped: number }} Bulk */

/**
 * The words of one kind of question.
 * @template {Bulk} B
 * @template S
 * @typedef {{
 *   path: string,
 *   noun: (amount: number) => string,
 *   answers: readonly (readonly [answer: string, word: string])[],
 *   leftOut: Record<string, string>,
 *   explain: string,
 *   promise: (count: number) => string,
 *   sample: (sample: S) => Child,
 *   further?: (preview: B) => Child,
 *   last: (answer: string) => string | null,
 *   named: (skipped: any) => [id: string, name: string],
 *   progress?: (bulk: B) => { done: number, sentence: string } | null,
 *   results?: (bulk: B) => Child,
 * }} Kind `progress`: work that continues after the last answer was given; null once it is over
 */

/** Milliseconds between polls. */
const PAUSES = [250, 400, 600, 1000, 1500];
const STEP = 50;
/** Maximum number of questions in one answer. */
const MOST = 10_000;

/**
 * Buttons that give one answer to all filtered questions, and the result of the last answer.
 * @template {Bulk} B
 * @template S
 * @param {import("../app.js").Context} context
 * @param {Kind<B, S>} kind
 * @param {{ filters: () => Record<string, unknown>, done: () => unknown }} about `done` reads the list again
 */
export function answerAll(context, kind, { filters, done }) {
  const { signal, query, main } = context;
  const said = h("div", { class: "stack", id: "answered" });
  const words = new Map(kind.answers);
  /** @param {string} answer */
  const word = (answer) => words.get(answer) ?? answer;
  /** Number of the newest answer, the only one whose progress is followed. */
  let turn = 0;

  /** @param {string} answer */
  async function begin(answer) {
    /** @type {B & { samples: S[] }} */
    const preview = await post(kind.path, { answer, ...filters() });
    const full = preview.count >= MOST ? ` At most ${number(MOST)} are answered at once: give the others the next answer.` : "";
    const left = preview.left_out > 0 ? `${kind.noun(preview.left_out)} ${preview.left_out === 1 ? "is" : "are"} left as ${preview.left_out === 1 ? "it is" : "they are"}, ${kind.leftOut[answer]}${full}` : "";
    if (preview.count === 0) throw new Problem(`None of these can have the answer “${word(answer)}”. ${left}`.trim());
    const answered = await confirm({
      title: `Answer ${kind.noun(preview.count)}: ${lower(word(answer))}?`,
      text: [
        h("p", {}, `Exactly ${preview.count === 1 ? "this one is" : `these ${number(preview.count)} are`} answered. ${kind.promise(preview.count)} `, left),
        h("p", { id: "samples" }, preview.count > preview.samples.length ? `The first ${number(preview.samples.length)}:` : "What will be done:"),
        h("ul", { class: "bullets", "aria-labelledby": "samples" }, ...preview.samples.map((one) => h("li", {}, kind.sample(one)))),
        kind.further?.(preview) ?? null,
        kind.last(answer) ? h("p", {}, kind.last(answer)) : null,
      ],
      verb: `Answer ${kind.noun(preview.count)}`,
      dangerous: false,
      work: () => post(`${kind.path}${at`/${preview.id}/answer`}`, { digest: preview.digest }),
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
        /** @type {B} */
        const bulk = await get(`${kind.path}${at`/${id}`}`, undefined, signal);
        if (over()) return;
        const going = bulk.state === "done" ? (kind.progress?.(bulk) ?? null) : { done: bulk.done, sentence: `${number(bulk.done)} of ${kind.noun(bulk.count)}.` };
        if (!going) {
          await tell(bulk, over);
          return done();
        }
        if (bulk.state === "shown") return update(said);
        const progress = h("progress", { "aria-label": `Answering ${kind.noun(bulk.count)}`, max: bulk.count, value: going.done });
        update(said, h("div", { key: "working", class: "card" }, h("p", {}, status("busy", "Answering", { pill: true }), ` ${going.sentence}`), progress));
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

  /** @param {B} bulk @param {() => boolean} over */
  async function tell(bulk, over) {
    const taken = bulk.done - bulk.skipped;
    const sentence = `${kind.noun(taken)} ${taken === 1 ? "was" : "were"} answered: ${lower(word(bulk.answer))}.`;
    const left = bulk.skipped > 0 ? `${kind.noun(bulk.skipped)} changed meanwhile and ${bulk.skipped === 1 ? "was" : "were"} left as ${bulk.skipped === 1 ? "it is" : "they are"}.` : "";
    /** @type {any[]} */
    const named = [];
    /** @type {string | null} */
    let next = null;
    async function more() {
      const page = await get(`${kind.path}${at`/${bulk.id}/skipped`}`, { after: next, limit: STEP }, signal);
      named.push(...page.items);
      next = page.next;
    }
    const item = (/** @type {any} */ skipped) => {
      const [id, name] = kind.named(skipped);
      return h("li", { key: id }, h("strong", {}, name), `: ${skipped.sentence}`);
    };
    const render = () =>
      update(
        said,
        h(
          "section",
          { key: "done", class: "card", "aria-label": "What was answered" },
          h("p", {}, status(bulk.skipped > 0 ? "warn" : "good", "Done", { pill: true }), ` ${sentence}`),
          kind.results?.(bulk) ?? null,
          left ? h("p", {}, left) : null,
          named.length > 0 ? h("ul", { class: "bullets" }, ...named.map(item)) : null,
          h(
            "div",
            { class: "row" },
            next ? action("Show more", async () => {
              await more();
              render();
            }) : null,
            named.length > 0 ? downloads(`${kind.path}${at`/${bulk.id}/skipped.csv`}`) : null,
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
        h("p", {}, `One answer for ${total === 1 ? `the ${kind.noun(1).replace(/^1 /, "")}` : `all ${kind.noun(total)}`} that the filters above show. ${kind.explain}`),
        h("div", { class: "row" }, ...kind.answers.map(([answer, text]) => action(`All: ${lower(text)}`, () => begin(answer), { key: answer }))),
      ),
  };
}

/** Text for the middle of a sentence: only the first letter changes, so names keep their capitals. @param {string} text */
const lower = (text) => text.charAt(0).toLowerCase() + text.slice(1);
