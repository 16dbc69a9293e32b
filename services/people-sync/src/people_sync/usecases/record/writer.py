"""The context of writes to a record: organization, choices, cause, and lease."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from pco_client.client import PlanningCenter
from people_sync.domain.merge import MergePolicy
from people_sync.resources import Resources
from people_sync.storage.tables import Settings
from servicekit.jobs.worker import JobContext
from synckit.staleness import Reading


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of a write."""

    kind: str
    """Kind of the cause: `run` or `refresh`."""
    id: UUID


@dataclass(slots=True, kw_only=True)
class Writer:
    """The context shared by all code that writes one record, independent of runs."""

    job: JobContext
    """The job whose lease covers the writes."""
    resources: Resources
    pco: PlanningCenter
    organization_id: str
    pco_organization_id: str
    cause: Cause
    policy: MergePolicy
    chosen: bool
    """Whether an administrator made the first-match choice. If not, no value is overwritten: a full run asks."""

    @property
    def owner(self) -> Mapping[str, str]:
        """`organization_id` and `pco_organization_id` of the rows."""
        return {"organization_id": self.organization_id, "pco_organization_id": self.pco_organization_id}

    @property
    def country(self) -> str:
        """The church's own country, for phone numbers and addresses."""
        return self.policy.country

    def now(self) -> datetime:
        """The wall clock."""
        return self.resources.clock.now()

    def reading(self, read_at: datetime) -> Reading:
        """The reading made at that time."""
        return Reading(read_at, self.resources.horizon)

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """One transaction under the lease. LeaseLost if another worker has taken over."""
        return self.job.transaction()


def has_chosen(chosen: Settings | None) -> bool:
    """Whether the first-match choice was answered or set."""
    return chosen is not None and chosen.first_match is not None


def policy_of(chosen: Settings | None, country: str) -> MergePolicy:
    """The organization's choices; None for the defaults."""
    return MergePolicy(
        first_match=(chosen and chosen.first_match) or "planning_center",  # type: ignore[arg-type]
        merge_different_fields=bool(chosen and chosen.merge_different_fields),
        country=country,
    )
