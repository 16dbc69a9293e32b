"""The state of the simulated Planning Center: churches, their rows, who may log in, and the clock."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal


class Clock:
    """The simulator's time; `offset` skews it against the real one."""

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self.offset = offset

    def now(self) -> datetime:
        """UTC, skewed by `offset`."""
        return datetime.now(UTC) + self.offset

    def elapsed(self) -> float:
        """Seconds on a clock that never jumps; read-after-write lag is measured with it."""
        return time.monotonic()


@dataclass(slots=True)
class Lag:
    """How far reads stay behind writes, per kind of read, in milliseconds."""

    lists_ms: int = 0
    filters_ms: int = 0
    singles_ms: int = 0


@dataclass(frozen=True, slots=True)
class Organization:
    """One church."""

    id: str
    name: str
    subdomain: str
    time_zone: str
    """IANA name."""
    country_code: str
    date_format: str
    created_at: str


@dataclass(frozen=True, slots=True)
class Login:
    """A person who can log in to Planning Center."""

    organization_id: str
    person_id: str
    name: str
    first_name: str
    last_name: str
    email: str
    people_permissions: str | None
    """`Manager`, `Editor`, `Viewer`, or None: no access to People."""
    organization_administrator: bool
    products: frozenset[str]
    """`people`, `calendar`."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One row that was created, updated or destroyed."""

    organization_id: str
    type: str
    """JSON:API type: `Person`, `Email`, `PhoneNumber`, `Address`, `Household`, `HouseholdMembership`, ..."""
    id: str
    kind: Literal["created", "updated", "destroyed"]
    at: datetime
    by: str
    """`api:<client id>` for a call, `person` for a human at Planning Center, `merge`."""


class World:
    """Everything the simulator knows. Not thread-safe: one thread calls it."""

    clock: Clock
    lag: Lag
    organizations: dict[str, Organization]
    logins: list[Login]
    mutations: list[Callable[[Mutation], None]]
    contacts_touch_person: bool
    """Whether a change of an email, phone number or address moves `Person.updated_at` (unconfirmed)."""
    default_version: str
    """The version an application gets that sends no `X-PCO-API-Version` (its console setting)."""

    @classmethod
    def open(
        cls, state_dir: Path | None, *, people: int, seed: int, clock: Clock, churches: int = 2
    ) -> "World":
        """Load the state kept in `state_dir` if it has this shape, else seed it."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what is pending and close the file."""

    def login(self, organization_id: str, person_id: str) -> Login | None:
        """The login of a person, or None."""

    def create_person(
        self,
        organization_id: str,
        attributes: Mapping[str, Any],
        *,
        emails: Sequence[Mapping[str, Any]] = (),
        phone_numbers: Sequence[Mapping[str, Any]] = (),
        addresses: Sequence[Mapping[str, Any]] = (),
        household_id: str | None = None,
    ) -> str:
        """A human creates a person; gives the id. `ValueError` says what is wrong with the input."""
        raise NotImplementedError

    def edit_person(self, organization_id: str, person_id: str, attributes: Mapping[str, Any]) -> None:
        """A human edits a person by the API's own rules. `KeyError` when unknown, `ValueError` when refused."""

    def create(
        self, organization_id: str, type_: str, attributes: Mapping[str, Any], *, person_id: str
    ) -> str:
        """A human adds an `Email`, `PhoneNumber` or `Address` to a person; gives the id."""
        raise NotImplementedError

    def edit(self, organization_id: str, type_: str, id_: str, attributes: Mapping[str, Any]) -> None:
        """A human edits any row by the API's own rules."""

    def delete(self, organization_id: str, type_: str, id_: str) -> None:
        """A human deletes a row (a person with all contacts and memberships). `KeyError` when unknown."""

    def merge_people(self, organization_id: str, keep_id: str, remove_id: str) -> str:
        """Merge two people: children move with their ids, the log gets a row; gives the merger's id."""
        raise NotImplementedError

    def truth(self, organization_id: str) -> dict[str, int]:
        """Counts per kind: people, emails, phone_numbers, addresses, households, household_memberships, ..."""
        raise NotImplementedError

    def dump(self, organization_id: str) -> Iterator[dict[str, Any]]:
        """Every row as `{"type", "id", "attributes", ...}`, for comparing end states in tests."""
        raise NotImplementedError
