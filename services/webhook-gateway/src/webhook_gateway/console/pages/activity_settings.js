// Settings of the log of messages.

import { get, put } from "../api.js";
import { h } from "../parts/dom.js";
import { field, heading, run } from "../parts/look.js";

/** @param {import("../app.js").Context} context */
export async function show({ main, signal, admin, keep }) {
  /** @type {import("../types.d.ts").LogSettings} */
  let known = await get("/webhooks/settings", undefined, signal);
  const said = h("p", { class: "quiet", role: "status" });
  const form = h(
    "form",
    {
      class: "card",
      oninput: () => (said.textContent = ""),
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        void run(form, async () => {
          known = await put("/webhooks/settings", { kept_days: typed() });
          said.textContent = "Saved. Older messages are deleted within an hour.";
        });
      },
    },
    field("Days for which messages are kept", "kept_days", { type: "number", min: 7, max: 365, required: true, value: known.kept_days, disabled: !admin, hint: "From 7 to 365. Older messages are deleted for good, failed ones too. Those that wait to be acted on stay." }),
    admin ? h("div", { class: "row" }, h("button", { class: "primary" }, "Save settings")) : h("p", { class: "quiet" }, "An administrator can change this."),
    admin ? said : null,
  );
  const typed = () => Number(new FormData(form).get("kept_days"));
  keep(() => admin && typed() !== known.kept_days);
  main.append(heading("Settings of the log", h("a", { href: "/activity" }, "Activity")), form);
}
