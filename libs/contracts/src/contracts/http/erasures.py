"""People who were erased here: the intent, its receipt, and letting somebody back."""

from typing import Literal

from pydantic import Field

from contracts.base import Model, Timestamp
from contracts.http.common import Intent

Requester = Literal["person", "parent", "church"]
"""On whose request: the person themselves, a parent or guardian of a child, or the church, by a duty of its own."""


class EraseMember(Intent):
    """Erase somebody for good, here alone. Planning Center stays as it is."""

    on_request_of: Requester = Field(description="A child is erased at the request of a `parent`, or of the `church`.")
    version: int | None = Field(
        default=None, ge=1, description="The member's version that was shown: refused if it has moved since."
    )


class ErasureLine(Model):
    """One place, and what was erased there."""

    service: str | None = Field(default=None, description="Whose database it is; null for what is in none.")
    place: str
    """Where."""
    outcome: Literal["done", "not_needed", "pending", "left", "kept"]
    """`left`: not erased here, and the sentence says by whom, or when; `kept`: kept on purpose."""
    sentence: str
    """The same in words."""
    count: int = Field(ge=0, description="Rows, or mentions in the rows of others.")


class Erasure(Model):
    """The receipt of an erasure. It names nobody who was erased."""

    id: str
    """Id of the erasure."""
    record_id: str = Field(description="The id that the member had here.")
    on_request_of: str
    """`person`, `parent` or `church`."""
    by_name: str | None = Field(default=None, description="The administrator who did it.")
    at: Timestamp
    """When it was done."""
    complete: bool = Field(description="Whether every service has told what it erased.")
    lines: tuple[ErasureLine, ...]
    """What was erased, place by place."""
    pco_ids: tuple[str, ...] = Field(
        default=(), description="Whom no sync brings back, by Planning Center's ids. Empty once they were let back."
    )
    let_back_at: Timestamp | None = Field(
        default=None, description="Since when syncs bring them again, if they are still in Planning Center."
    )
    let_back_by_name: str | None = None
    """Name of who let them back."""
