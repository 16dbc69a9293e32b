// A part of a page with its own read: skeleton, content, and failure with a retry.

import { follow } from "../live.js";
import { h, slot, update } from "./dom.js";
import { Problem, sentenceOf } from "./problem.js";

/** @typedef {import("./dom.js").Child} Child */
/**
 * `element` is the part itself, or its slot if the part is already on the page.
 * @template T
 * @typedef {{ readonly element: HTMLElement, reload: () => Promise<void>, show: (value: T) => void,
 *   value: () => T | undefined }} Part
 */

let made = 0;

const MOST_OFTEN = 1000;
const RETRY_SECONDS = [5, 10, 20, 30];

/**
 * @template T
 * @param {{
 *   signal: AbortSignal,
 *   load: () => Promise<T>,
 *   render: (value: T) => Child,
 *   skeleton?: () => Child,
 *   follows?: string[],
 *   class?: string,
 *   label?: string,
 *   onFact?: (fact: import("../live.js").Fact, value: T) => T | undefined,
 * }} options `onFact` turns a fact into the new value without a read
 * @returns {Part<T>}
 */
export function part({ signal, load, render, skeleton = bones, follows = [], class: classes = "stack", label, onFact }) {
  const tag = label ? "section" : "div";
  const key = `part-${(made += 1)}`;
  const element = h(tag, { key, class: classes, "aria-label": label, "aria-busy": "true" }, skeleton());
  /** @type {T | undefined} */
  let value;
  let known = false;
  let failures = 0;
  let loading = false;
  let again = false;
  let readAt = 0;
  /** @type {number | undefined} */
  let timer;
  signal.addEventListener("abort", () => clearTimeout(timer));

  /** @param {T} next */
  function show(next) {
    value = next;
    known = true;
    failures = 0;
    element.removeAttribute("aria-busy");
    update(element, render(next));
  }

  async function reload() {
    if (loading) {
      again = true;
      return;
    }
    loading = true;
    again = false;
    clearTimeout(timer);
    try {
      const next = await load();
      if (!signal.aborted) show(next);
    } catch (error) {
      if (!signal.aborted) fail(error);
    } finally {
      loading = false;
      readAt = Date.now();
      if (again && !signal.aborted) soon();
    }
  }

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(reload, Math.max(0, readAt + MOST_OFTEN - Date.now()));
  }

  /** Retry at once, unless the last read succeeded. */
  const retryNow = () => failures > 0 && void reload();

  /** @param {unknown} error */
  function fail(error) {
    const lasting = error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429;
    const asked = error instanceof Problem ? error.retryAfter : 0;
    let seconds = Math.max(asked, RETRY_SECONDS[Math.min(failures, RETRY_SECONDS.length - 1)] ?? 30);
    failures += 1;
    element.removeAttribute("aria-busy");
    const sentence = h("p", {}, sentenceOf(error));
    // Outside the alert, which would read out every second.
    const counting = h("p", { class: "small", "aria-hidden": "true" });
    const said = h("span", { class: "hidden-visually" }, "This part of the page tries again by itself.");
    const retry = h("button", { type: "button", onclick: reload }, "Try now");
    const failure = h(
      "div",
      { key: "part-failure", class: "notice bad", role: "alert" },
      sentence,
      lasting ? null : h("div", { class: "row" }, counting, said, retry),
    );
    update(element, failure, known ? render(/** @type {T} */ (value)) : null);
    if (lasting) return;
    addEventListener("online", retryNow, { once: true, signal });
    const shownCounting = element.querySelector(".notice .small");
    const tick = () => {
      if (seconds <= 0) return void reload();
      if (shownCounting) shownCounting.textContent = `Retrying in ${seconds} s.`;
      seconds -= 1;
      timer = setTimeout(tick, 1000);
    };
    tick();
  }

  for (const path of follows) {
    follow(
      path,
      (fact) => {
        const next = fact && known && onFact ? onFact(fact, /** @type {T} */ (value)) : undefined;
        if (next !== undefined) show(next);
        else soon();
      },
      signal,
    );
  }
  void reload();
  return {
    get element() {
      return slot(element);
    },
    reload,
    show,
    value: () => value,
  };
}

const bones = () => [0, 1, 2].map(() => h("span", { class: "bone", "aria-hidden": "true" }));

