// Messages that nobody could act on, by cause: sent again, or archived with a note.

import { get, post } from "../api.js";
import { addressOf } from "./deliveries.js";
import { announce, h } from "./dom.js";
import { action, ask, field, run, status, when } from "./look.js";
import { part } from "./part.js";
import { count, number } from "./words.js";

/** @typedef {import("../types.d.ts").DeadLetters} Group */
/** @typedef {import("../types.d.ts").Page<Group> & { more: boolean }} Groups */

/**
 * @param {import("../app.js").Context} context
 * @param {{ begin: (filter: Record<string, unknown>) => Promise<void> }} again
 * @param {() => unknown} changed reads again what shows archived messages
 */
export function failedMessages({ signal, admin, here }, again, changed) {
  const groups = part({
    signal,
    load: () => get("/webhooks/dead-letters", undefined, signal),
    follows: ["/webhooks/dead-letters"],
    // Only a failure adds to these; most facts are about something else.
    onFact: (fact, /** @type {Groups} */ value) => (fact.type === "WebhookApplied" && fact.body.outcome !== "failed" && value.items.length === 0 ? value : undefined),
    render: (/** @type {Groups} */ { items, more }) =>
      items.length === 0
        ? h("p", { class: "quiet" }, status("good", "None"), " Every message was acted on, waits to be, or was archived.")
        : [
            more ? h("p", { class: "quiet" }, "Only the newest 10,000 are grouped here.") : null,
            h("ul", { class: "plain-list" }, ...items.map(groupOf)),
          ],
  });

  /** @param {Group} group */
  const groupOf = (group) =>
    h(
      "li",
      { key: group.cause, class: "card" },
      h("div", {}, h("h3", {}, group.cause || "No cause is known"), h("p", { class: "quiet" }, `${count(group.count, "message")}, the newest `, when(group.newest_at), group.count > 1 ? [", the oldest ", when(group.oldest_at)] : null)),
      group.can_replay ? null : h("p", { class: "quiet" }, "These messages cannot be read, so they cannot be sent again. The next sync reads what changed; an administrator can archive them."),
      h(
        "div",
        { class: "row" },
        admin && group.can_replay ? action("Send again", () => again.begin({ state: "failed", cause: group.cause }), { key: "again", name: `Send again: ${group.cause}` }) : null,
        admin ? action("Archive", () => archive(group), { key: "archive", name: `Archive: ${group.cause}` }) : null,
        h("a", { href: addressOf(group.newest) }, "See the newest"),
        h("a", { href: here({ state: "failed", cause: group.cause, at: null, rows: null }) }, group.count > 1 ? `See all ${number(group.count)} in the log` : "See it in the log"),
      ),
    );

  /** @param {Group} group */
  function archive(group) {
    return ask(`Archive ${count(group.count, "message")}?`, (dialog) => {
      const form = h(
        "form",
        {
          class: "stack",
          onsubmit: (/** @type {SubmitEvent} */ event) => {
            event.preventDefault();
            void run(form, async () => {
              const note = String(new FormData(form).get("note")).trim();
              const { archived, left } = await post("/webhooks/dead-letters/archive", { cause: group.cause, newest: group.newest, note });
              dialog.close("done");
              announce(`${count(archived, "message")} archived.${left ? " There are more: archive again." : ""}`);
              await groups.reload();
              void changed();
            });
          },
        },
        h("p", {}, `They leave this list and stay in the log, with your name and note. ${group.can_replay ? "They can be sent again from there." : "They cannot be sent again."}`),
        field("Note: why nothing more is to be done", "note", { lines: 3, required: true, most: 500 }),
        h("div", { class: "dialog-actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { class: "primary" }, `Archive ${count(group.count, "message")}`)),
      );
      return form;
    });
  }
  return groups;
}
