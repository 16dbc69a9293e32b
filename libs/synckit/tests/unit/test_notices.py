"""Whether a read shows what notices tell."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from synckit.notices import Named, looks_old

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
EMAIL = ("Email", "81")


def named(what: str = "updated", *, event_time: datetime | None = NOW, came: int = 0) -> Named:
    return Named(*EMAIL, f"people.v2.events.email.{what}", event_time, NOW + timedelta(seconds=came))


def test_a_read_shows_a_change_if_the_resource_is_as_new() -> None:
    assert looks_old([named()], {EMAIL: NOW}) is None
    assert looks_old([named()], {EMAIL: NOW - timedelta(seconds=1)}) == NOW
    fraction = named(event_time=NOW + timedelta(milliseconds=900))
    assert looks_old([fraction], {EMAIL: NOW}) is None, "Planning Center counts whole seconds"


def test_a_read_that_cannot_tell_is_not_old() -> None:
    assert looks_old([named()], {EMAIL: None}) is None
    assert looks_old([named(event_time=None)], {EMAIL: NOW - timedelta(days=1)}) is None


def test_what_was_destroyed_must_be_gone_and_everything_else_there() -> None:
    assert looks_old([named("destroyed", event_time=None)], {EMAIL: NOW}) == NOW
    assert looks_old([named("destroyed", event_time=None)], {}) is None
    assert looks_old([named("created")], {}) == NOW
    assert looks_old([], {}) is None


@given(st.lists(st.tuples(st.sampled_from(["created", "updated", "destroyed"]), st.integers(0, 99))))
def test_the_newest_notice_that_is_not_shown_counts(those: list[tuple[str, int]]) -> None:
    notices = [named(what, came=came) for what, came in those]
    missing = [came for what, came in those if what != "destroyed"]
    expected = NOW + timedelta(seconds=max(missing)) if missing else None
    assert looks_old(notices, {}) == expected
