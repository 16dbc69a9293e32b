"""Who writes a record, on either side: whose rows, by which choices, in whose name, and for how long."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from pco_client.client import PlanningCenter
from people_sync.domain.merge import MergePolicy
from people_sync.domain.writes import Reading
from people_sync.resources import Resources
from people_sync.storage.tables import Settings
from servicekit.jobs.worker import JobContext


@dataclass(frozen=True, slots=True)
class Cause:
    """What makes us write."""

    kind: str
    """`run` or `refresh`."""
    id: UUID


@dataclass(slots=True, kw_only=True)
class Writer:
    """What everything that touches one record works with. Knows no run."""

    job: JobContext
    """Under whose lease this is done."""
    resources: Resources
    pco: PlanningCenter
    organization_id: str
    pco_organization_id: str
    cause: Cause
    policy: MergePolicy
    chosen: bool
    """Whether an administrator chose what counts where both sides have a value and nothing was agreed. If not, nothing
    is overwritten by the default: a run of everybody asks."""

    @property
    def owner(self) -> Mapping[str, str]:
        """Whose rows these are."""
        return {"organization_id": self.organization_id, "pco_organization_id": self.pco_organization_id}

    @property
    def country(self) -> str:
        """The church's own, for phone numbers and addresses."""
        return self.policy.country

    def now(self) -> datetime:
        """The wall clock."""
        return self.resources.clock.now()

    def reading(self, read_at: datetime) -> Reading:
        """What a read of that time can tell."""
        return Reading(read_at, self.resources.horizon)

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """One transaction under the lease. LeaseLost if another worker has taken over."""
        return self.job.transaction()


def has_chosen(chosen: Settings | None) -> bool:
    """Whether what counts on a first match was answered, or set."""
    return chosen is not None and chosen.first_match is not None


def policy_of(chosen: Settings | None, country: str) -> MergePolicy:
    """The organization's choices; None for the defaults."""
    return MergePolicy(
        first_match=(chosen and chosen.first_match) or "planning_center",  # type: ignore[arg-type]
        merge_different_fields=bool(chosen and chosen.merge_different_fields),
        country=country,
    )


def guarded(pco: PlanningCenter, job: JobContext, seconds: float) -> PlanningCenter:
    """The client for writing: before each request the lease is checked to last longer than its `seconds` at most.

    What is answered after the lease was lost raises AnsweredTooLate, with what was made.
    """

    async def guard() -> None:
        if job.lease_left() <= seconds:
            # A busy machine renews late in the background; whoever lost the job learns it here.
            await job.renew()
        job.check(seconds)

    async def answered() -> None:
        if job.lease_left() <= 0:
            # Over by our clock: whether somebody has taken the job since, the database knows.
            await job.renew()

    return pco.using(timeout=seconds, guard=guard, check=partial(job.check, seconds), answered=answered)
