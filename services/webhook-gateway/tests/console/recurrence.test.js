// Rules of series in words, and as fields of a form.

import assert from "node:assert/strict";
import { test } from "node:test";

import { choicesOf, repeatOf, repeats, ruleOf } from "../../src/webhook_gateway/console/parts/recurrence.js";
import { day } from "../../src/webhook_gateway/console/parts/words.js";

const SUNDAY = { day: "2026-04-12", zone: "America/New_York" };

for (const [rule, words] of [
  ["FREQ=WEEKLY;UNTIL=20261231", `every week on Sunday until ${day("2026-12-31")}`],
  ["FREQ=WEEKLY;UNTIL=20270101T035959Z", `every week on Sunday until ${day("2026-12-31")}`],
  ["FREQ=WEEKLY;INTERVAL=2;COUNT=10;BYDAY=SU,WE", "every 2 weeks on Sunday and Wednesday, 10 times"],
  ["FREQ=DAILY;COUNT=1", "every day, once"],
  ["FREQ=DAILY;COUNT=9;BYMONTH=4,5", "every day in April and May, 9 times"],
  ["FREQ=DAILY;COUNT=9;BYDAY=SU,MO", "every day on Sunday and Monday, 9 times"],
  ["FREQ=MONTHLY;COUNT=4", "every month on day 12, 4 times"],
  ["FREQ=MONTHLY;COUNT=4;BYMONTHDAY=12,-1", "every month on day 12 and the last day, 4 times"],
  ["FREQ=MONTHLY;COUNT=4;BYDAY=2SU", "every month on the second Sunday, 4 times"],
  ["FREQ=MONTHLY;COUNT=4;BYDAY=-3SU", "every month on the third to last Sunday, 4 times"],
  ["FREQ=MONTHLY;COUNT=4;BYDAY=SU,MO;BYSETPOS=2", "every month on the second of these: Sunday or Monday, 4 times"],
  ["FREQ=MONTHLY;COUNT=4;BYMONTHDAY=8,12;BYDAY=SU", "every month on Sunday, if it is day 8 or day 12, 4 times"],
  ["FREQ=YEARLY;COUNT=5", "every year on April 12, 5 times"],
  ["FREQ=YEARLY;COUNT=5;BYMONTH=4,6", "every year on day 12 of April and June, 5 times"],
  ["FREQ=YEARLY;COUNT=5;BYMONTH=4;BYDAY=2SU", "every year on the second Sunday in April, 5 times"],
  ["FREQ=YEARLY;COUNT=5;BYMONTHDAY=12", "every year on day 12 of each month, 5 times"],
]) {
  test(`${rule} in words`, () => assert.equal(repeats(rule, SUNDAY), words));
}

for (const [rule, kind] of [
  ["FREQ=DAILY;INTERVAL=3;COUNT=9", "day"],
  ["FREQ=WEEKLY;UNTIL=20261231", "week"],
  ["FREQ=WEEKLY;COUNT=10;BYDAY=SU,WE", "week"],
  ["FREQ=MONTHLY;COUNT=4", "month_day"],
  ["FREQ=MONTHLY;COUNT=4;BYDAY=2SU", "month_weekday"],
  ["FREQ=YEARLY;COUNT=4", "year"],
  ["FREQ=MONTHLY;COUNT=4;BYDAY=3SU", "rule"],
  ["FREQ=MONTHLY;COUNT=4;BYMONTHDAY=12,-1", "rule"],
  ["FREQ=WEEKLY;INTERVAL=2;COUNT=10;BYDAY=SU,WE;WKST=SU", "rule"],
]) {
  test(`${rule} as fields and back`, () => {
    const repeat = repeatOf(rule, SUNDAY);
    assert.equal(repeat.kind, kind);
    assert.equal(ruleOf(repeat, SUNDAY), rule);
  });
}

test("An end in UTC is a day of the event's zone", () => {
  const repeat = repeatOf("FREQ=WEEKLY;UNTIL=20270101T035959Z;WKST=SU", SUNDAY);
  assert.equal(ruleOf(repeat, SUNDAY), "FREQ=WEEKLY;UNTIL=20261231");
});

test("The last weekday of a month is a choice where no other follows", () => {
  const last = { ...SUNDAY, day: "2026-04-26" };
  assert.equal(repeatOf("FREQ=MONTHLY;COUNT=4;BYDAY=-1SU", last).kind, "month_last");
  assert.ok(choicesOf(last.day).some(([kind, words]) => kind === "month_last" && words === "Monthly on the last Sunday"));
  assert.ok(!choicesOf(SUNDAY.day).some(([kind]) => kind === "month_last"));
});
