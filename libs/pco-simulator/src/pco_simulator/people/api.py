"""Planning Center People v2, served from a `World`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import orjson

from pco_simulator.exchange import ApiRequest, ApiResponse, Caller
from pco_simulator.jsonapi import (
    Condition,
    Query,
    Refused,
    condition_of,
    forbidden,
    html_not_found,
    not_assignable,
    not_found,
    parse_write,
    resolve_version,
    select,
    stamp,
    unauthorized,
)
from pco_simulator.people import rules
from pco_simulator.people.catalog import COLLECTIONS, CONTACTS
from pco_simulator.people.contacts import COUNTRIES
from pco_simulator.people.custom_fields import FIELD_DATUM, FIELD_DEFINITION
from pco_simulator.people.households import HOUSEHOLD, HOUSEHOLD_MEMBERSHIP, households_of, members
from pco_simulator.people.kind import ROOT, VERSIONS, Context, Kind
from pco_simulator.people.organization import ORGANIZATION
from pco_simulator.people.person import PERSON, TO_ONE
from pco_simulator.people.references import EMPTY_OF_PERSON, NOTHING, PERSON_MERGER, REFERENCES
from pco_simulator.people.render import INCLUDES, collection, organization_row, single
from pco_simulator.rows import Order, Row, View, parse_id
from pco_simulator.world import Change, Login, World

_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
_MAY_READ = ("Viewer", "Editor", "Manager")
_MAY_WRITE = ("Editor", "Manager")
_REMEMBERED_SELECTIONS = 64


def handle(world: World, request: ApiRequest) -> ApiResponse:
    """Answer one `/people/v2/...` call. The caller's token and scope were checked before; the permission of the
    person is checked here: at least Viewer to read, Editor to write (planningcenter/developers#113, #442)."""
    try:
        version = resolve_version(request.version, world.default_version, VERSIONS)
    except Refused as refused:
        return refused.response()
    try:
        response = _Call(world, request, version).answer()
    except Refused as refused:
        response = refused.response()
    response.headers["X-PCO-API-Processed-As-Version"] = version
    return response


def is_open_to(world: World, caller: Caller) -> bool:
    """Whether the person has access to People."""
    login = world.login(caller.organization_id, caller.person_id)
    return login is not None and _permits(login, _MAY_READ)


def _permits(login: Login, permissions: tuple[str, ...]) -> bool:
    # An organization administrator needs no permission in People (recorded 2019: such a person reads and writes
    # with `people_permissions` null).
    permitted = login.organization_administrator or login.people_permissions in permissions
    return "people" in login.products and permitted


@dataclass(frozen=True, slots=True)
class _Parent:
    """The record that a nested collection belongs to."""

    type: str
    id: str
    path: str
    """Path of the collection below the root."""


class _Call:
    """One request while it is being answered."""

    def __init__(self, world: World, request: ApiRequest, version: str) -> None:
        self.world = world
        self.request = request
        self.version = version
        self.organization_id = request.caller.organization_id
        self.query = Query.parse(request.query)
        self.protects = False
        """Whether the caller may not edit administrators."""
        self.nursery: View | None = None
        """People that single reads can find; a person outside this view is too new."""

    def answer(self) -> ApiResponse:
        request = self.request
        if request.method not in _METHODS:
            return html_not_found()
        login = self.world.login(self.organization_id, request.caller.person_id)
        if login is None:
            raise unauthorized()
        if not _permits(login, _MAY_READ if request.method in ("GET", "HEAD") else _MAY_WRITE):
            raise forbidden()
        segments = [part for part in request.path.removeprefix(ROOT).split("/") if part]
        if request.method in ("GET", "HEAD"):
            return self._read(segments, login)
        self.protects = not login.organization_administrator
        return self._write(segments)

    # -- reads -----------------------------------------------------------------------------------------------

    def _context(self, lag_ms: int = 0) -> Context:
        lag = self.world.lag
        further = lag.draw(lag.includes_ms)
        return Context(
            view=self.world.view(self.organization_id, lag_ms),
            behind=self.world.view(self.organization_id, lag_ms + further) if further else None,
            relationships_behind=lag.relationships_too,
            version=self.version,
            root=self.request.base_url + ROOT,
            fields=self.query.fields,
            organization_id=int(self.organization_id),
        )

    def _read(self, segments: list[str], login: Login) -> ApiResponse:
        lag = self.world.lag
        behind = lag.draw(lag.singles_ms) + (lag.draw(lag.mergers_ms) if segments[:1] == ["person_mergers"] else 0)
        context = self._context(behind)
        created = lag.draw(lag.created_ms)
        if created:
            self.nursery = self.world.view(self.organization_id, behind + created)
        match segments:
            case []:
                return self._single(context, ORGANIZATION, organization_row(context))
            case ["me"]:
                return self._single(context, PERSON, self._row(context, "Person", login.person_id))
            case [name] if name in COLLECTIONS:
                return self._list(COLLECTIONS[name], None, None)
            case [name, id_] if name in COLLECTIONS:
                kind = COLLECTIONS[name]
                return self._single(context, kind, self._row(context, kind.type, id_))
            case ["people", id_, *rest]:
                return self._of_person(context, self._row(context, "Person", id_), rest)
            case ["households", id_, *rest]:
                return self._of_household(context, self._row(context, "Household", id_), rest)
            case ["emails" | "field_data" as name, id_, "person"]:
                child = self._row(context, COLLECTIONS[name].type, id_)
                return self._single(context, PERSON, self._row(context, "Person", str(child.attrs["person_id"])))
            case ["addresses", id_, "country"]:
                return self._country(context, self._row(context, "Address", id_))
            case ["field_data" | "field_definitions" | "tabs" as name, id_, edge, *rest] if len(rest) < 2:
                kind = COLLECTIONS[name]
                return self._of_field(context, kind, self._row(context, kind.type, id_), edge, rest)
        raise not_found()

    def _of_person(self, context: Context, person: Row, rest: list[str]) -> ApiResponse:
        parent = _Parent("Person", str(person.id), f"/people/{person.id}/{rest[0]}")
        match rest:
            case ["organization"]:
                row = organization_row(context)
                url = f"{context.root}/people/{person.id}/organization"
                return self._single(context, ORGANIZATION, row, parent, url)
            case [name] if name in TO_ONE:
                type_, kind_name = TO_ONE[name]
                row_or_none = context.view.get(type_, person.attrs.get(f"{name}_id"))
                if row_or_none is None:
                    raise not_found()
                return self._single(context, REFERENCES[kind_name], row_or_none, parent)
            case [name] if name in EMPTY_OF_PERSON:
                return self._list(NOTHING, parent, lambda _context: [])
            case [name] if name in _OF_PERSON:
                kind, related = _OF_PERSON[name]
                return self._list(kind, parent, lambda context: related(context, person))
            case [name, id_] if name in _OF_PERSON:
                kind, related = _OF_PERSON[name]
                return self._single(context, kind, _among(related(context, person), id_), parent)
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
        kind, many, related = INCLUDES[above.type][edge]
        parent = _Parent(above.type, str(row.id), f"{above.self_path(row)}/{edge}")
        if many and not rest:
            can_filter = ("with_deleted",) if kind is FIELD_DEFINITION else None
            return self._list(kind, parent, lambda context: related(context, row), can_filter=can_filter)
        if many:
            return self._single(context, kind, _among(related(context, row), rest[0]), parent)
        found = related(context, row)
        if rest or not found:
            raise not_found()
        return self._single(context, kind, found[0], parent)

    def _of_household(self, context: Context, household: Row, rest: list[str]) -> ApiResponse:
        parent = _Parent("Household", str(household.id), f"/households/{household.id}/{rest[0]}")
        match rest:
            case ["people"]:
                return self._list(
                    PERSON,
                    parent,
                    lambda context: self._members(context, household),
                    can_filter=("without_deceased", "non_pending"),
                )
            case ["people", id_]:
                return self._single(context, PERSON, _among(members(context.view, household), id_), parent)
            case ["household_memberships"]:
                return self._list(HOUSEHOLD_MEMBERSHIP, parent, lambda context: _memberships(context, household))
            case ["household_memberships", id_, *deeper]:
                membership = _among(_memberships(context, household), id_)
                if not deeper:
                    return self._single(context, HOUSEHOLD_MEMBERSHIP, membership, parent)
                if deeper == ["household"]:
                    return self._single(context, HOUSEHOLD, household)
                if deeper == ["person"]:
                    person = self._row(context, "Person", str(membership.attrs["person_id"]))
                    return self._single(context, PERSON, person)
        raise not_found()

    def _members(self, context: Context, household: Row) -> list[Row]:
        people = members(context.view, household)
        if "non_pending" in self.query.filters:
            pending = {row.attrs["person_id"] for row in _memberships(context, household) if row.get("pending")}
            people = [person for person in people if person.id not in pending]
        if "without_deceased" in self.query.filters:
            people = [person for person in people if not _is_deceased(context, person)]
        return people

    def _row(self, context: Context, type_: str, id_: str) -> Row:
        row = context.view.get(type_, parse_id(id_))
        if row is None or (type_ == "Person" and self.nursery and self.nursery.get(type_, row.id) is None):
            raise not_found()
        return row

    def _single(
        self,
        context: Context,
        kind: Kind,
        row: Row,
        parent: _Parent | None = None,
        self_url: str | None = None,
        status: int = 200,
    ) -> ApiResponse:
        above = (parent.type, parent.id) if parent else ("Organization", self.organization_id)
        return ApiResponse(status, single(kind, context, self.query, row, parent=above, self_url=self_url))

    def _list(
        self,
        kind: Kind,
        parent: _Parent | None,
        related: Callable[[Context], Sequence[Row]] | None,
        can_filter: tuple[str, ...] | None = None,
    ) -> ApiResponse:
        query, lag = self.query, self.world.lag
        filtered = bool(query.where or query.filters)
        behind = lag.draw(lag.filters_ms if filtered else lag.lists_ms)
        if kind is PERSON_MERGER:
            behind += lag.draw(lag.mergers_ms)
        context = self._context(behind)
        conditions = self._conditions(kind)
        can_order = kind.can_order(self.version)
        order = tuple((name, descending) for name, descending in query.order if name in can_order)
        if related is not None:
            ids = select(context.view, kind.source, conditions, order, related(context))
        else:
            ids = self._selected(context, kind, conditions, order)
        page = ids[query.offset : query.offset + query.per_page]
        rows = [row for id_ in page if (row := context.view.get(kind.type, id_)) is not None]
        body = collection(
            kind,
            context,
            query,
            rows,
            url=self.request.base_url + self.request.path.rstrip("/"),
            total=len(ids),
            parent=(parent.type, parent.id) if parent else ("Organization", self.organization_id),
            can_filter=kind.can_filter if can_filter is None else can_filter,
        )
        return ApiResponse(200, body)

    def _conditions(self, kind: Kind) -> tuple[Condition, ...]:
        can_query = kind.can_query(self.version)
        zone = self.world.church(self.organization_id).organization.zone
        found: list[Condition] = []
        for name, op, text in self.query.where:
            if name not in can_query:
                continue
            if name in kind.source.searches:
                if op is None:
                    found.append(Condition(name, "search", text))
                continue
            if name == "gender" and self.version < "2022-07-14":
                text = {"M": "Male", "F": "Female"}.get(text.upper(), "%never%")  # noqa: PLW2901
            found.extend(condition_of(name, op, text, kind.source.kinds[name], zone))
        if kind is FIELD_DEFINITION and not {"include_deleted", "with_deleted"}.intersection(self.query.filters):
            found.append(Condition("deleted_at", "absent"))
        if kind is PERSON:
            if "organization_admins" in self.query.filters:
                found.append(Condition("site_administrator", "eq", True))
            if "admins" in self.query.filters:
                found.append(Condition("people_permissions", "present"))
            if "created_since" in self.query.filters:
                found.extend(self._created_since(zone))
        return tuple(found)

    def _created_since(self, zone: ZoneInfo) -> list[Condition]:
        """Mergers of the last 24 hours, or since the parameter `time` (vendor documentation graph); that the bound is
        inclusive is unconfirmed."""
        since = dict(self.query.pairs).get("time") or stamp(self.request.now - timedelta(days=1))
        return condition_of("created_at", "gte", since, "date_time", zone)

    def _selected(self, context: Context, kind: Kind, conditions: tuple[Condition, ...], order: Order) -> Sequence[int]:
        church = self.world.church(self.organization_id)
        indexed = not conditions and not any(name in kind.source.derived for name, _ in order)
        if indexed or not context.view.current:
            return select(context.view, kind.source, conditions, order, None)
        key = (kind.type, conditions, order)
        kept = church.selections.get(key)
        if kept is not None and kept[0] == church.version:
            return kept[1]
        ids = select(context.view, kind.source, conditions, order, None)
        if len(church.selections) >= _REMEMBERED_SELECTIONS:
            del church.selections[next(iter(church.selections))]
        church.selections[key] = (church.version, ids)
        return ids

    # -- writes ----------------------------------------------------------------------------------------------

    def _write(self, segments: list[str]) -> ApiResponse:
        method = self.request.method
        if method == "POST":
            return self._create(segments)
        target = self._target(segments)
        if target is None:
            return html_not_found()
        kind, row = target
        if method == "DELETE":
            self._guard(kind, row)
            with self._change() as change:
                rules.delete(change, kind.type, row)
            return ApiResponse(204, b"", "")
        attributes, relationships = parse_write(self.request.body)
        self._guard(kind, row, (*attributes, *relationships))
        with self._change() as change:
            changed = rules.update(change, kind.type, row, attributes, relationships, self.version)
        return self._single(self._context(), kind, changed)

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
            person = self._context().view.get("Person", row.attrs["person_id"])
        if person is None or not (person.get("site_administrator") or person.get("accounting_administrator")):
            return
        if style == "422" or (style == "reported" and kind is PERSON and named):
            raise not_assignable(named, kind.type)
        raise forbidden()

    def _target(self, segments: list[str]) -> tuple[Kind, Row] | None:
        """The row that a PATCH or DELETE names; None for a path without that method."""
        context = self._context()
        match segments:
            case [name, id_] if name in COLLECTIONS:
                kind = COLLECTIONS[name]
                return kind, self._row(context, kind.type, id_)
            case ["people", id_, name, child] if name in _OF_PERSON:
                kind, related = _OF_PERSON[name]
                return kind, _among(related(context, self._row(context, "Person", id_)), child)
            case ["households", id_, "household_memberships", child]:
                household = self._row(context, "Household", id_)
                return HOUSEHOLD_MEMBERSHIP, _among(_memberships(context, household), child)
        return None

    def _create(self, segments: list[str]) -> ApiResponse:
        context = self._context()
        match segments:
            case ["people"]:
                attributes, relationships = parse_write(self.request.body)
                with self._change() as change:
                    row = rules.create_person(change, attributes, relationships, self.version)
                return self._single(self._context(), PERSON, row, status=201)
            case ["households"]:
                attributes, relationships = parse_write(self.request.body)
                with self._change() as change:
                    row = rules.create_household(change, attributes, relationships)
                return self._single(self._context(), HOUSEHOLD, row, status=201)
            case ["people", id_, name] if name in CONTACTS:
                return self._create_contact(CONTACTS[name], self._row(context, "Person", id_))
            case ["people", id_, "field_data"]:
                person = self._row(context, "Person", id_)
                attributes, relationships = parse_write(self.request.body)
                self._guard(FIELD_DATUM, Row(0, {"person_id": person.id}), (*attributes, *relationships))
                with self._change() as change:
                    row = rules.create_field_datum(change, person, attributes, relationships)
                return self._single(self._context(), FIELD_DATUM, row, _Parent("Person", id_, ""), status=201)
            case ["households", id_, "household_memberships"]:
                household = self._row(context, "Household", id_)
                attributes, relationships = parse_write(self.request.body)
                with self._change() as change:
                    row = rules.create_membership(change, household, attributes, relationships)
                parent = _Parent("Household", id_, "")
                return self._single(self._context(), HOUSEHOLD_MEMBERSHIP, row, parent, status=201)
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
        with self._change() as change:
            row = rules.create_contact(change, kind.type, person, attributes, relationships, self.version)
        shown = row
        if row.get("primary") and not attributes.get("primary"):
            # The first contact becomes primary after the answer is rendered: the webhook of that moment has
            # `primary` false and a later GET true (planningcenter/developers#1181). False in the answer to the
            # POST is unconfirmed.
            shown = Row(row.id, {**row.attrs, "primary": False})
        parent = _Parent("Person", str(person.id), "")
        return self._single(self._context(), kind, shown, parent, status=201)

    def _change(self) -> AbstractContextManager[Change]:
        return self.world.change(self.organization_id, f"api:{self.request.caller.client_id}")


def _among(rows: Sequence[Row], id_: str) -> Row:
    for row in rows:
        if str(row.id) == id_:
            return row
    raise not_found()


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
