// Send messages again: the count first, then the progress.

import { at, get, post } from "../api.js";
import { announce, h, update } from "./dom.js";
import { action, confirm, notice, status } from "./look.js";
import { Problem, sentenceOf } from "./problem.js";
import { count, number } from "./words.js";

/** @typedef {import("../types.d.ts").Replay} Replay */
/** @typedef {import("../types.d.ts").ReplayPreview} Preview */

/** Milliseconds between polls. */
const PAUSES = [250, 400, 600, 1000, 1500];
/** @param {number} amount */
const messages = (amount) => count(amount, "message");

/**
 * @param {import("../app.js").Context} context
 * @param {() => unknown} done reads again what may have changed
 */
export function sending(context, done) {
  const { main, query, signal } = context;
  const said = h("div", { class: "stack", id: "sent-again" });
  /** Number of the newest replay, the only one whose progress is followed. */
  let turn = 0;

  /** Count, confirm, and follow. @param {Record<string, unknown>} filter */
  async function begin(filter) {
    /** @type {Preview} */
    const preview = await post("/webhooks/replays/preview", filter);
    const left = preview.left_out > 0 ? `${messages(preview.left_out)} cannot be read and ${preview.left_out === 1 ? "is" : "are"} left out.` : "";
    if (preview.count === 0) throw new Problem(`There is nothing to send again. ${left}`.trim());
    const agreed = await confirm({
      title: preview.count === 1 ? "Send this message again?" : `Send ${messages(preview.count)} again?`,
      text: [
        h("p", {}, `Exactly ${preview.count === 1 ? "this one is" : `these ${number(preview.count)} are`} handed on once more. What each is about is read again in Planning Center, and only what differs is changed. ${left}`),
        h("p", {}, "Messages that arrive from now on are not part of it."),
      ],
      verb: preview.count === 1 ? "Send it again" : `Send ${messages(preview.count)} again`,
      dangerous: false,
      work: async () => {
        /** @type {Replay} */
        const replay = await post("/webhooks/replays", { ...filter, newest: preview.newest, digest: preview.digest });
        context.note({ replay: replay.id });
        void watch(replay.id);
      },
    });
    if (agreed) main.querySelector("h1")?.focus();
  }

  /** @param {string} id */
  async function watch(id) {
    const mine = (turn += 1);
    const over = () => signal.aborted || mine !== turn;
    let sent = false;
    for (let looks = 0; ; looks += 1) {
      try {
        /** @type {Replay} */
        const replay = await get(at`/webhooks/replays/${id}`, undefined, signal);
        if (over()) return;
        show(replay);
        if (!sent && (replay.state === "done" || replay.state === "stopped")) {
          sent = true;
          announce(sentenceFor(replay));
          void done();
        }
        if (replay.state === "stopped" || (replay.state === "done" && replay.waiting === 0)) return void done();
      } catch (error) {
        if (over()) return;
        if (error instanceof Problem && error.status === 404) {
          context.note({ replay: null });
          return update(said);
        }
        update(said, notice("bad", h("p", {}, sentenceOf(error))));
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSES[Math.min(looks, PAUSES.length - 1)]));
      if (over()) return;
    }
  }

  /** @param {Replay} replay */
  function show(replay) {
    const going = replay.state === "queued" || replay.state === "running";
    const acted = replay.done - replay.waiting;
    const word = going ? "Sending again" : replay.state === "stopped" ? "Stopped" : replay.waiting > 0 ? "Waiting" : "Done";
    const tone = going ? "busy" : replay.state === "stopped" ? "bad" : replay.waiting > 0 ? "warn" : "good";
    update(
      said,
      h(
        "section",
        { key: "replay", class: "card", "aria-label": "Messages sent again" },
        h("p", {}, status(tone, word, { pill: true, icon: tone === "warn" ? "clock" : undefined }), ` ${sentenceFor(replay)}`),
        going || replay.waiting > 0 ? h("progress", { "aria-label": `Acting on ${messages(replay.total)}`, max: replay.total, value: acted }) : null,
        h(
          "div",
          { class: "row" },
          action("Close", () => {
            turn += 1;
            context.note({ replay: null });
            update(said);
            main.querySelector("h1")?.focus();
          }),
        ),
      ),
    );
  }

  const before = query.get("replay");
  if (before) void watch(before);
  return { said, begin };
}

/** So many waiting messages are counted at most. */
const COUNTED = 10_000;

/** @param {Replay} replay */
function sentenceFor({ state, total, done, waiting }) {
  if (state === "queued" || state === "running") return `${number(done)} of ${messages(total)} sent again, ${waiting < COUNTED ? `${number(done - waiting)} acted on` : `${number(COUNTED)} or more wait to be acted on`}.`;
  const sent = `${messages(done)} ${done === 1 ? "was" : "were"} sent again`;
  const left = done < total ? ` ${messages(total - done)} changed meanwhile and ${total - done === 1 ? "was" : "were"} left as ${total - done === 1 ? "it is" : "they are"}.` : "";
  if (state === "stopped") return `${sent}, then it could not go on. ${messages(total - done)} ${total - done === 1 ? "was" : "were"} not sent: send ${total - done === 1 ? "it" : "them"} again.`;
  return waiting > 0 ? `${sent}; ${number(waiting)} ${waiting === 1 ? "waits" : "wait"} to be acted on.${left}` : `${sent}, and each was acted on.${left}`;
}
