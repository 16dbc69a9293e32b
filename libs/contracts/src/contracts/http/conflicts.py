"""conflict-service: open conflicts, counted and listed."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.conflicts import ConflictField, ConflictRecord
from contracts.http.common import PageQuery


class Conflict(Model):
    """One conflict with its differing fields."""

    id: str
    record: ConflictRecord
    fields: tuple[ConflictField, ...]
    state: Literal["open", "resolved", "agreed_elsewhere", "withdrawn"]
    version: int
    values_version: int = Field(
        default=1,
        description="Grows when a value of `fields` changes, and with nothing else: a decision is bound to it.",
    )
    opened_at: Timestamp
    updated_at: Timestamp


class ConflictQuery(PageQuery):
    """Filters of the conflicts' list."""

    state: Literal["open", "resolved", "agreed_elsewhere", "withdrawn"] = "open"
    family_id: str | None = Field(default=None, max_length=60)
    record_id: str | None = Field(default=None, max_length=60, description="Of the member or family in conflict.")


class ConflictCount(Model):
    """How many conflicts wait for a person."""

    open: int
