"""The edit time of Planning Center's value of a field, never more exact than known."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pco_client.jsonapi import document
from people_sync.domain.planning_center import (
    RECORD,
    Contact,
    household_from_snapshot,
    person_from_snapshot,
    remote_person,
)
from people_sync.domain.times import edited_there
from people_sync.planning_center import household_of

AGREED = datetime(2026, 3, 1, 12, 0, 0, 700_000, tzinfo=UTC)
EDITED = datetime(2026, 3, 2, 9, 30, 15, tzinfo=UTC)
SEEN = datetime(2026, 3, 2, 12, tzinfo=UTC)
ALL = {RECORD: EDITED, "phone": EDITED - timedelta(hours=1)}


@pytest.mark.parametrize(
    ("name", "updated_at", "agreed_at", "known"),
    [
        ("phone", ALL, AGREED, (EDITED - timedelta(hours=1), None)),
        ("phone", ALL, None, (EDITED - timedelta(hours=1), None)),
        ("last_name", ALL, AGREED, (None, EDITED)),
        ("last_name", ALL, None, (None, EDITED)),
        ("active", ALL, AGREED, (None, EDITED)),
        # Times have whole seconds, so an edit in the agreement's second may be after it.
        ("phone", {"phone": AGREED.replace(microsecond=0)}, AGREED, (AGREED.replace(microsecond=0), None)),
        # The primary phone was deleted, and an older one is primary now.
        ("phone", {"phone": AGREED - timedelta(days=9)}, AGREED, (None, SEEN)),
        # No phone is left; the person's time is not a contact's.
        ("email", ALL, AGREED, (None, SEEN)),
        ("last_name", {RECORD: AGREED - timedelta(days=9)}, AGREED, (None, SEEN)),
        ("last_name", {}, AGREED, (None, SEEN)),
        # A time later than the read is that of another edit, or of another clock.
        ("phone", {"phone": SEEN + timedelta(seconds=1)}, AGREED, (None, SEEN)),
        ("last_name", {RECORD: SEEN + timedelta(seconds=1)}, AGREED, (None, SEEN)),
    ],
)
def test_the_best_time_that_is_known(name: str, updated_at: Any, agreed_at: Any, known: Any) -> None:
    assert edited_there(name, updated_at, agreed_at, SEEN) == known


def test_times_are_read_but_not_part_of_the_hash() -> None:
    """An answer without a time is complete, and an invalid time counts as none."""
    hashes = set()
    for at in ("2026-03-02T09:30:15Z", "2026-03-02T09:30:15", "soon", 5, None):
        emails = [Contact("8", False, {"address": "b@example.org"}), Contact("9", True, {"address": "a@example.org"})]
        emails[1].attributes["updated_at"] = at  # type: ignore[index] # a plain dict
        person = remote_person("1", {"first_name": "Ann", "updated_at": at}, emails=emails)
        assert person_from_snapshot(person.to_json()) == person
        hashes.add(person.hash)
        assert person.updated_at == ({RECORD: EDITED, "email": EDITED} if str(at).endswith("Z") else {})
    assert len(hashes) == 1
    relationships = {"people": {"data": []}, "primary_contact": {"data": None}}
    row = {"type": "Household", "id": "7", "relationships": relationships}
    homes: list[Any] = [
        household_of(document({"data": row | {"attributes": {"name": "Home"} | more}}).data)
        for more in ({}, {"updated_at": "2026-03-02T09:30:15Z"})
    ]
    assert [home.updated_at for home in homes] == [{}, {RECORD: EDITED}]
    assert homes[0].hash == homes[1].hash
    assert household_from_snapshot(homes[1].to_json()) == homes[1]
    assert household_from_snapshot({k: v for k, v in homes[0].to_json().items() if k != "updated_at"}) == homes[0]
