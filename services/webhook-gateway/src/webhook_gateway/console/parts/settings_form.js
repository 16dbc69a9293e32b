// A form of settings, whose changes alone are saved: what was changed elsewhere meanwhile stays, and is shown.

import { patch } from "../api.js";
import { h } from "./dom.js";
import { run as work } from "./look.js";
import { differing } from "./member.js";

/**
 * @template {object} T
 * @param {import("../app.js").Context} context
 * @param {{ path: string, fields: import("./dom.js").Child[], read: (data: FormData) => Record<string, unknown>, saved: string, filled?: (settings: T) => void }} about
 *   `saved`: the sentence after a save; `filled` is called when the saved values are shown
 */
export function settingsForm({ admin, keep }, { path, fields, read, saved, filled }) {
  const said = h("p", { class: "quiet", role: "status" });
  const form = h(
    "form",
    {
      class: "card",
      oninput: () => (said.textContent = ""),
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        void work(form, async () => {
          fill(await patch(path, differing(values(), untouched)));
          untouched = values();
          said.textContent = saved;
        });
      },
    },
    ...fields,
    admin ? h("div", { class: "row" }, h("button", { class: "primary" }, "Save settings")) : h("p", { class: "quiet" }, "An administrator can change these."),
    admin ? said : null,
  );
  const values = () => read(new FormData(form));

  /** @param {T} settings */
  function fill(settings) {
    for (const [name, value] of Object.entries(settings)) {
      const control = /** @type {HTMLInputElement | RadioNodeList} */ (form.elements.namedItem(name));
      if (control instanceof HTMLInputElement && control.type === "checkbox") control.checked = value;
      else control.value = String(value);
    }
    filled?.(settings);
  }

  let untouched = values();
  keep(() => admin && Object.keys(differing(values(), untouched)).length > 0);
  return form;
}
