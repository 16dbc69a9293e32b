// Small pieces of every page: icons, status, notices, times, dialogs, forms.

import { h, announce } from "./dom.js";
import { ago, count, exact, number } from "./words.js";
import { Problem, sentenceOf } from "./problem.js";

/** @typedef {import("./dom.js").Child} Child */

/** Outlines on a 24-unit grid. @type {Record<string, string>} */
const ICONS = {
  check: "M5 12.5l4.5 4.5L19 7.5",
  alert: "M12 8v5m0 3.5v.01M12 3.5L2.5 20h19z",
  cross: "M7 7l10 10M17 7L7 17",
  dash: "M6 12h12",
  clock: "M12 7v5l3 2M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18",
  sync: "M5 10a7 7 0 0 1 12.5-2.5M19 14a7 7 0 0 1-12.5 2.5M18 3v5h-5M6 21v-5h5",
  link: "M10 14l4-4M8.5 11.5l-2 2a3.5 3.5 0 0 0 5 5l2-2M15.500 12.500l2-2a3.500 3.500 0 0 0-5-5l-2 2",
  plug: "M9 3v5m6-5v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4",
  person: "M12 12a4 4 0 1 0 0-8a4 4 0 0 0 0 8M4.500 20a7.500 7.500 0 0 1 15 0",
  family: "M9 11a3.500 3.500 0 1 0 0-7a3.500 3.500 0 0 0 0 7M2.500 20a6.500 6.500 0 0 1 13 0M16.500 12a3 3 0 1 0 0-6M17 14.500a5.500 5.500 0 0 1 4.500 5.500",
  split: "M12 21v-7M12 14L6 7m6 7l6-7M5 11V6h5m4 0h5v5",
  calendar: "M5 5h14v15H5zM5 10h14M9 3v4m6-4v4",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
};

/** @param {string} name */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 24 24",
    fill: "none",
    stroke: "currentColor",
    "stroke-width": "2",
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
    "aria-hidden": "true",
  })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name] ?? "");
  svg.append(path);
  return svg;
}

/** @typedef {"good" | "warn" | "bad" | "calm" | "busy"} Tone */
/** @type {Record<Tone, string>} */
const TONE_ICONS = { good: "check", warn: "alert", bad: "cross", calm: "dash", busy: "sync" };

/**
 * A status as icon, word and colour, never colour alone.
 * @param {Tone} tone
 * @param {string} word
 * @param {{ pill?: boolean, icon?: string }} [options]
 */
export const status = (tone, word, options = {}) =>
  h(
    "span",
    { class: `status ${tone} ${options.pill ? "pill" : "small"}` },
    icon(options.icon ?? TONE_ICONS[tone]),
    word,
  );

/**
 * @param {Tone} tone
 * @param {...Child} children
 */
export const notice = (tone, ...children) =>
  h("div", { class: `notice ${tone}`, role: tone === "bad" && "alert" }, ...children);

/** A relative time with the exact one on hover and for screen readers; it updates itself. */
class MomentElement extends HTMLElement {
  static observedAttributes = ["datetime"];
  /** @type {number | undefined} */
  #timer;

  connectedCallback() {
    this.#show();
    this.#timer = window.setInterval(() => this.#show(), 20_000);
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#show();
  }

  #show() {
    const moment = this.getAttribute("datetime") ?? "";
    const text = ago(moment);
    if (this.firstChild?.textContent === text) return;
    const time = h("time", { datetime: moment, title: exact(moment) }, text);
    this.replaceChildren(time, h("span", { class: "hidden-visually" }, ` (${exact(moment)})`));
  }
}
customElements.define("relative-time", MomentElement);

/** @param {string | null | undefined} iso @param {string} [none] */
export const when = (iso, none = "Never") => (iso ? h("relative-time", { datetime: iso }) : none);

/**
 * A button that runs `work`: disabled meanwhile, with a failure shown beside it.
 * @param {string} label
 * @param {() => unknown} work
 * @param {{ class?: string, name?: string, disabled?: boolean, key?: string }} [options]
 */
export function action(label, work, options = {}) {
  return h(
    "button",
    {
      type: "button",
      class: options.class,
      "aria-label": options.name,
      disabled: options.disabled,
      key: options.key,
      onclick: (/** @type {MouseEvent} */ event) => run(/** @type {HTMLElement} */ (event.currentTarget), work),
    },
    label,
  );
}

/** Attributes of a busy button; `data-busy` keeps a live update from enabling it. */
const BUSY = ["disabled", "data-busy"];

/**
 * Run `work` for a button or form. A failure is shown right behind it until the next attempt.
 * @param {HTMLElement} origin
 * @param {() => unknown} work
 */
export async function run(origin, work) {
  const focused = origin instanceof HTMLFormElement ? document.activeElement : origin;
  const buttons = origin instanceof HTMLFormElement ? [...origin.querySelectorAll("button")] : [origin];
  const place = origin instanceof HTMLFormElement ? origin : (origin.closest(".row, .dialog-actions") ?? origin);
  const next = origin instanceof HTMLFormElement ? origin.querySelector(".failure") : place.nextElementSibling;
  if (next?.classList.contains("failure")) next.remove();
  for (const button of buttons) for (const name of BUSY) button.setAttribute(name, "");
  try {
    await work();
  } catch (error) {
    const marked = origin instanceof HTMLFormElement && error instanceof Problem && showFieldErrors(origin, error);
    const sentence = marked ? "Correct the marked fields and save again. Nothing was saved." : sentenceOf(error);
    const said = notice("bad", h("p", {}, sentence), error instanceof Problem && error.remedy && h("div", { class: "row" }, error.remedy));
    said.classList.add("failure");
    said.dataset.key = "failure";
    if (origin instanceof HTMLFormElement) {
      (origin.querySelector("button:not([type])")?.closest(".row, .dialog-actions") ?? origin).before(said);
    } else place.after(said);
  } finally {
    for (const button of buttons) for (const name of BUSY) button.removeAttribute(name);
    // Disabling dropped the focus; return it unless it went elsewhere meanwhile, or to the heading if the button is
    // gone.
    if (document.activeElement === document.body) {
      if (focused instanceof HTMLElement && focused.isConnected) focused.focus();
      else /** @type {HTMLElement | null} */ (document.querySelector("main h1"))?.focus({ preventScroll: true });
    }
  }
}

/**
 * Mark text longer than the server accepts while it is typed; it is neither cut nor sent.
 * @param {HTMLInputElement | HTMLTextAreaElement} input
 * @param {number} most characters
 */
export function limit(input, most) {
  const length = [...input.value.trim()].length;
  input.setCustomValidity(length > most ? `At most ${count(most, "character")}; there are ${number(length)}.` : "");
}

/** Show the field's custom validity message, or its hint. @param {HTMLInputElement | HTMLTextAreaElement} input @param {string} [hint] */
export function showValidity(input, hint = "") {
  const note = document.getElementById(input.getAttribute("aria-describedby") ?? "");
  if (input.validity.customError) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  if (!note) return;
  note.className = input.validity.customError ? "error" : "small quiet";
  note.textContent = input.validity.customError ? input.validationMessage : hint;
}

/**
 * A labelled control with its error message.
 * @param {string} label
 * @param {string} name
 * @param {{ value?: string | number | null, type?: string, hint?: string, required?: boolean, autocomplete?: string,
 *   min?: number, max?: number | string, most?: number, pattern?: string, title?: string, list?: string, options?: [string, string][], lines?: number, disabled?: boolean }} [options]
 *   `lines`: the height of a text of several lines
 */
export function field(label, name, options = {}) {
  const { value, hint, most, options: choices, lines, ...rest } = options;
  const id = `f-${name.replace(/\W/g, "-")}`;
  const props = { id, name, "aria-describedby": `${id}-note`, autocomplete: "off", ...rest };
  const control = choices
    ? h("select", { ...props, value: value ?? "" }, ...choices.map(([key, text]) => h("option", { value: key }, text)))
    : lines
      ? h("textarea", { ...props, rows: lines }, value)
      : // A browser would join lines without a space.
        h("input", { type: "text", ...props, value: String(value ?? "").replace(/\s*[\r\n]+\s*/g, " ") });
  if (most && !(control instanceof HTMLSelectElement)) {
    control.oninput = () => {
      limit(control, most);
      showValidity(control, hint);
    };
  }
  return h(
    "div",
    { class: rest.type === "number" ? "field short" : "field" },
    h("label", { for: id }, label),
    control,
    h("p", { id: `${id}-note`, class: "small quiet" }, hint),
  );
}

/**
 * Mark the fields that the problem names; gives whether any was marked.
 * @param {HTMLFormElement} form
 * @param {Problem} problem
 */
function showFieldErrors(form, problem) {
  let first = true;
  /** @param {string} name */
  const labelOf = (name) => form.querySelector(`label[for="f-${name}"]`)?.textContent;
  for (const control of form.querySelectorAll("input, select, textarea")) {
    // A fault may name another field: "lies before starts_at".
    const message = problem.errors.get(control.getAttribute("name") ?? "")?.replace(/[a-z]+_[a-z_]+/g, (name) => labelOf(name) ?? name);
    control.toggleAttribute("aria-invalid", false);
    const note = document.getElementById(control.getAttribute("aria-describedby") ?? "");
    if (!message || !note) continue;
    control.setAttribute("aria-invalid", "true");
    note.className = "error";
    // A message such as "is not a phone number" continues the field's label.
    const label = form.querySelector(`label[for="${control.id}"]`)?.textContent;
    note.textContent = label && /^[a-z]/.test(message) ? `${label} ${message}` : message;
    if (first) /** @type {HTMLElement} */ (control).focus();
    first = false;
  }
  return !first;
}

/**
 * A native dialog; focus returns to where it was when it closes. Resolves with the dialog's return value.
 * @param {string} title
 * @param {(dialog: HTMLDialogElement) => Child} content
 * @returns {Promise<string>}
 */
export function ask(title, content) {
  const origin = document.activeElement;
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" });
  dialog.append(h("div", { class: "stack" }, h("h2", { id: "dialog-title" }, title), content(dialog)));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      dialog.remove();
      // A key pressed meanwhile may have moved the focus elsewhere.
      const nowhere = document.activeElement === null || document.activeElement === document.body;
      if (nowhere && origin instanceof HTMLElement && origin.isConnected) origin.focus();
      resolve(dialog.returnValue);
    };
  });
}

/**
 * Confirm an irreversible action, then run `work`. Resolves true once it is done.
 * @param {{ title: string, text: Child, verb: string, work: () => unknown, dangerous?: boolean }} question
 */
export async function confirm({ title, text, verb, work, dangerous = true }) {
  const answer = await ask(title, (dialog) => [
    text,
    h(
      "div",
      { class: "dialog-actions" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      action(
        verb,
        async () => {
          await work();
          dialog.close("done");
        },
        { class: dangerous ? "dangerous" : "primary" },
      ),
    ),
  ]);
  return answer === "done";
}

/**
 * The heading of a page. It takes the focus after navigation, where screen readers then begin.
 * @param {Child} text
 * @param {...Child} beside
 */
export const heading = (text, ...beside) =>
  h("div", { class: "row spread" }, h("h1", { tabindex: "-1" }, text), h("div", { class: "row" }, ...beside));

export { announce };
