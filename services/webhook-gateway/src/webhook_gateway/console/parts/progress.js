// Progress of a run: real counts, the cause of a wait, and an honest range for the time left.

import { h } from "./dom.js";
import { status } from "./look.js";
import { count, number, phaseName, remaining, runState } from "./words.js";

/** @typedef {import("../types.d.ts").Run} Run */

/** @type {Record<string, import("./look.js").Tone>} */
const TONES = { queued: "calm", running: "busy", waiting: "warn", stopping: "warn", done: "good", stopped: "calm", failed: "bad" };
/** @type {Record<string, string>} */
const IMAGES = { queued: "clock", waiting: "clock", stopped: "dash", failed: "alert" };

/** @param {Run} run @param {boolean} admin @param {boolean} [pill] */
export const runStatus = (run, admin, pill = false) =>
  status(TONES[run.state] ?? "calm", runState(run, admin), { pill, icon: IMAGES[run.state] });

/** Whether the run waits for Planning Center, not for an answer. @param {Run} run */
export const waitsForPlanningCenter = (run) => run.state === "waiting" && !run.question;

/** @param {Run} run */
export function progressOf(run) {
  const { phase, done, total, noun, requests, rate_per_second, eta_seconds_low, eta_seconds_high, waiting_for } =
    run.progress;
  // A plan that waits for an answer is complete, so its bar is full.
  const asked = run.question !== null;
  const counted = asked ? "" : total === null ? `${number(done)} ${noun} so far` : `${number(done)} of ${number(total)} ${noun}`;
  const running = run.state === "running";
  const facts = [
    counted,
    running && rate_per_second ? `${number(rate_per_second >= 10 ? Math.round(rate_per_second) : Math.round(rate_per_second * 10) / 10)} per second` : "",
    `${count(requests, "request")} to Planning Center`,
    running && eta_seconds_low !== null && eta_seconds_high !== null ? remaining(eta_seconds_low, eta_seconds_high) : "",
  ];
  return h(
    "div",
    { key: "progress", class: "stack tight" },
    // Without a total the bar would move, which suggests work in progress.
    asked || (total === null && run.state === "waiting")
      ? null
      : h("progress", { "aria-label": phaseName(phase), max: total || 1, ...(total === null ? {} : { value: Math.min(done, total || 1) }) }),
    h("p", {}, h("strong", {}, phaseName(phase)), ": ", facts.filter(Boolean).join(" · ")),
    waiting_for ? h("p", { class: "quiet" }, waiting_for) : null,
  );
}
