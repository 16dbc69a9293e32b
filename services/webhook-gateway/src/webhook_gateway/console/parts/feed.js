// The address of the private calendar feed: made, replaced, revoked. It is shown once.

import { get, post, remove } from "../api.js";
import { copyButton } from "./copy.js";
import { announce, h } from "./dom.js";
import { action, confirm, notice, when } from "./look.js";
import { part } from "./part.js";

/** @typedef {import("../types.d.ts").FeedState} FeedState */
/** @typedef {import("../types.d.ts").NewFeed} NewFeed */

/** @param {import("../app.js").Context} context */
export function feedOf({ signal, admin }) {
  /** @type {import("./part.js").Part<FeedState | NewFeed>} */
  const feed = part({
    signal,
    class: "stack tight",
    load: () => get("/calendar/feed", undefined, signal),
    render: (/** @type {FeedState | NewFeed} */ state) => [
      h("p", {}, "The feed has the events that were pushed from here and that Planning Center did not let us create. Whoever knows its address can read them without signing in: keep it like a password."),
      "path" in state ? shownOnce(location.origin + state.path) : null,
      h("p", { key: "state", class: "quiet" }, ...stateOf(state)),
      admin
        ? h(
            "div",
            { key: "acts", class: "row" },
            action(state.active ? "Make a new address" : "Make an address", () => make(state), { key: "make" }),
            state.active ? action("Revoke the address", revoke, { key: "revoke" }) : null,
          )
        : h("p", { class: "quiet" }, "Administrators make and revoke the address."),
    ],
  });

  /** @param {FeedState} state */
  async function make(state) {
    const renew = async () => {
      feed.show(await post("/calendar/feed"));
      announce("The address was made. It is shown this once.");
    };
    if (!state.active) return renew();
    await confirm({
      title: "Make a new address of the calendar feed?",
      text: h("p", {}, "The address before stops working at once: Planning Center and other programs that read it need the new one."),
      verb: "Make a new address",
      work: renew,
    });
  }

  async function revoke() {
    const done = await confirm({
      title: "Revoke the address of the calendar feed?",
      text: h("p", {}, "Nobody can read the feed any more. Events that came from it into Planning Center are deleted there as soon as it notices. Nothing changes here."),
      verb: "Revoke the address",
      work: async () => {
        await remove("/calendar/feed");
        await feed.reload();
      },
    });
    if (done) announce("The address was revoked.");
  }
  return feed;
}

/** @param {FeedState} state */
function stateOf({ active, created_at, created_by_name, last_read_at, revoked_at }) {
  if (active) return ["Made ", when(created_at), created_by_name ? ` by ${created_by_name}. ` : ". ", last_read_at ? ["A program last read it ", when(last_read_at), "."] : "No program has read it yet."];
  return revoked_at ? ["Revoked ", when(revoked_at), ". Nobody can read it."] : ["There is no address yet."];
}

/** @param {string} address */
const shownOnce = (address) =>
  h(
    "div",
    { key: "once", class: "stack tight" },
    notice("warn", h("p", {}, "Copy the address now: it is shown this once.")),
    h("div", { class: "row" }, h("input", { type: "text", readonly: true, "aria-label": "Address of the calendar feed", value: address }), copyButton("Address of the calendar feed", address)),
  );
