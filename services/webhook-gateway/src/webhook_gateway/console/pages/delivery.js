// One message from Planning Center: its five steps, what it touched, its contents, and who looked at them.

import { at, get, post } from "../api.js";
import { aboutOf, deliveryOutcome, deliveryStatus, nameOf, parted, recordLink, thereOf } from "../parts/deliveries.js";
import { announce, h } from "../parts/dom.js";
import { action, ask, field, heading, run, status, when } from "../parts/look.js";
import { part } from "../parts/part.js";
import { sending } from "../parts/send_again.js";
import { PRODUCTS, count, number } from "../parts/words.js";

/** @typedef {import("../types.d.ts").DeliveryDetails} Details */
/** @typedef {import("../types.d.ts").DeliveryPayload} Payload */
/** @typedef {import("../types.d.ts").DeliveryStep} Step */

/** @type {Record<Step["step"], string>} */
const STEPS = { received: "Received", verified: "Verified", stored: "Stored", published: "Handed on", applied: "Applied" };

/** @param {import("../app.js").Context} context */
export async function show(context) {
  const { main, id, signal, admin, absent } = context;
  const path = at`/webhooks/deliveries/${id}`;
  /** @type {Details} */
  const first = await get(path, undefined, signal).catch(absent);
  /** What the page was opened with, shown once without another read. @type {Details | null} */
  let start = first;
  const again = sending(context, () => details.reload());
  const details = part({
    signal,
    load: async () => {
      const known = start ?? (await get(path, undefined, signal));
      start = null;
      return known;
    },
    follows: ["/webhooks/deliveries"],
    // Facts about other messages change nothing here.
    onFact: (fact, /** @type {Details} */ value) => (fact.type === "WebhookApplied" && fact.body.version !== value.number ? value : undefined),
    render: detailsOf,
  });
  const contents = payloadOf(context, path, () => details.reload());
  main.append(heading(first.name ? parted(first.name) : nameOf(first), h("a", { href: "/activity" }, "Activity")), again.said, details.element, contents);

  /** @param {Details} known */
  function detailsOf(known) {
    return [
      h("div", { class: "row" }, deliveryStatus(known.state, true), known.outcome ? h("span", {}, deliveryOutcome(known.outcome)) : null),
      h(
        "section",
        { key: "steps", class: "card", "aria-labelledby": "steps" },
        h("h2", { id: "steps" }, "Steps"),
        h("ol", { class: "plain-list steps" }, ...known.steps.map((step) => stepOf(step, known))),
      ),
      h(
        "section",
        { key: "facts", class: "card", "aria-labelledby": "facts" },
        h("h2", { id: "facts" }, "What it is about"),
        h(
          "dl",
          { class: "facts" },
          h("dt", {}, "Product"),
          h("dd", {}, PRODUCTS[known.product]),
          known.resource_type ? [h("dt", {}, "Resource"), h("dd", {}, aboutOf(known), " ", thereOf(context, known))] : null,
          known.person_id ? [h("dt", {}, known.merged_person_id ? "Person kept" : "Person"), h("dd", {}, known.person_id)] : null,
          known.merged_person_id ? [h("dt", {}, "Person removed"), h("dd", {}, known.merged_person_id)] : null,
          h("dt", {}, "Record here"),
          h("dd", {}, recordLink(known) ?? "None"),
          known.event_time ? [h("dt", {}, "Changed there"), h("dd", {}, when(known.event_time))] : null,
          h("dt", {}, "Number in the log"),
          h("dd", {}, number(known.number)),
          known.delivery_id ? [h("dt", {}, "Planning Center's ID"), h("dd", {}, h("code", { class: "small" }, known.delivery_id))] : null,
          known.replays > 0 ? [h("dt", {}, "Sent again"), h("dd", {}, count(known.replays, "time"))] : null,
          known.archived_by ? [h("dt", {}, "Archived"), h("dd", {}, `by ${known.archived_by}: ${known.archived_note ?? ""}`)] : null,
        ),
        h(
          "div",
          { class: "row" },
          admin && known.can_replay ? action("Send again", () => again.begin({ number: known.number }), { key: "again" }) : null,
          known.resource_id ? h("a", { href: `/activity?resource_type=${encodeURIComponent(known.resource_type ?? "")}&resource_id=${encodeURIComponent(known.resource_id)}` }, "Every message about it") : null,
        ),
      ),
      known.looks.length > 0
        ? h(
            "section",
            { key: "looks", class: "card", "aria-labelledby": "looks" },
            h("h2", { id: "looks" }, "Who saw the values"),
            h("ul", { class: "plain-list" }, ...known.looks.map((look) => h("li", { key: look.seen_at }, h("strong", {}, look.user_name), ", ", when(look.seen_at), look.reason ? `: ${look.reason}` : ""))),
          )
        : null,
    ];
  }
}

/** @param {Step} step @param {Details} known */
function stepOf({ step, at: time, sentence }, known) {
  const failed = step === "applied" && (known.state === "failed" || known.state === "archived");
  const tone = failed ? "bad" : time ? "good" : "calm";
  return h(
    "li",
    { key: step },
    h("p", {}, status(tone, failed ? "Failed" : STEPS[step], { icon: failed ? "alert" : time ? "check" : "clock" }), " ", time ? when(time) : h("span", { class: "quiet" }, known.state === "waiting" ? "Not yet" : "Not done")),
    h("p", { class: "quiet" }, sentence),
  );
}

/**
 * The contents, masked until an administrator asks for the values with a reason.
 * @param {import("../app.js").Context} context
 * @param {string} path
 * @param {() => unknown} looked
 */
function payloadOf({ signal, admin }, path, looked) {
  /** @type {import("../parts/part.js").Part<Payload>} */
  const contents = part({
    signal,
    load: () => get(`${path}/payload`, undefined, signal),
    render: (/** @type {Payload} */ { document: shown, masked, sentence }) => [
      h("p", { class: "quiet" }, sentence),
      shown === null ? null : h("pre", { class: "scroll payload", tabindex: "0", role: "group", "aria-label": "Contents" }, JSON.stringify(shown, null, 2)),
      shown === null || !admin ? null : h("div", { class: "row" }, masked ? action("Show values", reveal, { key: "values" }) : action("Hide values", () => contents.reload(), { key: "values" })),
    ],
  });

  const reveal = () =>
    ask("Show the values in this message?", (dialog) => {
      const form = h(
        "form",
        {
          class: "stack",
          onsubmit: (/** @type {SubmitEvent} */ event) => {
            event.preventDefault();
            void run(form, async () => {
              const payload = await post(`${path}/payload/look`, { reason: String(new FormData(form).get("reason")).trim() });
              dialog.close("done");
              contents.show(payload);
              announce(`The values are shown. ${payload.sentence}`);
              void looked();
            });
          },
        },
        h("p", {}, "They are personal. Your name, the time and your reason are kept and shown on this page. Values of children, and of anybody whose age the message does not tell, stay hidden."),
        field("Reason", "reason", { lines: 2, required: true, most: 500 }),
        h("div", { class: "dialog-actions" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { class: "primary" }, "Show values")),
      );
      return form;
    });
  return h("section", { class: "card", "aria-labelledby": "contents" }, h("h2", { id: "contents" }, "Contents"), contents.element);
}
