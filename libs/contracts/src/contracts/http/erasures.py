"""Erasure of people here: the intent, its receipt, and readmission by later syncs."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.http.common import Intent

Requester = Literal["person", "parent", "church"]
"""Requester: the person themselves, a parent or guardian of a child, or the church, by a duty of its own."""


class EraseMember(Intent):
    """Erase a person permanently, here alone. Planning Center stays unchanged."""

    on_request_of: Requester = Field(description="A child is erased at the request of a `parent`, or of the `church`.")
    version: int | None = Field(
        default=None,
        ge=1,
        description="The member's version as shown: the erasure is refused if the member has changed since.",
    )


class ErasureLine(Model):
    """One place and its erased rows."""

    service: str | None = Field(
        default=None, description="Service that owns the database; null for a place outside databases."
    )
    place: str
    """Name of the place."""
    outcome: Literal["done", "not_needed", "pending", "left", "kept"]
    """`left`: erased by others or later, as the sentence says; `kept`: kept on purpose."""
    sentence: str
    """The state in words."""
    count: int = Field(ge=0, description="Number of rows, or of mentions in the rows of other people.")


class Erasure(Model):
    """The receipt of an erasure. It does not name the erased person."""

    id: str
    """Id of the erasure."""
    record_id: str = Field(description="The id that the member had here.")
    on_request_of: str
    """`person`, `parent` or `church`."""
    by_name: str | None = Field(default=None, description="The administrator who erased the person.")
    at: Timestamp
    """When the person was erased."""
    complete: bool = Field(description="Whether every service has reported its erased rows.")
    lines: tuple[ErasureLine, ...]
    """The erased rows, place by place."""
    pco_ids: tuple[str, ...] = Field(
        default=(),
        description="Planning Center's ids of people whom no sync adds again. Empty once they were let back.",
    )
    let_back_at: Timestamp | None = Field(
        default=None, description="Since when syncs may add the person again, if they are still in Planning Center."
    )
    let_back_by_name: str | None = None
    """Name of the administrator who let the person back."""
