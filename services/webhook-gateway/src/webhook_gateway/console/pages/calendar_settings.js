// Settings of the Calendar sync, and the private calendar feed.

import { get } from "../api.js";
import { checkedOf } from "../parts/checked.js";
import { h } from "../parts/dom.js";
import { feedOf } from "../parts/feed.js";
import { field, heading } from "../parts/look.js";
import { part } from "../parts/part.js";
import { settingsForm } from "../parts/settings_form.js";

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, signal, admin } = context;
  /** @type {import("../types.d.ts").CalendarSettings} */
  const { poll_minutes: value } = await get("/calendar/settings", undefined, signal);
  const checks = part({
    signal,
    class: "stack tight",
    skeleton: () => null,
    load: () => get("/calendar/status", undefined, signal),
    follows: ["/calendar/status", "/connections"],
    render: (/** @type {import("../types.d.ts").CalendarStatus} */ known) => h("p", { class: "quiet" }, known.linked > 0 ? [checkedOf(known), "."] : "Checks begin when an event is linked, or waits to be found in Planning Center."),
  });
  main.append(
    heading("Settings of the Calendar sync", h("a", { href: "/integrations" }, "Integrations")),
    settingsForm(context, {
      path: "/calendar/settings",
      fields: [
        h(
          "fieldset",
          { class: "stack tight" },
          h("legend", {}, "Checks of linked events"),
          h("p", {}, "Planning Center does not tell us about every change. So we read the linked events again and again, and take over what changed there."),
          field("Minutes between two checks", "poll_minutes", { type: "number", min: 1, max: 120, required: true, value, disabled: !admin, hint: "From 1 to 120." }),
          checks.element,
        ),
      ],
      read: (data) => ({ poll_minutes: Number(data.get("poll_minutes")) }),
      saved: "Saved. Linked events are checked in this interval from now on.",
      filled: () => void checks.reload(),
    }),
    h("section", { class: "card", "aria-labelledby": "feed" }, h("h2", { id: "feed" }, "Private calendar feed"), feedOf(context).element),
  );
}
