// How linked events are checked, in words.

import { h } from "./dom.js";
import { when } from "./look.js";

/** @param {import("../types.d.ts").CalendarStatus} status */
export const checkedOf = ({ connected, poll_minutes, checked_at }) =>
  h("span", {}, connected ? `Checked every ${poll_minutes} min, ` : "Not checked while Planning Center Calendar is not connected, ", "last complete check ", checked_at ? when(checked_at) : "not yet");

const DAY = 86_400_000;

/** Whether checks look at the event's dates: from yesterday to a year ahead. @param {import("../types.d.ts").EventDetails} event */
const isWithinChecks = ({ occurrences }) =>
  occurrences.some((one) => !one.cancelled && Date.parse(one.ends_at) > Date.now() - DAY && Date.parse(one.starts_at) < Date.now() + 366 * DAY);

/** How a linked event is checked. @param {import("../types.d.ts").EventDetails} event @param {import("../types.d.ts").CalendarStatus} status */
export const checkOf = (event, status) =>
  !status.connected || !event.link || isWithinChecks(event)
    ? checkedOf(status)
    : h("span", {}, "Its dates are over or more than a year ahead, so it is read about once a day, last ", event.link.read_at ? when(event.link.read_at) : "not yet");
