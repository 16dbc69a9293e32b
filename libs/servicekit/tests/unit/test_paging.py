"""Places in lists, as callers send them back."""

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.errors import Invalid
from servicekit.http import paging

KEY = (paging.instant, paging.string, paging.number, UUID)


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.uuids(),
)
def test_a_page_key_survives_encoding(at: datetime, name: str, number: int, last: UUID) -> None:
    assert paging.decode(paging.encode(at.isoformat(), name, number, str(last)), *KEY) == [at, name, number, last]


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_anything_else_is_refused(after: str) -> None:
    with pytest.raises(Invalid):
        paging.decode(after, *KEY)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (paging.number, 2**63),
        (paging.position, 2**31),
        (paging.instant, "2026-01-05T12:00:00"),
        (paging.string, "\ud800"),
        (paging.string, "\0"),
    ],
)
def test_values_that_the_database_cannot_compare_are_refused(kind: object, part: int | str) -> None:
    after = base64.urlsafe_b64encode(json.dumps([part]).encode()).decode()
    with pytest.raises(Invalid):
        paging.decode(after, kind)  # type: ignore[arg-type]
