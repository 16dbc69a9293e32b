"""What is planned for one record, and what became of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from contracts.http.plans import PlanField
from people_sync.domain.plans import allows
from people_sync.domain.sentences import LEFT_OUT, OUTCOMES

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
    plan: list[Any] | None = None
    """Of an approved run: what was approved, as `contracts.http.plans.PlanField`. Nothing else may be written."""

    def forbids(self, now: Callable[[], Sequence[PlanField]], country: str) -> bool:
        """Whether something else was approved than would be written `now`, which is asked for only then."""
        approved = approved_fields(self.plan)
        return approved is not None and not allows(approved, now(), country)

    def leave_out(self) -> None:
        """Leave the record as it is, since it has changed after the plan was shown."""
        self.here = "done" if self.here == "planned" else self.here
        self.there = "none"
        self.outcome, self.cause, self.sentence = LEFT_OUT, None, OUTCOMES[LEFT_OUT]


class LeftOut(Exception):
    """The record has changed since the plan was shown; nothing of it was written by whoever raises this."""


def approved_fields(plan: list[Any] | None) -> tuple[PlanField, ...] | None:
    """What was approved of a record; None where nothing had to be."""
    return None if plan is None else tuple(PlanField.model_validate(one) for one in plan)
