// How linked events are checked, in words.

import { h } from "./dom.js";
import { when } from "./look.js";

/** @param {import("../types.d.ts").CalendarStatus} status */
export const checkedOf = ({ connected, poll_minutes, checked_at }) =>
  h("span", {}, connected ? `Checked every ${poll_minutes} min, ` : "Not checked while Planning Center Calendar is not connected, ", "last complete check ", checked_at ? when(checked_at) : "not yet");

const DAY = 86_400_000;

/** How a linked event is checked. @param {import("../types.d.ts").EventDetails} event @param {import("../types.d.ts").CalendarStatus} status */
export function checkOf(event, status) {
  const [now, those] = [Date.now(), event.occurrences.filter(({ cancelled }) => !cancelled)];
  const within = those.some((one) => Date.parse(one.ends_at) > now - DAY && Date.parse(one.starts_at) < now + 366 * DAY);
  if (!status.connected || !event.link || within) return checkedOf(status);
  const over = those.every((one) => Date.parse(one.ends_at) < now - 30 * DAY);
  return h(
    "span",
    {},
    over ? "It has been over for a month, so it is read only when somebody syncs it. " : "Its dates are over or more than a year ahead, so it is read at most once a day. ",
    event.link.read_at ? ["Last read ", when(event.link.read_at)] : "Not read yet",
  );
}
