"""conflict-service: conflicts counted, listed and decided."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.conflicts import Choice, ConflictField, ConflictRecord
from contracts.http.common import Intent, PageQuery

ConflictState = Literal["open", "resolving", "resolved", "agreed_elsewhere", "withdrawn"]
"""`resolving`: somebody decided, and the decision is carried out on both sides."""


class Decision(Model):
    """What somebody chose, and what became of it."""

    id: str
    choices: dict[str, Choice] = Field(description="By field.")
    fields: tuple[ConflictField, ...] = Field(description="The values that were chosen from.")
    decided_by_name: str | None
    decided_at: Timestamp
    outcome: Literal["waiting", "applied", "overtaken", "not_needed"] = Field(
        description="`overtaken`: a value had moved, or it could not be carried out, and nothing was changed. "
        "`not_needed`: the conflict was over before."
    )
    sentence: str | None = Field(default=None, description="Why it was not applied.")
    refused: tuple[str, ...] = Field(
        default=(), description="What Planning Center did not take, in words; the next sync sends it again."
    )
    settled_at: Timestamp | None = None


class Conflict(Model):
    """One conflict with its differing fields."""

    id: str
    record: ConflictRecord
    fields: tuple[ConflictField, ...]
    state: ConflictState
    version: int
    values_version: int = Field(
        default=1,
        description="Grows when a value of `fields` changes, and with nothing else: a decision is bound to it.",
    )
    decision: Decision | None = Field(default=None, description="The newest one.")
    opened_at: Timestamp
    updated_at: Timestamp


class Decide(Intent):
    """An answer to one conflict: a choice for each of its fields."""

    values_version: int = Field(ge=1, description="Of the conflict as it was shown.")
    choices: dict[str, Choice] = Field(min_length=1, max_length=100)


class ConflictQuery(PageQuery):
    """Filters of the conflicts' list."""

    state: ConflictState = "open"
    family_id: str | None = Field(default=None, max_length=60)
    record_id: str | None = Field(default=None, max_length=60, description="Of the member or family in conflict.")


class ConflictCount(Model):
    """How many conflicts wait for a person."""

    open: int
