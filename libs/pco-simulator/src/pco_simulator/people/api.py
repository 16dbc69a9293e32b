"""Planning Center People v2, served from a `World`."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import orjson

from pco_simulator.exchange import ApiRequest, ApiResponse, Caller
from pco_simulator.jsonapi import (
    Condition,
    condition_of,
    forbidden,
    html_not_found,
    not_assignable,
    not_found,
    parse_write,
    stamp,
)
from pco_simulator.kind import NOTHING, Context, Kind, organization_row
from pco_simulator.people import rules
from pco_simulator.people.catalog import COLLECTIONS, CONTACTS
from pco_simulator.people.contacts import COUNTRIES
from pco_simulator.people.custom_fields import FIELD_DATUM, FIELD_DEFINITION
from pco_simulator.people.households import HOUSEHOLD, HOUSEHOLD_MEMBERSHIP, households_of, members
from pco_simulator.people.kind import INCLUDED_WHEN_FILLED, ROOT, VERSIONS
from pco_simulator.people.organization import ORGANIZATION
from pco_simulator.people.person import PERSON, TO_ONE
from pco_simulator.people.references import EMPTY_OF_PERSON, PERSON_MERGER, REFERENCES
from pco_simulator.people.render import INCLUDES
from pco_simulator.product import Call, Parent, among
from pco_simulator.rows import Row
from pco_simulator.world import Login, World

_MAY_READ = ("Viewer", "Editor", "Manager")
_MAY_WRITE = ("Editor", "Manager")


def handle(world: World, request: ApiRequest) -> ApiResponse:
    """Answer one `/people/v2/...` call. The permission of the person: at least Viewer to read, Editor to write
    (planningcenter/developers#113, #442)."""
    return _Call.serve(world, request, world.default_version)


def is_open_to(world: World, caller: Caller) -> bool:
    """Whether the person has access to People."""
    login = world.login(caller.organization_id, caller.person_id)
    return login is not None and _permits(login, _MAY_READ)


def _permits(login: Login, permissions: tuple[str, ...]) -> bool:
    # An organization administrator needs no permission in People (recorded 2019: such a person reads and writes
    # with `people_permissions` null).
    permitted = login.organization_administrator or login.people_permissions in permissions
    return "people" in login.products and permitted


class _Call(Call):
    versions = VERSIONS
    root_path = ROOT
    includes = INCLUDES
    included_when_filled = INCLUDED_WHEN_FILLED
    slow_to_appear = frozenset({"Person"})

    def __init__(self, world: World, request: ApiRequest, version: str) -> None:
        super().__init__(world, request, version)
        self.protects = False
        """Whether the caller may not edit administrators."""

    def permits(self, login: Login, *, writing: bool) -> bool:
        return _permits(login, _MAY_WRITE if writing else _MAY_READ)

    # -- reads -----------------------------------------------------------------------------------------------

    def read(self, segments: list[str], login: Login) -> ApiResponse:
        merging = (self.world.lag.mergers_ms,) if segments[:1] == ["person_mergers"] else ()
        context = self.context_of_single(*merging)
        match segments:
            case []:
                return self.single(context, ORGANIZATION, organization_row(context))
            case ["me"]:
                return self.single(context, PERSON, self.row(context, "Person", login.person_id))
            case [name] if name in COLLECTIONS:
                return self.page(COLLECTIONS[name])
            case [name, id_] if name in COLLECTIONS:
                kind = COLLECTIONS[name]
                return self.single(context, kind, self.row(context, kind.type, id_))
            case ["people", id_, *rest]:
                return self._of_person(context, self.row(context, "Person", id_), rest)
            case ["households", id_, *rest]:
                return self._of_household(context, self.row(context, "Household", id_), rest)
            case ["emails" | "field_data" as name, id_, "person"]:
                child = self.row(context, COLLECTIONS[name].type, id_)
                return self.single(context, PERSON, self.row(context, "Person", str(child.attrs["person_id"])))
            case ["addresses", id_, "country"]:
                return self._country(context, self.row(context, "Address", id_))
            case ["field_data" | "field_definitions" | "tabs" as name, id_, edge, *rest] if len(rest) < 2:
                kind = COLLECTIONS[name]
                return self._of_field(context, kind, self.row(context, kind.type, id_), edge, rest)
        raise not_found()

    def _of_person(self, context: Context, person: Row, rest: list[str]) -> ApiResponse:
        parent = Parent("Person", str(person.id))
        match rest:
            case ["organization"]:
                row = organization_row(context)
                url = f"{context.root}/people/{person.id}/organization"
                return self.single(context, ORGANIZATION, row, parent, url)
            case [name] if name in TO_ONE:
                type_, kind_name = TO_ONE[name]
                row_or_none = context.view.get(type_, person.attrs.get(f"{name}_id"))
                if row_or_none is None:
                    raise not_found()
                return self.single(context, REFERENCES[kind_name], row_or_none, parent)
            case [name] if name in EMPTY_OF_PERSON:
                return self.page(NOTHING, parent, lambda _context: [])
            case [name] if name in _OF_PERSON:
                kind, related = _OF_PERSON[name]
                return self.page(kind, parent, lambda context: related(context, person))
            case [name, id_] if name in _OF_PERSON:
                kind, related = _OF_PERSON[name]
                return self.single(context, kind, among(kind, related(context, person), id_), parent)
        raise not_found()

    def _country(self, context: Context, address: Row) -> ApiResponse:
        """The target of an address's `links.country`; 404 without a country. The type `Country` is unconfirmed."""
        code = address.attrs.get("country_code")
        if code not in COUNTRIES:
            raise not_found()
        url = f"{context.root}/addresses/{address.id}/country"
        data = {"type": "Country", "id": code, "attributes": {"name": COUNTRIES[code]}, "links": {"self": url}}
        return ApiResponse(200, orjson.dumps({"data": data, "meta": {}}))

    def _of_field(self, context: Context, above: Kind, row: Row, edge: str, rest: list[str]) -> ApiResponse:
        """Collections below a custom field, its tab or one of its values."""
        if edge not in above.can_include:
            raise not_found()
        found = INCLUDES[above.type][edge]
        can_filter = ("with_deleted",) if found.kind is FIELD_DEFINITION else None
        return self.below(context, above, row, found, rest, can_filter)

    def _of_household(self, context: Context, household: Row, rest: list[str]) -> ApiResponse:
        parent = Parent("Household", str(household.id))
        match rest:
            case ["people"]:
                return self.page(
                    PERSON,
                    parent,
                    lambda context: self._members(context, household),
                    can_filter=("without_deceased", "non_pending"),
                )
            case ["people", id_]:
                return self.single(context, PERSON, among(PERSON, members(context.view, household), id_), parent)
            case ["household_memberships"]:
                return self.page(HOUSEHOLD_MEMBERSHIP, parent, lambda context: _memberships(context, household))
            case ["household_memberships", id_, *deeper]:
                membership = among(HOUSEHOLD_MEMBERSHIP, _memberships(context, household), id_)
                if not deeper:
                    return self.single(context, HOUSEHOLD_MEMBERSHIP, membership, parent)
                if deeper == ["household"]:
                    return self.single(context, HOUSEHOLD, household)
                if deeper == ["person"]:
                    person = self.row(context, "Person", str(membership.attrs["person_id"]))
                    return self.single(context, PERSON, person)
        raise not_found()

    def _members(self, context: Context, household: Row) -> list[Row]:
        people = members(context.view, household)
        if "non_pending" in self.query.filters:
            pending = {row.attrs["person_id"] for row in _memberships(context, household) if row.get("pending")}
            people = [person for person in people if person.id not in pending]
        if "without_deceased" in self.query.filters:
            people = [person for person in people if not _is_deceased(context, person)]
        return people

    def further_lag(self, kind: Kind) -> int:
        lag = self.world.lag
        return lag.draw(lag.mergers_ms) if kind is PERSON_MERGER else 0

    def text_of(self, name: str, text: str) -> str:
        if name == "gender" and self.version < "2022-07-14":
            return {"M": "Male", "F": "Female"}.get(text.upper(), "%never%")
        return text

    def filtered(self, kind: Kind) -> list[Condition]:
        found: list[Condition] = []
        if kind is FIELD_DEFINITION and not {"include_deleted", "with_deleted"}.intersection(self.query.filters):
            found.append(Condition("deleted_at", "absent"))
        if kind is PERSON:
            if "organization_admins" in self.query.filters:
                found.append(Condition("site_administrator", "eq", True))
            if "admins" in self.query.filters:
                found.append(Condition("people_permissions", "present"))
            if "created_since" in self.query.filters:
                found.extend(self._created_since(self.world.church(self.organization_id).organization.zone))
        return found

    def _created_since(self, zone: ZoneInfo) -> list[Condition]:
        """Mergers of the last 24 hours, or since the parameter `time` (vendor documentation graph); that the bound is
        inclusive is unconfirmed."""
        since = dict(self.query.pairs).get("time") or stamp(self.request.now - timedelta(days=1))
        return condition_of("created_at", "gte", since, "date_time", zone)

    # -- writes ----------------------------------------------------------------------------------------------

    def write(self, segments: list[str], login: Login) -> ApiResponse:
        self.protects = not login.organization_administrator
        method = self.request.method
        if method == "POST":
            return self._create(segments)
        target = self._target(segments)
        if target is None:
            return html_not_found()
        kind, row = target
        if method == "DELETE":
            self._guard(kind, row)
            with self.change() as change:
                rules.delete(change, kind.type, row)
            return ApiResponse(204, b"", "")
        attributes, relationships = parse_write(self.request.body)
        self._guard(kind, row, (*attributes, *relationships))
        with self.change() as change:
            changed = rules.update(change, kind.type, row, attributes, relationships, self.version)
        return self.single(self.context(), kind, changed)

    def _guard(self, kind: Kind, row: Row, named: Sequence[str] = ()) -> None:
        """Only an organization administrator edits Organization and Accounting Administrators: an editor who could
        change their contacts could take over the account (planningcenter/developers#1139).

        That issue reports the 422 for a PATCH of the person. The 403 for contacts, deletions and custom fields is
        unconfirmed; household memberships are not protected.
        """
        style = self.world.administrator_refusal
        if not self.protects or style == "off":
            return
        person = row if kind is PERSON else None
        if kind in CONTACTS.values() or kind is FIELD_DATUM:
            person = self.context().view.get("Person", row.attrs["person_id"])
        if person is None or not (person.get("site_administrator") or person.get("accounting_administrator")):
            return
        if style == "422" or (style == "reported" and kind is PERSON and named):
            raise not_assignable(named, kind.type)
        raise forbidden()

    def _target(self, segments: list[str]) -> tuple[Kind, Row] | None:
        """The row that a PATCH or DELETE names; None for a path without that method."""
        context = self.context()
        match segments:
            case [name, id_] if name in COLLECTIONS:
                kind = COLLECTIONS[name]
                return kind, self.row(context, kind.type, id_)
            case ["people", id_, name, child] if name in _OF_PERSON:
                kind, related = _OF_PERSON[name]
                return kind, among(kind, related(context, self.row(context, "Person", id_)), child)
            case ["households", id_, "household_memberships", child]:
                household = self.row(context, "Household", id_)
                return HOUSEHOLD_MEMBERSHIP, among(HOUSEHOLD_MEMBERSHIP, _memberships(context, household), child)
        return None

    def _create(self, segments: list[str]) -> ApiResponse:
        context = self.context()
        match segments:
            case ["people"]:
                attributes, relationships = parse_write(self.request.body)
                with self.change() as change:
                    row = rules.create_person(change, attributes, relationships, self.version)
                return self.single(self.context(), PERSON, row, status=201)
            case ["households"]:
                attributes, relationships = parse_write(self.request.body)
                with self.change() as change:
                    row = rules.create_household(change, attributes, relationships)
                return self.single(self.context(), HOUSEHOLD, row, status=201)
            case ["people", id_, name] if name in CONTACTS:
                return self._create_contact(CONTACTS[name], self.row(context, "Person", id_))
            case ["people", id_, "field_data"]:
                person = self.row(context, "Person", id_)
                attributes, relationships = parse_write(self.request.body)
                self._guard(FIELD_DATUM, Row(0, {"person_id": person.id}), (*attributes, *relationships))
                with self.change() as change:
                    row = rules.create_field_datum(change, person, attributes, relationships)
                return self.single(self.context(), FIELD_DATUM, row, Parent("Person", id_), status=201)
            case ["households", id_, "household_memberships"]:
                household = self.row(context, "Household", id_)
                attributes, relationships = parse_write(self.request.body)
                with self.change() as change:
                    row = rules.create_membership(change, household, attributes, relationships)
                parent = Parent("Household", id_)
                return self.single(self.context(), HOUSEHOLD_MEMBERSHIP, row, parent, status=201)
            case ["people", _, "notes"]:
                # A note needs a category, and no seeded church has one (planningcenter/developers#1209).
                raise not_found()
            case [name, *rest] if name not in COLLECTIONS or len(rest) > 2:
                raise not_found()
            case [_, _]:
                return html_not_found()
        # The path exists but cannot create (planningcenter/developers#512: POST /field_data).
        raise forbidden()

    def _create_contact(self, kind: Kind, person: Row) -> ApiResponse:
        attributes, relationships = parse_write(self.request.body)
        self._guard(kind, Row(0, {"person_id": person.id}), (*attributes, *relationships))
        with self.change() as change:
            row = rules.create_contact(change, kind.type, person, attributes, relationships, self.version)
        shown = row
        if row.get("primary") and not attributes.get("primary"):
            # The first contact becomes primary after the answer is rendered: the webhook of that moment has
            # `primary` false and a later GET true (planningcenter/developers#1181). False in the answer to the
            # POST is unconfirmed.
            shown = Row(row.id, {**row.attrs, "primary": False})
        parent = Parent("Person", str(person.id))
        return self.single(self.context(), kind, shown, parent, status=201)


def _is_deceased(context: Context, person: Row) -> bool:
    """Whether the inactive reason says so; how the vendor decides is unconfirmed."""
    reason = context.view.get("InactiveReason", person.attrs.get("inactive_reason_id"))
    return reason is not None and reason.get("value") == "Deceased"


def _memberships(context: Context, household: Row) -> list[Row]:
    return context.view.children("HouseholdMembership", "household_id", household.id)


def _children(type_: str) -> Callable[[Context, Row], Sequence[Row]]:
    return lambda context, person: context.view.children(type_, "person_id", person.id)


_OF_PERSON: dict[str, tuple[Kind, Callable[[Context, Row], Sequence[Row]]]] = {
    **{name: (kind, _children(kind.type)) for name, kind in CONTACTS.items()},
    "field_data": (FIELD_DATUM, _children("FieldDatum")),
    "household_memberships": (HOUSEHOLD_MEMBERSHIP, _children("HouseholdMembership")),
    "households": (HOUSEHOLD, lambda context, person: households_of(context.view, person)),
}
