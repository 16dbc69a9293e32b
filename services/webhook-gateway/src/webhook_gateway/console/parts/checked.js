// How linked events are checked, in words.

import { h } from "./dom.js";
import { when } from "./look.js";

/** @param {import("../types.d.ts").CalendarStatus} status */
export const checkedOf = ({ connected, poll_minutes, checked_at }) =>
  h("span", {}, connected ? `Checked every ${poll_minutes} min, ` : "Not checked while Planning Center Calendar is not connected, ", "last complete check ", checked_at ? when(checked_at) : "not yet");
