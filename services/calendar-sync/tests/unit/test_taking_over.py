"""A linked event after reads of Planning Center: laws over any history, and single cases."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calendar_sync.domain.changes import OCCURRENCE, Whole, changes
from calendar_sync.domain.comparing import compare
from calendar_sync.domain.events import Occurrence, Span, Times, all_day, occurrences
from calendar_sync.domain.planning_center import Seen, SeenInstance, plain, span_of, without_markup
from calendar_sync.domain.sentences import MORE_THAN_A_LIST, NO_DATE, ONE_OF_A_SERIES, TEXTS_LEFT_OUT, UNREADABLE_DATES
from calendar_sync.domain.taking_over import MOST_TAKEN_OUT, Reach, There, after, still
from calendar_sync.domain.zones import midnight
from calendar_sync.planning_center import seen as read_event
from pco_client.jsonapi import Resource

ZONE: Final = "America/New_York"
ZONES: Final = (ZONE, "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia")
NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
WEEKLY: Final = Times(Span(NOW, NOW + timedelta(hours=1)), ZONE, "FREQ=WEEKLY;COUNT=4")


def local(times: Times = WEEKLY, **texts: Any) -> Whole:
    about = {"title": "Choir", "location": "Hall", "description": None} | texts
    return Whole(**about, times=times, occurrences=tuple(occurrences(times)))


def instance(number: int, starts: datetime = NOW, hours: float = 1, **values: Any) -> SeenInstance:
    about: dict[str, Any] = {"name": "Choir", "location": "Hall", "all_day": False} | values
    return SeenInstance(str(number), "7", starts_at=starts, ends_at=starts + timedelta(hours=hours), **about)


def active(one: Whole) -> list[Occurrence]:
    return sorted((each for each in one.occurrences if not each.cancelled), key=lambda each: each.span.starts_at)


@dataclass
class Church:
    """An event of Planning Center, edited by its staff."""

    zone: str
    name: str = "Choir"
    description: str = ""
    instances: dict[int, SeenInstance] = field(default_factory=dict)
    last: int = 0

    def add(self, one: SeenInstance) -> None:
        self.last += 1
        self.instances[self.last] = replace(one, id=str(self.last))

    def read(self, reach: Reach | None = None) -> There:
        """As pages show it: an instance without a name of its own has the event's."""
        shown = [replace(one, name=one.name or self.name) for one in self.instances.values()]
        if reach is not None:
            shown = [one for one in shown if (span := span_of(one, self.zone)) is None or reach.has(span)]
        return There(Seen("7", self.name, self.description), tuple(shown), reach=reach)


instants = st.integers(0, 365 * 24 * 4).map(
    lambda quarters: NOW - timedelta(days=28) + quarters * timedelta(minutes=15)
)


@st.composite
def seen_instances(draw: st.DrawFn, zone: str) -> SeenInstance:
    whole_days = draw(st.booleans())
    starts = draw(instants)
    texts: dict[str, Any] = {
        "name": draw(st.sampled_from([None, None, "Concert", "Choir"])),
        "location": draw(st.sampled_from(["", "Hall", "Hall", "Garden"])),
    }
    if not whole_days:
        return instance(0, starts, draw(st.sampled_from([0, 1, 26])), **texts)
    first = starts.date()
    days = all_day(first, first + timedelta(days=draw(st.integers(0, 2))), zone)
    how = draw(st.sampled_from(["local_midnight", "last_second", "utc_midnight"]))
    begins, ends = days.starts_at, days.ends_at
    if how == "utc_midnight":
        assert days.last_day is not None
        begins = datetime.combine(first, datetime.min.time(), UTC)
        ends = datetime.combine(days.last_day + timedelta(days=1), datetime.min.time(), UTC)
    elif how == "last_second":
        ends -= timedelta(seconds=1)
    return replace(instance(0, begins, all_day=True, **texts), starts_at=begins, ends_at=ends)


def edit(draw: Callable[..., Any], church: Church) -> None:
    """One thing that staff do there."""
    ids = sorted(church.instances)
    kind = draw(st.sampled_from(["add", "move", "vanish", "rename", "place", "event", "describe", "reissue"]))
    if kind == "add" or not ids:
        church.add(draw(seen_instances(church.zone)))
        return
    number = draw(st.sampled_from(ids))
    one = church.instances[number]
    if kind == "move":
        other = draw(seen_instances(church.zone))
        times: dict[str, Any] = {"starts_at": other.starts_at, "ends_at": other.ends_at, "all_day": other.all_day}
        church.instances[number] = replace(one, **times)
    elif kind == "vanish" and len(ids) > 1:
        del church.instances[number]
    elif kind == "rename":
        church.instances[number] = replace(one, name=draw(st.sampled_from([None, "Concert"])))
    elif kind == "place":
        church.instances[number] = replace(one, location=draw(st.sampled_from(["", "Hall", "Garden"])))
    elif kind == "event":
        church.name = draw(st.sampled_from(["Choir", "Concert", "Rehearsal"]))
    elif kind == "describe":
        church.description = draw(st.sampled_from(["", "Bring notes."]))
    elif kind == "reissue":
        those, church.instances = list(church.instances.values()), {}
        for each in those:
            church.add(each)


def same(here: Whole, church: Church) -> None:
    """The event here is that of Planning Center."""
    assert (here.title, here.description) == (church.name, church.description or None)
    shown = [
        (str(span_of(one, church.zone)), one.name or church.name, one.location or None)
        for one in church.instances.values()
    ]
    first = min([NOW, *(span.starts_at for one in church.instances.values() if (span := span_of(one, church.zone)))])
    over = {one.key for one in active(here) if one.span.ends_at <= first and one.span.starts_at < first}
    current = [one for one in active(here) if one.key not in over]
    ours = [(str(one.span), one.title or here.title, one.location or here.location) for one in current]
    assert sorted(ours, key=str) == sorted(shown, key=str)
    keys = [one.key for one in here.occurrences]
    assert len(set(keys)) == len(keys)
    ids = [one.pco_instance_id for one in here.occurrences if one.pco_instance_id]
    assert len(set(ids)) == len(ids)


@settings(max_examples=200)
@given(st.data())
def test_any_history_ends_with_what_planning_center_has(data: st.DataObject) -> None:
    """Edits, windows that show a part, reads that fail; a complete read at last. Keys stay with ids."""
    zone = data.draw(st.sampled_from(ZONES))
    church = Church(zone)
    church.add(data.draw(seen_instances(zone)))
    here = local(replace(WEEKLY, recurrence=data.draw(st.sampled_from([None, "FREQ=WEEKLY;COUNT=4"]))))
    for step in range(data.draw(st.integers(1, 12))):
        edit(data.draw, church)
        how = data.draw(st.sampled_from(["whole", "window", "nothing"])) if step else "whole"
        if how == "nothing":
            continue  # a page failed, so nothing is concluded
        begins = data.draw(instants)
        reach = Reach(begins, begins + timedelta(days=data.draw(st.integers(1, 200)))) if how == "window" else None
        there = church.read(reach)
        keys = {one.pco_instance_id: one.key for one in here.occurrences if one.pco_instance_id}
        taken = after(here, there, zone, NOW)
        if reach is not None:
            outside = [one for one in here.occurrences if not reach.has(one.span)]
            seen = {one.id for one in there.instances}
            left = {one.key: one for one in taken.values.occurrences}
            for one in outside:
                if one.pco_instance_id not in seen:
                    assert left[one.key].span == one.span, "outside of the window nothing is known"
                    assert left[one.key].cancelled == one.cancelled
            if taken.vanished:
                taken = after(here, church.read(), zone, NOW)  # confirmed at its own address
        here = taken.values
        for one in here.occurrences:
            assert keys.get(one.pco_instance_id or "", one.key) == one.key, "an id keeps its key"
        assert after(here, there, zone, NOW).values == here or reach is not None
        assert active(here), "something is left"
    taken = after(here, church.read(), zone, NOW)
    same(taken.values, church)
    again = after(taken.values, church.read(), zone, NOW)
    assert (again.values, again.vanished) == (taken.values, False)


def test_a_series_that_is_recognised_keeps_its_keys() -> None:
    here = local()
    begins = [one.span.starts_at for one in here.occurrences]
    moved = begins[2] + timedelta(hours=3)
    there = There(Seen("7", "Choir", ""), (instance(1, begins[0]), instance(2, begins[1]), instance(3, moved)))
    found = after(here, there, ZONE, NOW).values
    assert [one.key for one in found.occurrences] == [one.key for one in here.occurrences]
    assert [one.span.starts_at for one in active(found)] == [begins[0], begins[1], moved]
    assert found.occurrences[3].cancelled, "Planning Center has no fourth one"
    assert (found.listed, found.times.recurrence) == (True, None)


def test_a_vanished_occurrence_comes_back_with_its_key() -> None:
    those = (instance(1), instance(2, NOW + timedelta(days=7)))
    first = after(local(), There(Seen("7", "Choir", ""), those), ZONE, NOW).values
    gone = after(first, There(Seen("7", "Choir", ""), those[:1]), ZONE, NOW)
    assert gone.vanished
    back = after(gone.values, There(Seen("7", "Choir", ""), those), ZONE, NOW).values
    assert back == first


def test_what_is_over_and_not_listed_is_left() -> None:
    past, ahead = instance(1, NOW - timedelta(days=9)), instance(2, NOW + timedelta(days=7))
    here = after(local(), There(Seen("7", "Choir", ""), (past, ahead)), ZONE, NOW).values
    assert after(here, There(Seen("7", "Choir", ""), (ahead,)), ZONE, NOW).values == here
    earlier = instance(3, NOW - timedelta(days=16))
    found = after(here, There(Seen("7", "Choir", ""), (earlier, ahead)), ZONE, NOW)
    assert (found.vanished, len(active(found.values))) == (True, 2), "others that are over are listed"


def test_what_is_over_stays_when_a_series_is_linked() -> None:
    begin = NOW - timedelta(days=14)
    here = local(replace(WEEKLY, span=Span(begin, begin + timedelta(hours=1))))
    there = There(Seen("7", "Choir", ""), (instance(1, NOW + timedelta(days=7), location="Garden"),))
    found = after(here, there, ZONE, NOW).values
    starts = [one.span.starts_at for one in active(found)]
    assert starts == [begin, begin + timedelta(days=7), NOW + timedelta(days=7)]
    assert (found.location, [one.location for one in active(found)]) == ("Garden", ["Hall", "Hall", None])
    assert after(found, there, ZONE, NOW).values == found


def test_two_occurrences_at_the_same_start_have_keys_of_their_own() -> None:
    those = tuple(instance(number) for number in (1, 2, 3))
    found = after(local(replace(WEEKLY, recurrence=None)), There(Seen("7", "Choir", ""), those), ZONE, NOW).values
    assert [one.key for one in found.occurrences] == ["20260228T190000", "20260228T190000-2", "20260228T190000-3"]


def test_absent_is_not_empty() -> None:
    here = after(local(description="Old"), There(Seen("7", "Choir", "New"), (instance(1),)), ZONE, NOW).values
    silent = There(Seen("7", None, None), (instance(1, name=None, location=None),))
    assert after(here, silent, ZONE, NOW).values == here
    empty = There(Seen("7", "Choir", ""), (instance(1, location=""),))
    found = after(here, empty, ZONE, NOW).values
    assert (found.description, found.location) == (None, None)


def test_an_event_without_dates_keeps_its_own() -> None:
    here = local()
    taken = after(here, There(Seen("7", "New name", ""), ()), ZONE, NOW)
    assert (taken.values.title, taken.note, taken.values.times) == ("New name", NO_DATE, here.times)
    assert taken.values.occurrences == here.occurrences
    broken = There(Seen("7", "Choir", ""), (instance(1, hours=-1),))
    assert after(here, broken, ZONE, NOW).note == UNREADABLE_DATES
    some = after(here, There(Seen("7", "Choir", ""), (instance(1), instance(2, hours=-1))), ZONE, NOW)
    assert (some.note, len(active(some.values))) == (UNREADABLE_DATES, 1)


def test_what_was_put_back_stays() -> None:
    there = There(Seen("7", "Theirs", "Theirs"), (instance(1, name="Theirs", location="Garden"),))
    here = local()
    for name in ("title", "location", "description"):
        kept = after(here, there, ZONE, NOW, (name,)).values
        assert getattr(kept, name) == getattr(here, name)
    dates = after(here, there, ZONE, NOW, ("times",)).values
    assert (dates.times, dates.occurrences) == (here.times, here.occurrences)
    assert (dates.title, dates.location) == ("Theirs", "Garden")


def test_of_thousands_the_nearest_are_listed() -> None:
    those = tuple(instance(number, NOW + timedelta(days=number - 100)) for number in range(1, 1502))
    taken = after(local(), There(Seen("7", "Choir", ""), those), ZONE, NOW)
    assert (len(active(taken.values)), taken.note) == (1000, MORE_THAN_A_LIST)
    assert after(taken.values, There(Seen("7", "Choir", ""), those), ZONE, NOW).values == taken.values


def test_what_a_full_read_said_stays_while_a_window_does_not_refute_it() -> None:
    those = tuple(instance(number, NOW + timedelta(days=number - 100)) for number in range(1, 1502))
    full = after(local(), There(Seen("7", "Choir", ""), those), ZONE, NOW)
    reach = Reach(NOW, NOW + timedelta(days=3))
    window = There(Seen("7", "Choir", ""), those[99:102], reach=reach)
    assert still(full.note, window, after(full.values, window, ZONE, NOW)).note == MORE_THAN_A_LIST
    few = There(Seen("7", "Choir", ""), those[:9])
    assert still(full.note, few, after(full.values, few, ZONE, NOW)).note is None
    short = after(local(), few, ZONE, NOW).values
    assert still(full.note, window, after(short, window, ZONE, NOW)).note is None, "it is a short list by now"


def test_texts_that_are_too_long_together_are_said() -> None:
    long = "x" * 250
    those = tuple(
        instance(number, NOW + timedelta(days=number), name=f"{number} {long}", location=f"{number} {long * 2}"[:500])
        for number in range(500)
    )
    there = There(Seen("7", "Choir", ""), those)
    full = after(local(), there, ZONE, NOW)
    left_out = [one for one in active(full.values) if one.title is None]
    assert 0 < len(left_out) < 400
    assert full.note == TEXTS_LEFT_OUT
    window = There(Seen("7", "Choir", ""), those[1:2], reach=Reach(NOW, NOW + timedelta(days=2)))
    assert still(full.note, window, after(full.values, window, ZONE, NOW)).note == TEXTS_LEFT_OUT
    assert after(full.values, there, ZONE, NOW).values == full.values


def test_what_vanished_long_ago_is_forgotten_and_stays_in_the_history() -> None:
    here, noted = local(replace(WEEKLY, recurrence=None)), []
    for number in range(0, 600, 3):
        those = tuple(instance(number + each, NOW + timedelta(days=number + each)) for each in range(3))
        before, here = here, after(here, There(Seen("7", "Choir", ""), those), ZONE, NOW).values
        noted += [one for one in changes(before, here) if one.field == OCCURRENCE and before.listed]
    assert (len(active(here)), len(here.occurrences)) == (3, 3 + MOST_TAKEN_OUT)
    taken_out = [one for one in noted if one.after is None or "cancelled" in one.after]
    assert len(taken_out) == 199 * 3, "each is noted once"
    assert not [one for one in taken_out if "cancelled" in (one.before or {})]


@pytest.mark.parametrize("zone", [*sorted({*ZONES, "Europe/London"}), "UTC", "Africa/Cairo", "America/Havana"])
@pytest.mark.parametrize(
    "first",
    [
        *(date(2026, 3, 8), date(2026, 4, 24), date(2026, 11, 1), date(2026, 6, 1)),
        # Days of a clock change in London, whose midnights before or after it are those of UTC.
        *(date(2027, 3, 27), date(2027, 3, 28), date(2026, 10, 24), date(2026, 10, 25)),
    ],
)
def test_whole_days_are_those_days_however_they_stand_in_utc(zone: str, first: date) -> None:
    for length in (1, 3):
        last = first + timedelta(days=length - 1)
        begins, ends = midnight(first, zone), midnight(last + timedelta(days=1), zone)
        in_utc = (
            datetime.combine(first, datetime.min.time(), UTC),
            datetime.combine(last + timedelta(days=1), datetime.min.time(), UTC),
        )
        for starts_at, ends_at in ((begins, ends), (begins, ends - timedelta(seconds=1)), in_utc):
            one = replace(instance(1, all_day=True), starts_at=starts_at, ends_at=ends_at)
            assert span_of(one, zone) == all_day(first, last, zone), (starts_at, ends_at)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"summary": "Plain", "description": "<p>Rich</p>"}, "Plain"),
        ({"summary": None, "description": "<p>One &amp; two</p><p>Three<br>four</p>"}, "One & two\n\nThree\nfour"),
        ({"summary": "", "description": None}, ""),
        ({"description": "<p>Rich</p>"}, None),
        ({"summary": None}, None),
        ({}, None),
    ],
)
def test_a_description_is_plain_and_known_only_if_all_of_it_was_sent(attributes: dict[str, Any], text: str) -> None:
    assert read_event(Resource("Event", "7", {"name": "Choir", **attributes}, {}, {})).description == text


def test_markup_is_left_out() -> None:
    assert plain(without_markup("<style>p{}</style><ul><li>One<li>Two</ul>\x00"), 100).split() == ["One", "Two"]
    assert plain("a" * 200, 10) == "a" * 10


def test_one_occurrence_of_a_series_says_so_and_keeps_its_instant() -> None:
    week = timedelta(days=7)
    there = There(Seen("7", "Choir", ""), (instance(2, NOW + week, repeats="Weekly"),), one=True)
    taken = after(local(), there, "America/Denver", NOW)
    assert taken.note == ONE_OF_A_SERIES
    silent = There(there.event, (replace(there.instances[0], repeats=None),), one=True)
    again = after(taken.values, silent, "America/Denver", NOW)
    assert still(taken.note, silent, again).note == ONE_OF_A_SERIES, "the answer does not say whether it repeats"
    found = compare(local(), taken.values)
    assert (found.added, found.moved) == ((), ())
    starts = [one.before.span.starts_at for one in found.taken_out if one.before]
    assert len(starts) == 3
    assert NOW + week not in starts
