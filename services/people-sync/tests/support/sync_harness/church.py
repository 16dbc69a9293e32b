"""Handmade churches, any number of equal ones, in a state folder from which the simulator starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pco_simulator.state import FORMAT, install
from pco_simulator.tokens import Client, TokenStore, derived
from pco_simulator.world import Clock, Login, Organization, World

Rows = dict[str, list[tuple[int, dict[str, Any]]]]
SEED: Final = 1
_PEOPLE: Final = 0
"""Of the seeding that never happens: the state is there already."""
_LONG_AGO: Final = "2024-03-01T10:00:00Z"


@dataclass(frozen=True, slots=True)
class Somebody:
    """A person of a handmade church. First names are unique there and identify the person in tests."""

    first_name: str
    last_name: str
    child: bool = False
    email: str | None = None
    phone: str | None = None
    street: str | None = None
    permissions: str | None = None
    """Makes them a user of Planning Center."""


@dataclass(frozen=True, slots=True)
class Church:
    """One church in the simulator and the tokens to reach it with."""

    id: str
    admin_id: str
    tokens: tuple[str, ...]
    """The administrator's, each of a grant of its own."""
    viewer_token: str
    secret: tuple[str, str]
    """The administrator's personal access token: another client of the same user."""


SMALL: Final = (
    Somebody("Adam", "Admin", email="adam@example.org", permissions="Manager"),
    Somebody("Vera", "Viewer", email="vera@example.org", permissions="Viewer"),
    Somebody("Alan", "Abbot", email="alan@example.org", phone="(212) 555-0101", street="1 Elm St"),
    Somebody("Amy", "Abbot", email="amy@example.org", phone="(212) 555-0102", street="1 Elm St"),
    Somebody("Abel", "Abbot", child=True),
    Somebody("Bruno", "Baker", email="bruno@example.org", phone="(212) 555-0104", street="2 Elm St"),
    Somebody("Bea", "Baker", child=True),
    Somebody("Carl", "Clark", email="carl@example.org", phone="(212) 555-0106"),
    Somebody("Cora", "Clark", email="cora@example.org", phone="(212) 555-0107"),
    Somebody("Dora", "Dean", email="dora@example.org", phone="(212) 555-0108"),
    Somebody("Dan", "Dean", child=True),
    Somebody("Lee", "Lane", email="lee@example.org"),
    Somebody("Max", "Moor", email="max@example.org", phone="(212) 555-0111"),
    Somebody("Ned", "Nash", email="ned@example.org"),
)
HOUSEHOLDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Abbot Household": ("Alan", "Amy", "Abel"),
    "Baker Household": ("Bruno", "Bea"),
    "Clark Household": ("Carl", "Cora"),
    "Dean Household": ("Dora", "Dan"),
}


@dataclass(slots=True)
class _Ids:
    last: dict[str, int] = field(default_factory=dict)

    def next(self, type_: str) -> int:
        start = {"Person": 1000, "Email": 2000, "PhoneNumber": 3000, "Address": 4000, "Household": 5000}
        self.last[type_] = self.last.get(type_, start.get(type_, 6000)) + 1
        return self.last[type_]


def rows_of(people: Sequence[Somebody] = SMALL, households: Mapping[str, tuple[str, ...]] = HOUSEHOLDS) -> Rows:
    """The church as the simulator stores it."""
    ids, rows, numbers = _Ids(), Rows(), dict[str, int]()
    stamps = {"created_at": _LONG_AGO, "updated_at": _LONG_AGO}

    def add(type_: str, **attributes: Any) -> int:
        number = ids.next(type_)
        kept = {name: value for name, value in attributes.items() if value not in {None, False}}
        rows.setdefault(type_, []).append((number, kept))
        return number

    for one in people:
        number = numbers[one.first_name] = add(
            "Person",
            first_name=one.first_name,
            last_name=one.last_name,
            child=one.child,
            people_permissions=one.permissions,
            site_administrator=one.permissions == "Manager",
            **stamps,
        )
        contact = {"person_id": number, "primary": True, **stamps}
        if one.email:
            add("Email", address=one.email, location="Home", **contact)
        if one.phone:
            digits = "+1" + "".join(filter(str.isdigit, one.phone))
            add("PhoneNumber", number=one.phone, e164=digits, country_code="US", location="Mobile", **contact)
        if one.street:
            add("Address", street_line_1=one.street, city="Ashford", country_code="US", location="Home", **contact)
    for name, members in households.items():
        household = add("Household", name=name, primary_contact_id=numbers[members[0]], **stamps)
        for member in members:
            add("HouseholdMembership", household_id=household, person_id=numbers[member])
    return rows


def rows_of_many(people: int) -> Rows:
    """A church with that many people, twenty families among them."""
    others = [
        Somebody(f"First{number}", f"Last{number // 2}", email=f"p{number}@example.org" if number % 3 else None)
        for number in range(people - len(SMALL))
    ]
    pairs = {f"Pair {number}": (f"First{2 * number}", f"First{2 * number + 1}") for number in range(20)}
    return rows_of([*SMALL, *others], pairs)


def rows_of_dump(dump: Sequence[Mapping[str, Any]]) -> Rows:
    """A church dumped by the control API, for copies."""
    rows = Rows()
    for row in dump:
        if row["type"] != "Organization":
            rows.setdefault(row["type"], []).append((int(row["id"]), row["attributes"]))
    return rows


def write_state(state: Path, rows: Sequence[Rows]) -> list[Church]:
    """Write a church for each of these rows into `state`, for `arguments_of`."""
    state.mkdir(parents=True, exist_ok=True)
    world = World(Clock(), _store(state))
    churches = [_install(world, number, of_church) for number, of_church in enumerate(rows)]
    world.store.put("world", "shape", {"format": FORMAT, "people": _PEOPLE, "seed": SEED, "churches": len(rows)})
    world.store.commit()
    tokens = TokenStore(state, world, SEED)
    client = Client(derived(SEED, "oauth-client"), "secret", ["http://127.0.0.1:1/"], "Example application")
    tokens.register_client(client)
    made = []
    for organization, logins in churches:
        admin = next(login for login in logins if login.people_permissions == "Manager")
        viewer = next(login for login in logins if login.people_permissions == "Viewer")
        secret = next(
            (token.id, token.secret)
            for token in tokens.personal_access_tokens.values()
            if (token.organization_id, token.person_id) == (organization.id, admin.person_id)
        )
        made.append(
            Church(
                organization.id,
                admin.person_id,
                tuple(_token(tokens, client, admin) for _ in range(2)),
                _token(tokens, client, viewer),
                secret,
            )
        )
    tokens.close()
    world.close()
    return made


def arguments_of(state: Path, copies: int) -> dict[str, Any]:
    """For `SimulatorProcess`."""
    return {"state": state, "people": _PEOPLE, "seed": SEED, "churches": copies}


def _store(state: Path) -> Any:
    from pco_simulator.storage import Store  # noqa: PLC0415

    return Store(state / "world.sqlite3")


def _install(world: World, number: int, rows: Rows) -> tuple[Organization, list[Login]]:
    organization = Organization(
        id=str(700_000 + number),
        name=f"Church {number}",
        subdomain=f"church{number}",
        time_zone="America/New_York",
        country_code="US",
        date_format="%m/%d/%Y",
        created_at=_LONG_AGO,
    )
    logins = [
        Login(
            organization_id=organization.id,
            person_id=str(id_),
            name=f"{attributes['first_name']} {attributes['last_name']}",
            first_name=attributes["first_name"],
            last_name=attributes["last_name"],
            email=f"{attributes['first_name'].lower()}@example.org",
            people_permissions=attributes["people_permissions"],
            organization_administrator=attributes["people_permissions"] == "Manager",
            products=frozenset({"people"}),
        )
        for id_, attributes in rows["Person"]
        if attributes.get("people_permissions")
    ]
    install(world, organization, rows, logins)
    return organization, logins


def _token(tokens: TokenStore, client: Client, login: Login) -> str:
    code = tokens.consent(
        client,
        login,
        {"people"},
        redirect_uri=client.redirect_uris[0],
        lifetime=60,
        code_challenge=None,
        nonce=None,
        ends_earlier=False,
    )
    tokens.use_code(code)
    grant = tokens.grants[code.grant_id]
    access, _ = tokens.issue(grant, access_seconds=7200, refresh_seconds=7200)
    return access.id
