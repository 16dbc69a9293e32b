"""The plan of one record and its outcome."""

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
    """One record with its pending work on each side, as decided after the read."""

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
    """In an approved run: the approved fields, as `contracts.http.plans.PlanField`; no other write is allowed."""

    def forbids(self, now: Callable[[], Sequence[PlanField]], country: str) -> bool:
        """Whether the writes due `now` were not approved; `now` is evaluated only in an approved run."""
        approved = approved_fields(self.plan)
        return approved is not None and not allows(approved, now(), country)

    def leave_out(self) -> None:
        """Leave the record unchanged, because it changed after the plan was shown."""
        self.here = "done" if self.here == "planned" else self.here
        self.there = "none"
        self.outcome, self.cause, self.sentence = LEFT_OUT, None, OUTCOMES[LEFT_OUT]


class LeftOut(Exception):
    """The record has changed since the plan was shown and was not written."""


def approved_fields(plan: list[Any] | None) -> tuple[PlanField, ...] | None:
    """The approved fields of a record; None without an approval."""
    return None if plan is None else tuple(PlanField.model_validate(one) for one in plan)
