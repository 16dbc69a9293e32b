"""The compatibility check sees what breaks a reader, and is quiet about the rest."""

from typing import Any

import pytest
from pydantic import Field

from contracts.base import Event
from contracts.schemas import breaks, rollout_order, schema_of


class Part(Event):
    colour: str


class Before(Event):
    """Some words."""

    name: str
    size: int = 1
    part: Part | None = None
    parts: tuple[Part, ...] = ()


def changed(**fields: tuple[Any, Any]) -> type[Event]:
    annotations: dict[str, Any] = {
        "name": str,
        "size": int,
        "part": Part | None,
        "parts": tuple[Part, ...],
        **{key: value for key, (value, _) in fields.items()},
    }
    body: dict[str, Any] = {"size": 1, "part": None, "parts": (), **{key: value for key, (_, value) in fields.items()}}
    body = {key: value for key, value in body.items() if value is not ...}
    return type("After", (Event,), {"__annotations__": annotations, "__module__": __name__, **body})


class NarrowPart(Event):
    colour: int


@pytest.mark.parametrize(
    ("after", "old_reader"),
    [
        (changed(added=(int, ...)), False),
        (changed(size=(str, "1")), True),
        (changed(size=(int, ...)), False),
        (changed(parts=(tuple[NarrowPart, ...], ())), True),
        (changed(size=(int, Field(default=1, le=5))), True),
    ],
    ids=["required added", "type changed", "optional became required", "type changed inside", "bound added"],
)
def test_a_break_is_seen(after: type[Event], old_reader: bool) -> None:
    assert any(problem.old_reader == old_reader for problem in breaks(schema_of(Before), schema_of(after)))


def test_a_removed_required_field_breaks_old_readers() -> None:
    class After(Event):
        size: int = 1
        part: Part | None = None
        parts: tuple[Part, ...] = ()

    [problem] = breaks(schema_of(Before), schema_of(After))
    assert problem.old_reader
    assert "consumers first" in str(problem)


def test_optional_fields_come_and_go_and_words_do_not_count() -> None:
    after = changed(note=(str | None, None))
    after.__doc__ = "Other words."
    assert breaks(schema_of(Before), schema_of(after)) == []
    assert breaks(schema_of(after), schema_of(Before)) == []
    assert "note" in rollout_order(schema_of(Before), schema_of(after))
