"""The state of the simulated Planning Center: churches, their rows, who may log in, and the clock."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pco_simulator.rows import DEFAULTS, Row, Table, View
from pco_simulator.storage import Store

CALENDAR_ACCESS = "CalendarAccess"
"""Table of roles in Calendar, by the person's id."""
CALENDAR_ROLES = ("No Access", "Viewer", "Editor", "Administrator")
"""Roles in Calendar; the first may not open it, the second not write (the names are unconfirmed)."""

FEWEST = 5
"""Minimum number of people in the first church: those who can log in."""


TIME_ZONES = "America/Denver"


@dataclass(frozen=True, slots=True)
class Shape:
    """Parameters a state was seeded from; changing them requires seeding again."""

    people: int = 1000
    """People of the first church; the others are small."""
    seed: int = 1
    churches: int = 2
    time_zones: str = TIME_ZONES
    """IANA names with commas between them: those of the churches behind the third, in turn."""


class Clock:
    """The simulator's time; `offset` skews it against the real one."""

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self.offset = offset

    def now(self) -> datetime:
        """The current instant in UTC, skewed by `offset`."""
        return datetime.now(UTC) + self.offset

    def elapsed(self) -> float:
        """Seconds on a clock that never jumps; read-after-write lag is measured with it."""
        return time.monotonic()


Span = int | tuple[int, int]
"""Milliseconds, or the smallest and the largest of a range from which each request draws its own."""


@dataclass(slots=True)
class Lag:
    """How far reads stay behind writes, per kind of read."""

    lists_ms: Span = 0
    filters_ms: Span = 0
    singles_ms: Span = 0
    includes_ms: Span = 0
    """Lag of included rows, on top of the read's own lag."""
    relationships_too: bool = False
    """Whether the relationships to included rows lag as well."""
    mergers_ms: Span = 0
    """Lag of the log of mergers, on top of the read's own lag."""
    created_ms: Span = 0
    """How long single reads do not find a new person, on top of the read's own lag."""
    past_ms: int = 0
    """Minimum age that reads can go back to, even for rows written under a smaller lag."""
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - draws a lag, not a secret

    def draw(self, span: Span) -> int:
        """The lag of one request."""
        return span if isinstance(span, int) else self.chance.randint(*span)

    @property
    def largest(self) -> float:
        """The largest possible lag, in seconds."""
        own = max(map(_most, (self.lists_ms, self.filters_ms, self.singles_ms)))
        further = max(map(_most, (self.includes_ms, self.mergers_ms, self.created_ms)))
        return max(own + further, self.past_ms) / 1000


def _most(span: Span) -> int:
    return span if isinstance(span, int) else span[1]


@dataclass(frozen=True, slots=True)
class Organization:
    """One church."""

    id: str
    name: str
    subdomain: str
    time_zone: str
    """IANA name."""
    country_code: str | None
    date_format: str
    created_at: str

    @property
    def zone(self) -> ZoneInfo:
        """Interprets dates without a time as the church's local day."""
        return ZoneInfo(self.time_zone)


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
    """Permission in People: `Manager`, `Editor`, `Viewer`, or None without access."""
    organization_administrator: bool
    products: frozenset[str]
    """Products the person may open: `people`, `calendar`."""
    calendar_role: str = CALENDAR_ROLES[0]
    """Role in Calendar, one of `CALENDAR_ROLES`."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One row that was created, updated or destroyed."""

    organization_id: str
    type: str
    """JSON:API type: `Person`, `Email`, `PhoneNumber`, `Address`, `Household`, `HouseholdMembership`, `Event`,
    `EventInstance`, `EventRequest`, ..."""
    id: str
    kind: Literal["created", "updated", "destroyed", "approved"]
    """`approved`: an `EventRequest`, beside the update that shows it."""
    at: datetime
    by: str
    """Author of the change: `api:<client id>`, `person` for a human at Planning Center, or `merge`."""


class Church:
    """One organization with its tables."""

    def __init__(self, organization: Organization, tables: dict[str, Table]) -> None:
        self.organization = organization
        self.tables = tables
        self.version = 0
        """Counter of changes; results computed from the rows at one version are stale at the next."""
        self.selections: dict[Any, tuple[int, Sequence[int]]] = {}
        """Filtered and sorted ids per query, so that the later pages of a slow filter are not slow again."""


class Change:
    """The writes of one request or human action; listeners are notified after the commit."""

    def __init__(self, world: "World", church: Church, by: str) -> None:
        self.world = world
        self.church = church
        self.by = by
        self.at = world.clock.now()
        self.mutations: list[Mutation] = []
        self.destroyed: dict[tuple[str, int], Row] = {}
        """Rows that this change destroyed, by type and id."""
        lag = world.lag.largest
        self._elapsed = world.clock.elapsed() if lag else None
        self._bucket = f"{church.organization.id}:"

    @property
    def view(self) -> View:
        """The present rows: writes never see a lagging past."""
        return View(self.church.tables, None)

    def create(self, type_: str, attrs: Mapping[str, Any]) -> Row:
        """A new row under the next id."""
        row = Row(self.world.next_id(type_), kept(attrs))
        self._put(type_, row)
        self._note(type_, row.id, "created")
        return row

    def insert(self, type_: str, id_: int, attrs: Mapping[str, Any]) -> Row:
        """A new row under an id that another table gave."""
        row = Row(id_, kept(attrs))
        self._put(type_, row)
        self._note(type_, id_, "created")
        return row

    def update(self, type_: str, row: Row, attrs: Mapping[str, Any], *, quiet: bool = False) -> Row:
        """Update `row` with `attrs`; `quiet`: listeners are not notified (a demoted primary)."""
        new = Row(row.id, kept({**row.attrs, **attrs}))
        self._put(type_, new)
        if not quiet:
            self._note(type_, row.id, "updated")
        return new

    def destroy(self, type_: str, row: Row) -> None:
        """Delete a row, without its children."""
        table = self.church.tables[type_]
        self._forget_past(table)
        table.remove(row.id, elapsed=self._elapsed)
        self.destroyed[type_, row.id] = row
        self.world.stale(self.church, type_, row)
        self.church.version += 1
        self.world.store.put(self._bucket + type_, str(row.id), None)
        self._note(type_, row.id, "destroyed")

    def _put(self, type_: str, row: Row) -> None:
        table = self.church.tables[type_]
        self._forget_past(table)
        table.put(row, elapsed=self._elapsed)
        self.world.stale(self.church, type_, row)
        self.church.version += 1
        self.world.store.put(self._bucket + type_, str(row.id), row.attrs)

    def _forget_past(self, table: Table) -> None:
        # Without any lag the whole past is dropped.
        elapsed = self.world.clock.elapsed()
        table.forget_changes(elapsed - self.world.lag.largest if self._elapsed is not None else elapsed)

    def approve(self, type_: str, row: Row) -> None:
        """Tell the listeners that a row was approved."""
        self._note(type_, row.id, "approved")

    def _note(self, type_: str, id_: int, kind: Literal["created", "updated", "destroyed", "approved"]) -> None:
        self.mutations.append(Mutation(self.church.organization.id, type_, str(id_), kind, self.at, self.by))


def kept(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as stored in a row: without nulls and defaults."""
    return {key: value for key, value in attrs.items() if value is not None and value != DEFAULTS.get(key)}


class World:
    """Everything the simulator knows. Not thread-safe: one thread calls it."""

    def __init__(self, clock: Clock, store: Store | None = None) -> None:
        self.clock = clock
        self.store = store or Store(None)
        self.lag = Lag()
        self.shape = Shape()
        """Parameters the world was seeded from."""
        self.mutations: list[Callable[[Mutation], None]] = []
        self.outbox: Callable[[Change], None] | None = None
        """Adds what is to be sent about a change; committed together with it."""
        self.contacts_touch_person = False
        """Whether a change of an email, phone number or address moves `Person.updated_at`. The vendor said yes in
        2017 and a user in 2019 (planningcenter/developers#313, #604); unconfirmed today, so the harsher no."""
        self.administrator_refusal = "reported"
        """The refusal when a caller who is no organization administrator edits one; see the setting."""
        self.early_birthdates = "refused"
        """Treatment of birthdates before 1885: `null` with 200, or `refused`."""
        self.household_roles = False
        """The feature "Parent and guardian household roles": without it memberships have no `household_role`."""
        self.remote_id_maximum = 2**31 - 1
        """Larger integers are refused with `integer_out_of_range` (the bound is unconfirmed)."""
        self.default_version = "2025-11-10"
        """People version for an application that sends no `X-PCO-API-Version` (its console setting)."""
        self.calendar_default_version = "2022-07-07"
        """Calendar version for an application that sends no `X-PCO-API-Version`."""
        self.webhooks_default_version = "2018-08-01"
        """Webhooks version for an application that sends no `X-PCO-API-Version`."""
        self.calendar_event_hints = False
        """Whether events and instances of Calendar can be subscribed to."""
        self.calendar_writes = "read-only"
        """Whether events can be written through the API: `read-only`, as the vendor is, or `writable`."""
        self.content_touches_updated_at = False
        """Whether a change of name, location or description moves `updated_at` of an event and its instances. Of
        instances it was reported not to (planningcenter/developers#1385); of events it is unconfirmed."""
        self.all_day_times = "local_midnight"
        """How all-day instances stand in UTC; see the setting."""
        self._churches: dict[str, Church] = {}
        self._logins: list[Login] = []
        self._next_ids: dict[str, int] = {}

    def close(self) -> None:
        """Commit pending writes and close the file."""
        self.store.close()

    # -- setting up ------------------------------------------------------------------------------------------

    def found(self, organization: Organization, tables: dict[str, Table]) -> Church:
        """Add a church with its tables; only its own row is written."""
        church = Church(organization, tables)
        tables["Organization"].put(Row(int(organization.id), kept(asdict(organization))))
        self._churches[organization.id] = church
        return church

    def give_login(self, login: Login) -> int:
        """Add a login; gives the number of logins."""
        self._logins.append(login)
        return len(self._logins)

    def seen_ids(self, type_: str, ids: Iterable[int]) -> None:
        """Reserve ids in use: `next_id` gives larger ones."""
        self._next_ids[type_] = max(self._next_ids.get(type_, 1), max(ids, default=0) + 1)

    def next_id(self, type_: str) -> int:
        """A new id; ids rise over all churches and are never reused."""
        id_ = self._next_ids.get(type_, 1)
        self._next_ids[type_] = id_ + 1
        return id_

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def organizations(self) -> dict[str, Organization]:
        """All churches by id."""
        return {id_: church.organization for id_, church in self._churches.items()}

    @property
    def logins(self) -> list[Login]:
        """All logins with their current permissions; deleted people have none."""
        found = (self.login(login.organization_id, login.person_id) for login in self._logins)
        return [login for login in found if login is not None]

    def login(self, organization_id: str, person_id: str) -> Login | None:
        """The login of a person with the current permissions, or None."""
        for login in self._logins:
            if (login.organization_id, login.person_id) == (organization_id, person_id):
                tables = self.church(organization_id).tables
                row = tables["Person"].rows.get(int(person_id))
                if row is None:
                    return None
                access = tables[CALENDAR_ACCESS].rows.get(row.id)
                role = CALENDAR_ROLES[
                    (3 if row.get("site_administrator") else 2) if "calendar" in login.products else 0
                ]
                return Login(
                    organization_id=organization_id,
                    person_id=person_id,
                    name=" ".join(filter(None, (row.get("first_name"), row.get("last_name")))),
                    first_name=row.get("first_name") or "",
                    last_name=row.get("last_name") or "",
                    email=login.email,
                    people_permissions=row.get("people_permissions"),
                    organization_administrator=row.get("site_administrator"),
                    products=login.products,
                    calendar_role=role if access is None else access.attrs["role"],
                )
        return None

    def administrator(self, organization_id: str) -> Login:
        """Who acts where a page or the control API changes something; `KeyError` in a church without one."""
        for login in self.logins:
            if login.organization_id == organization_id and login.organization_administrator:
                return login
        raise KeyError(f"{organization_id} has no administrator who can log in")

    def church(self, organization_id: str) -> Church:
        """A church's tables; `KeyError` for an unknown id."""
        return self._churches[organization_id]

    def view(self, organization_id: str, lag_ms: int = 0) -> View:
        """A view of a church's rows: the present, or `lag_ms` ago."""
        as_of = self.clock.elapsed() - lag_ms / 1000 if lag_ms else None
        return View(self.church(organization_id).tables, as_of)

    def truth(self, organization_id: str) -> dict[str, int]:
        """Number of rows now: people, emails, phone_numbers, addresses, households, ..., events, event_instances."""
        tables = self.church(organization_id).tables
        return {
            name: len(tables[type_].rows)
            for name, type_ in (
                ("people", "Person"),
                ("emails", "Email"),
                ("phone_numbers", "PhoneNumber"),
                ("addresses", "Address"),
                ("households", "Household"),
                ("household_memberships", "HouseholdMembership"),
                ("person_mergers", "PersonMerger"),
                ("events", "Event"),
                ("event_instances", "EventInstance"),
            )
        }

    def dump(self, organization_id: str) -> Iterator[dict[str, Any]]:
        """Every row as `{"type", "id", "attributes"}`, by type and id, with foreign keys among the attributes
        and without nulls and defaults; for comparing end states. Webhooks are left out."""
        for type_, table in self.church(organization_id).tables.items():
            if type_.startswith("Webhook"):
                continue
            for id_ in sorted(table.rows):
                yield {"type": type_, "id": str(id_), "attributes": dict(table.rows[id_].attrs)}

    # -- writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def change(self, organization_id: str, by: str) -> Iterator[Change]:
        """The writes of one request: committed together, then passed to the listeners.

        The rules refuse before they write. Should a rule write before it refuses, that write is committed and passed on
        too, so that memory, file and listeners never differ.
        """
        change = Change(self, self.church(organization_id), by)
        try:
            yield change
        finally:
            if self.outbox is not None and change.mutations:
                self.outbox(change)
            self.store.commit()
            for mutation in change.mutations:
                for listener in self.mutations:
                    listener(mutation)

    def stale(self, church: Church, type_: str, row: Row) -> None:
        """Drop the rendered parts of other rows that show values of this one."""
        tables = church.tables
        memberships = tables["HouseholdMembership"]
        if type_ == "Person":
            for id_ in memberships.children["person_id"].get(row.id, ()):
                memberships.rows[id_].cache = None
                household = tables["Household"].rows.get(memberships.rows[id_].attrs["household_id"])
                if household is not None:
                    household.cache = None
            for id_ in tables["Household"].children["primary_contact_id"].get(row.id, ()):
                tables["Household"].rows[id_].cache = None
        elif type_ == "Event":
            for id_ in tables["EventInstance"].children["event_id"].get(row.id, ()):
                tables["EventInstance"].rows[id_].cache = None
        elif type_ == "HouseholdMembership":
            household = tables["Household"].rows.get(row.attrs["household_id"])
            if household is not None:
                household.cache = None
