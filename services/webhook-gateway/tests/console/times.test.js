// Local times and instants, days of events, and their places in a calendar.

import assert from "node:assert/strict";
import { test } from "node:test";

import { lanes, weeksOf } from "../../src/webhook_gateway/console/parts/lanes.js";
import { daysOf, instantOf, isZone, localOf, monthsLater, shifted, whenOf, zoneName } from "../../src/webhook_gateway/console/parts/times.js";

const NEW_YORK = "America/New_York";

for (const [local, zone, at, clocks] of [
  ["2026-04-05T09:00", NEW_YORK, "2026-04-05T13:00:00Z", "once"],
  ["2026-03-08T02:30", NEW_YORK, "2026-03-08T07:30:00Z", "skip"],
  ["2026-11-01T01:30", NEW_YORK, "2026-11-01T05:30:00Z", "twice"],
  ["2026-11-01T02:00", NEW_YORK, "2026-11-01T07:00:00Z", "once"],
  ["2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:30:00Z", "skip"],
  ["2026-04-05T01:45", "Australia/Lord_Howe", "2026-04-04T14:45:00Z", "twice"],
  ["2026-04-05T09:00:30", "Asia/Kathmandu", "2026-04-05T03:15:30Z", "once"],
]) {
  test(`${local} in ${zone}`, () => assert.deepEqual(instantOf(local, zone), { at, clocks }));
}

test("A time that clocks show once goes there and back", () => {
  for (const zone of [NEW_YORK, "UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kolkata"]) {
    for (const local of ["2026-01-01T00:00", "2026-07-01T23:59", "2199-12-30T12:00", "1950-06-01T12:00"]) {
      assert.equal(localOf(instantOf(local, zone).at, zone), local);
    }
  }
});

test("Times in a zone that is newer than the browser are those of UTC, and say so", () => {
  const morning = { starts_at: "2026-04-05T09:00:00Z", ends_at: "2026-04-05T10:00:00Z", first_day: null, last_day: null };
  assert.match(whenOf(morning, "Mars/Olympus", true), /9:00.*10:00.*UTC/);
  assert.equal(zoneName("Mars/Olympus"), "Mars/Olympus");
});

test("Zones are names of places", () => {
  for (const zone of [NEW_YORK, "UTC", "US/Eastern"]) assert.ok(isZone(zone), zone);
  for (const zone of ["", "Nowhere/City", "+02:00"]) assert.ok(!isZone(zone), zone);
});

test("An event takes place on the days that it touches in a zone", () => {
  const evening = { starts_at: "2026-04-05T23:00:00Z", ends_at: "2026-04-06T04:00:00Z", first_day: null, last_day: null };
  assert.deepEqual(daysOf(evening, "UTC"), ["2026-04-05", "2026-04-06"]);
  assert.deepEqual(daysOf(evening, NEW_YORK), ["2026-04-05", "2026-04-05"]);
  assert.deepEqual(daysOf({ ...evening, ends_at: evening.starts_at }, "UTC"), ["2026-04-05", "2026-04-05"]);
  assert.deepEqual(daysOf({ ...evening, first_day: "2026-05-01", last_day: "2026-05-03" }, NEW_YORK), ["2026-05-01", "2026-05-03"]);
});

test("Months and days are counted by the calendar", () => {
  assert.equal(monthsLater("2026-01-31", 1), "2026-02-28");
  assert.equal(monthsLater("2026-01-31", -1), "2025-12-31");
  assert.equal(shifted("2028-02-28", 2), "2028-03-01");
});

test("A month has whole weeks around it", () => {
  const weeks = weeksOf("2026-02", 0);
  assert.deepEqual([weeks.length, weeks[0]?.[0], weeks.at(-1)?.at(-1)], [4, "2026-02-01", "2026-02-28"]);
  assert.equal(weeksOf("2026-02", 1)[0]?.[0], "2026-01-26");
});

test("An event of several days has the same place on each of them", () => {
  const days = weeksOf("2026-04", 0)[1] ?? [];
  const [one, retreat, camp] = [
    { item: "breakfast", first: "2026-04-06", last: "2026-04-06" },
    { item: "retreat", first: "2026-04-06", last: "2026-04-08" },
    { item: "camp", first: "2026-04-08", last: "2026-05-01" },
  ];
  const found = lanes(days, [one, retreat, camp]).map((places) => places.map((place) => place?.item ?? null));
  assert.deepEqual(found, [[], ["retreat", "breakfast"], ["retreat"], ["retreat", "camp"], [null, "camp"], [null, "camp"], [null, "camp"]]);
});
