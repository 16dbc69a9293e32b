"""The state of the simulated Planning Center: churches, their rows, who may log in, and the clock."""

import gc
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pco_simulator.rows import DEFAULTS, Row, Table, View, parse_id
from pco_simulator.storage import Store

FORMAT = 1
"""Of the kept state; a state of another format is refused, never replaced."""

_CHUNK = 2000
_FILE = "world.sqlite3"


FEWEST = 5
"""People of a first church: those who can log in."""


class OtherFormat(Exception):
    """A kept state that this version cannot read."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a state was seeded from, and cannot have otherwise without being seeded again."""

    people: int = 1000
    """Of the first church; the others are small."""
    seed: int = 1
    churches: int = 2


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


Span = int | tuple[int, int]
"""Milliseconds, or the smallest and the largest of a range from which each request draws its own."""


@dataclass(slots=True)
class Lag:
    """How far reads stay behind writes, per kind of read."""

    lists_ms: Span = 0
    filters_ms: Span = 0
    singles_ms: Span = 0
    includes_ms: Span = 0
    """Of what `include` brings in, on top of the read's own lag."""
    relationships_too: bool = False
    """Whether the relationships that lead to what `include` brings in lag with it."""
    mergers_ms: Span = 0
    """Of the log of mergers, on top of the read's own lag."""
    created_ms: Span = 0
    """How long a person just created is not found by single reads, on top of the read's own lag."""
    past_ms: int = 0
    """How far reads can go back at least, however small the lag was when something was written."""
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - how stale, not a secret

    def draw(self, span: Span) -> int:
        """The lag of one request."""
        return span if isinstance(span, int) else self.chance.randint(*span)

    @property
    def largest(self) -> float:
        """Seconds."""
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
        """For dates without a time, which mean the church's local day."""
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


class Church:
    """One organization with its tables."""

    def __init__(self, organization: Organization, tables: dict[str, Table]) -> None:
        self.organization = organization
        self.tables = tables
        self.version = 0
        """Counts changes; what was computed from the rows at one version is stale at the next."""
        self.selections: dict[Any, tuple[int, Sequence[int]]] = {}
        """Filtered and sorted ids per query, so that the later pages of a slow filter are not slow again."""


class Change:
    """The writes of one request or human action; listeners hear of them after they are kept."""

    def __init__(self, world: "World", church: Church, by: str) -> None:
        self.world = world
        self.church = church
        self.by = by
        self.at = world.clock.now()
        self.mutations: list[Mutation] = []
        lag = world.lag.largest
        self._elapsed = world.clock.elapsed() if lag else None
        self._bucket = f"{church.organization.id}:"

    @property
    def view(self) -> View:
        """Writes see the present, never a lagging past."""
        return View(self.church.tables, None)

    def create(self, type_: str, attrs: Mapping[str, Any]) -> Row:
        """A new row under the next id."""
        row = Row(self.world.next_id(type_), _kept(attrs))
        self._put(type_, row)
        self._note(type_, row.id, "created")
        return row

    def update(self, type_: str, row: Row, attrs: Mapping[str, Any], *, quiet: bool = False) -> Row:
        """`row` with `attrs` over it; `quiet`: nobody hears of it (a demoted primary)."""
        new = Row(row.id, _kept({**row.attrs, **attrs}))
        self._put(type_, new)
        if not quiet:
            self._note(type_, row.id, "updated")
        return new

    def destroy(self, type_: str, row: Row) -> None:
        """Delete a row (not what hangs on it)."""
        table = self.church.tables[type_]
        self._forget_past(table)
        table.remove(row.id, elapsed=self._elapsed)
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
        # Without any lag left the whole past is dropped.
        elapsed = self.world.clock.elapsed()
        table.forget_changes(elapsed - self.world.lag.largest if self._elapsed is not None else elapsed)

    def _note(self, type_: str, id_: int, kind: Literal["created", "updated", "destroyed"]) -> None:
        self.mutations.append(Mutation(self.church.organization.id, type_, str(id_), kind, self.at, self.by))


def _kept(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attrs.items() if value is not None and value != DEFAULTS.get(key)}


def kept_shape(state_dir: Path) -> Shape | None:
    """Of the state kept in a folder, None if there is none; `OtherFormat` if it cannot be read."""
    if not (state_dir / _FILE).exists():
        return None
    store = Store(state_dir / _FILE)
    try:
        return _shape_in(store)
    finally:
        store.close()


def _shape_in(store: Store) -> Shape | None:
    kept = store.get("world", "shape")
    if kept is None:
        return None
    if kept.pop("format") != FORMAT:
        raise OtherFormat
    return Shape(**kept)


class World:
    """Everything the simulator knows. Not thread-safe: one thread calls it."""

    def __init__(self, clock: Clock, store: Store | None = None) -> None:
        self.clock = clock
        self.store = store or Store(None)
        self.lag = Lag()
        self.shape = Shape()
        """What it was seeded from."""
        self.mutations: list[Callable[[Mutation], None]] = []
        self.contacts_touch_person = False
        """Whether a change of an email, phone number or address moves `Person.updated_at`. The vendor said yes in
        2017 and a user in 2019 (planningcenter/developers#313, #604); unconfirmed today, so the harsher no."""
        self.administrator_refusal = "reported"
        """How somebody who is no organization administrator is refused to edit one: see the setting."""
        self.early_birthdates = "null"
        """What becomes of birthdates before 1885: `null` with 200, or `refused`."""
        self.household_roles = False
        """The feature "Parent and guardian household roles": without it memberships have no `household_role`."""
        self.remote_id_maximum = 2**31 - 1
        """Larger integers are refused with `integer_out_of_range` (the bound is unconfirmed)."""
        self.default_version = "2025-11-10"
        """People version for an application that sends no `X-PCO-API-Version` (its console setting)."""
        self._churches: dict[str, Church] = {}
        self._logins: list[Login] = []
        self._next_ids: dict[str, int] = {}

    @classmethod
    def open(cls, state_dir: Path | None, *, people: int, seed: int, clock: Clock, churches: int = 2) -> "World":
        """Load the state kept in `state_dir`; if there is none, seed it. `OtherFormat` if it cannot be loaded.

        `people`, `seed` and `churches` count for a new state alone: `shape` has those of this one. Seeding depends on
        them, never on the clock.
        """
        from pco_simulator import seed as seeding  # noqa: PLC0415 - seeding needs the world, not the reverse

        world = cls(clock, Store(None if state_dir is None else state_dir / _FILE))
        kept = _shape_in(world.store)
        collecting = gc.isenabled()
        gc.disable()
        try:
            if kept is not None:
                world.shape = kept
                world._load()
            else:
                world.shape = Shape(people, seed, churches)
                world.store.clear()
                for church in seeding.churches(people=people, seed=seed, churches=churches):
                    world.install(church.organization, church.rows, church.logins)
                world.store.put("world", "shape", {"format": FORMAT, **asdict(world.shape)})
                world.store.commit()
        finally:
            if collecting:
                gc.enable()
        # Hundreds of thousands of rows that live for ever need not be walked by every collection.
        gc.freeze()
        return world

    def close(self) -> None:
        """Write what is pending and close the file."""
        self.store.close()

    # -- setting up ------------------------------------------------------------------------------------------

    def install(
        self,
        organization: Organization,
        rows: Mapping[str, Iterable[tuple[int, Mapping[str, Any]]]],
        logins: Iterable[Login] = (),
    ) -> None:
        """Add a church with its rows as they are, keeping their ids: `{"Person": [(1, {...}), ...], ...}`.

        Stored attributes are those of the newest version plus the foreign keys (`person_id`, `household_id`,
        `primary_contact_id`, `name_suffix_id`, ... as integers).
        """
        from pco_simulator.people.resources import KINDS, new_tables  # noqa: PLC0415

        church = self._found(organization, new_tables())
        for type_ in KINDS:
            table = church.tables[type_]
            chunk: list[tuple[int, dict[str, Any]]] = []
            chunks = 0
            for id_, attrs in rows.get(type_, ()):
                kept = _kept(attrs)
                table.put(Row(id_, kept))
                chunk.append((id_, kept))
                if len(chunk) == _CHUNK:
                    self.store.put(f"{organization.id}:{type_}:base", f"{chunks:06}", chunk)
                    chunk, chunks = [], chunks + 1
            self.store.put(f"{organization.id}:{type_}:base", f"{chunks:06}", chunk)
            self._seen_ids(type_, table.rows)
        for login in logins:
            self._logins.append(login)
            self.store.put("logins", f"{len(self._logins):06}", {**asdict(login), "products": [*login.products]})
        self.store.put("organizations", f"{len(self._churches):06}", asdict(organization))
        self.store.commit()

    def _found(self, organization: Organization, tables: dict[str, Table]) -> Church:
        church = Church(organization, tables)
        tables["Organization"].put(Row(int(organization.id), _kept(asdict(organization))))
        self._churches[organization.id] = church
        return church

    def _load(self) -> None:
        from pco_simulator.people.resources import KINDS, new_tables  # noqa: PLC0415

        for _, known in self.store.items("organizations"):
            organization = Organization(**known)
            church = self._found(organization, new_tables())
            for type_ in KINDS:
                table = church.tables[type_]
                bucket = f"{organization.id}:{type_}"
                changed = {int(key): attrs for key, attrs in self.store.items(bucket)}
                for _, chunk in self.store.items(f"{bucket}:base"):
                    for id_, attrs in chunk:
                        if id_ not in changed:
                            table.put(Row(id_, attrs))
                        self._seen_ids(type_, (id_,))
                for id_ in sorted(changed):
                    if changed[id_] is not None:
                        table.put(Row(id_, changed[id_]))
                self._seen_ids(type_, changed)
        for _, known in self.store.items("logins"):
            self._logins.append(Login(**{**known, "products": frozenset(known["products"])}))

    def _seen_ids(self, type_: str, ids: Iterable[int]) -> None:
        self._next_ids[type_] = max(self._next_ids.get(type_, 1), max(ids, default=0) + 1)

    def next_id(self, type_: str) -> int:
        """Ids rise over all churches and are never given twice."""
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
        """Who can log in now, with the permissions of now; a deleted person is gone from it."""
        found = (self.login(login.organization_id, login.person_id) for login in self._logins)
        return [login for login in found if login is not None]

    def login(self, organization_id: str, person_id: str) -> Login | None:
        """The login of a person with the permissions of now, or None."""
        for login in self._logins:
            if (login.organization_id, login.person_id) == (organization_id, person_id):
                row = self.church(organization_id).tables["Person"].rows.get(int(person_id))
                if row is None:
                    return None
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
                )
        return None

    def church(self, organization_id: str) -> Church:
        """A church's tables; `KeyError` for an unknown id."""
        return self._churches[organization_id]

    def view(self, organization_id: str, lag_ms: int = 0) -> View:
        """The rows of a church as they are, or as they were `lag_ms` ago."""
        as_of = self.clock.elapsed() - lag_ms / 1000 if lag_ms else None
        return View(self.church(organization_id).tables, as_of)

    def truth(self, organization_id: str) -> dict[str, int]:
        """How many rows there are now: people, emails, phone_numbers, addresses, households, ..."""
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
            )
        }

    def dump(self, organization_id: str) -> Iterator[dict[str, Any]]:
        """Every row as `{"type", "id", "attributes"}`, by type and id, with foreign keys among the attributes
        and without nulls and defaults; for comparing end states."""
        for type_, table in self.church(organization_id).tables.items():
            for id_ in sorted(table.rows):
                yield {"type": type_, "id": str(id_), "attributes": dict(table.rows[id_].attrs)}

    # -- writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def change(self, organization_id: str, by: str) -> Iterator[Change]:
        """The writes of one request: kept together, then told to the listeners.

        The rules refuse before they write; should one write before it refuses, that write is kept and told too,
        so that memory, file and listeners never differ.
        """
        change = Change(self, self.church(organization_id), by)
        try:
            yield change
        finally:
            self.store.commit()
            for mutation in change.mutations:
                for listener in self.mutations:
                    listener(mutation)

    def stale(self, church: Church, type_: str, row: Row) -> None:
        """Drop what was rendered from other rows that show something of this one."""
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
        elif type_ == "HouseholdMembership":
            household = tables["Household"].rows.get(row.attrs["household_id"])
            if household is not None:
                household.cache = None

    # -- a human at Planning Center, by the rules of the API ---------------------------------------------------

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
        """A human creates a person with contacts, in a household; gives the id.

        `ValueError` says what is wrong with the input.
        """
        from pco_simulator.jsonapi import Refused  # noqa: PLC0415
        from pco_simulator.people import rules  # noqa: PLC0415

        contacts = (("Email", emails), ("PhoneNumber", phone_numbers), ("Address", addresses))
        with self._by_hand(organization_id) as change:
            household = None if household_id is None else _row(change, "Household", household_id)
            row = rules.create_person(change, attributes, {})
            try:
                for type_, given in contacts:
                    for contact in given:
                        rules.create_contact(change, type_, row, contact, {})
            except Refused:
                rules.delete(change, "Person", row)
                raise
            if household is not None:
                rules.create_membership(change, household, {"person_id": row.id, "pending": False}, {})
        return str(row.id)

    def create(self, organization_id: str, type_: str, attributes: Mapping[str, Any], *, person_id: str) -> str:
        """A human gives a person an `Email`, `PhoneNumber` or `Address`, or (type `HouseholdMembership`, with
        `household_id` among the attributes) makes them a member of a household; gives the new id."""
        from pco_simulator.people import rules  # noqa: PLC0415

        with self._by_hand(organization_id) as change:
            person = _row(change, "Person", person_id)
            if type_ == "HouseholdMembership":
                given = dict(attributes)
                household = _row(change, "Household", str(given.pop("household_id")))
                given = {"pending": False, **given, "person_id": person.id}
                return str(rules.create_membership(change, household, given, {}).id)
            return str(rules.create_contact(change, type_, person, attributes, {}).id)

    def edit_person(self, organization_id: str, person_id: str, attributes: Mapping[str, Any]) -> None:
        """A human edits a person. `KeyError` when unknown, `ValueError` when refused."""
        self.edit(organization_id, "Person", person_id, attributes)

    def edit(self, organization_id: str, type_: str, id_: str, attributes: Mapping[str, Any]) -> None:
        """A human edits a row of any type. `KeyError` when unknown, `ValueError` when refused."""
        from pco_simulator.people import rules  # noqa: PLC0415

        with self._by_hand(organization_id) as change:
            rules.update(change, type_, _row(change, type_, id_), attributes, {})

    def create_household(self, organization_id: str, attributes: Mapping[str, Any]) -> str:
        """A human makes a household of `name` and `person_ids`; the first is its primary contact; gives the id."""
        from pco_simulator.people import rules  # noqa: PLC0415

        given = dict(attributes)
        people = [{"type": "Person", "id": str(id_)} for id_ in given.pop("person_ids", [])]
        links = {"people": {"data": people}, "primary_contact": {"data": people[0] if people else None}}
        with self._by_hand(organization_id) as change:
            return str(rules.create_household(change, given, links).id)

    def move_person(self, organization_id: str, person_id: str, attributes: Mapping[str, Any]) -> None:
        """A human moves a person to `household_id` (null: to none), out of `from_household_id` or else of all others.

        Nobody's `updated_at` moves, and a household left empty stays (planningcenter/developers#708, #1258, #124).
        """
        from pco_simulator.people import rules  # noqa: PLC0415

        with self._by_hand(organization_id) as change:
            person = _row(change, "Person", person_id)
            target = attributes.get("household_id")
            household = None if target is None else _row(change, "Household", str(target))
            rules.move_person(change, person, household, attributes.get("from_household_id"))

    def set_raw(self, organization_id: str, type_: str, id_: str, attributes: Mapping[str, Any]) -> None:
        """Stored attributes as given, past every rule; `updated_at` moves unless it is given.

        `KeyError` when the row is unknown, `ValueError` for what has no such attribute or cannot be kept in order.
        """
        from pco_simulator.people import rules  # noqa: PLC0415

        with self._by_hand(organization_id) as change:
            rules.set_raw(change, type_, _row(change, type_, id_), attributes)

    def delete(self, organization_id: str, type_: str, id_: str) -> None:
        """A human deletes a row (a person with all contacts and memberships). `KeyError` when unknown."""
        from pco_simulator.people import rules  # noqa: PLC0415

        with self._by_hand(organization_id) as change:
            rules.delete(change, type_, _row(change, type_, id_))

    def merge_people(self, organization_id: str, keep_id: str, remove_id: str) -> str:
        """A human merges two people: children and memberships move with their ids, the removed person is gone,
        the log gets a row; gives the merger's id. `KeyError` when one is unknown."""
        from pco_simulator.people import rules  # noqa: PLC0415

        with self._by_hand(organization_id, by="merge") as change:
            merger = rules.merge(change, _row(change, "Person", keep_id), _row(change, "Person", remove_id))
        return str(merger.id)

    @contextmanager
    def _by_hand(self, organization_id: str, by: str = "person") -> Iterator[Change]:
        from pco_simulator.jsonapi import Refused  # noqa: PLC0415

        try:
            with self.change(organization_id, by) as change:
                yield change
        except Refused as refused:
            raise ValueError(str(refused)) from refused


def _row(change: Change, type_: str, id_: str) -> Row:
    known = parse_id(id_)
    row = None if known is None else change.view.get(type_, known)
    if row is None:
        raise KeyError(f"{type_} {id_}")
    return row
