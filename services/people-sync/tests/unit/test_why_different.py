"""The result of a proof, and the time of its start."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from people_sync.domain.proof import APART, PLANNED, Facts, next_night, statement, why_different
from people_sync.domain.values import FIELDS

_NOW = st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - with its zone


@given(now=_NOW, zone=st.sampled_from(sorted(available_timezones())), organization=st.text(max_size=20))
def test_the_next_night_is_ahead_within_a_day_and_at_night(now: datetime, zone: str, organization: str) -> None:
    """A change of the clocks moves it by an hour (two in one place), never into the day."""
    begins = next_night(now, zone, organization)
    assert now < begins <= now + timedelta(hours=27)
    assert begins.astimezone(ZoneInfo(zone)).hour in range(7)
    again = next_night(begins, zone, organization)
    assert timedelta(hours=20) <= again - begins <= timedelta(hours=28)


def test_a_zone_that_does_not_exist_is_utc() -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert next_night(now, "Nowhere/Never", "org") == next_night(now, None, "org") == next_night(now, "UTC", "org")


_FACTS = st.builds(
    Facts,
    differing=st.lists(st.sampled_from((*FIELDS, "active")), unique=True),
    kept=st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["Ada Moreno", None])),
    in_conflict=st.lists(st.sampled_from(FIELDS), unique=True, max_size=2),
    planned=st.sampled_from([None, *PLANNED]),
    refused=st.sampled_from([None, "Planning Center refused the email."]),
    moved=st.booleans(),
    edited=st.booleans(),
)


@given(_FACTS)
def test_exactly_differing_records_have_a_reason(facts: Facts) -> None:
    why = why_different(facts)
    nothing = not (facts.differing or facts.in_conflict or facts.planned)
    assert (why is None) == nothing
    if why:
        reason, sentence = why
        assert reason in APART
        assert sentence[:1].isupper()
        assert sentence.endswith(".")
        if reason == "unexplained":
            assert set(facts.differing) - facts.kept.keys() - {"active"}
            assert not facts.edited or facts.planned


@pytest.mark.parametrize("planned", ["updated_here", "updated_there", "updated_both", "conflict"])
def test_a_difference_without_an_edit_is_unexplained(planned: str) -> None:
    one = Facts(differing=["last_name"], planned=planned, moved=False)
    assert (why_different(one) or ("",))[0] == "unexplained"
    assert (why_different(replace(one, moved=True)) or ("",))[0] == "waits_for_sync"
    assert (why_different(replace(one, in_conflict=["last_name"])) or ("",))[0] == "waits_for_you"
    # Other plans need no edit, and the active status is never sent, so it needs no explanation.
    assert (why_different(replace(one, planned="gone")) or ("",))[0] == "waits_for_sync"
    assert (why_different(replace(one, differing=["active"])) or ("",))[0] == "waits_for_sync"


def test_the_statement_is_one_sentence() -> None:
    said = statement(12_411, 12_408, {"kept_different": 2, "waits_for_you": 1})
    assert said == (
        "12,408 of 12,411 people identical on both sides, 2 differ because you keep them different, 1 waits for your "
        "answer."
    )
    assert statement(1, 1, {}) == "1 of 1 person identical on both sides."
