"""What is planned for one record, and what became of it."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Here = Literal["none", "planned", "done"]
There = Literal["none", "planned", "done", "later"]


@dataclass(slots=True, eq=False)
class Planned:
    """One record: what it needs on each side, as decided when it was read."""

    kind: str
    name: str
    outcome: str
    record_id: UUID | None = None
    pco_id: str | None = None
    here: Here = "none"
    there: There = "none"
    cause: str | None = None
    sentence: str | None = None
