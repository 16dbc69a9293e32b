"""Planning Center Calendar v2, served from a `World`."""

from typing import Any

from pco_simulator.calendar import rules
from pco_simulator.calendar.catalog import COLLECTIONS
from pco_simulator.calendar.event import EVENT, STATUS_FILTERS
from pco_simulator.calendar.instance import (
    CONFLICT_FILTERS,
    EVENT_INSTANCE,
    EVENT_TIME,
    ROLE_FILTERS,
)
from pco_simulator.calendar.kind import INCLUDED_WHEN_FILLED, ROOT, VERSIONS
from pco_simulator.calendar.organization import ORGANIZATION
from pco_simulator.calendar.person import PERSON
from pco_simulator.calendar.references import (
    EVENT_CONNECTION,
    RESOURCE,
    RESOURCE_BOOKING,
    TAG,
    TAG_GROUP,
)
from pco_simulator.calendar.render import EDGE_FILTERS, EDGES, INCLUDES
from pco_simulator.exchange import ApiRequest, ApiResponse, Caller
from pco_simulator.jsonapi import NEVER, Condition, forbidden, html_not_found, not_found, parse_write, stamp
from pco_simulator.kind import Context, Kind, organization_row
from pco_simulator.product import Call, among
from pco_simulator.rows import Row
from pco_simulator.world import CALENDAR_ACCESS, CALENDAR_ROLES, Login, World

_MAY_READ = CALENDAR_ROLES[1:]
_MAY_WRITE = CALENDAR_ROLES[2:]
_RESOURCE_KINDS = {"rooms": "Room", "resources": "Resource"}
_WRITABLE = {"tags": TAG, "tag_groups": TAG_GROUP}
_WRITABLE_EVENTS = {"events": EVENT, "event_instances": EVENT_INSTANCE}


def handle(world: World, request: ApiRequest) -> ApiResponse:
    """Answer one `/calendar/v2/...` call. Anybody with a role may read, an Editor or Administrator write (which role
    the vendor asks for is unconfirmed)."""
    return _Call.serve(world, request, world.calendar_default_version)


def is_open_to(world: World, caller: Caller) -> bool:
    """Whether the person has access to Calendar."""
    login = world.login(caller.organization_id, caller.person_id)
    return login is not None and login.calendar_role in _MAY_READ


def _of_bookings(name: str, now: str) -> list[Condition]:
    if name == "future":
        return [Condition("ends_at", "gte", now)]
    if name in STATUS_FILTERS:
        return [Condition("status", "search", STATUS_FILTERS[name])]
    return [Condition("resource_kind", "search", _RESOURCE_KINDS[name])] if name in _RESOURCE_KINDS else []


class _Call(Call):
    versions = VERSIONS
    root_path = ROOT
    includes = INCLUDES
    included_when_filled = INCLUDED_WHEN_FILLED
    slow_to_appear = frozenset({"Event", "EventInstance"})

    def permits(self, login: Login, *, writing: bool) -> bool:
        return login.calendar_role in (_MAY_WRITE if writing else _MAY_READ)

    def hour(self) -> int:
        return int(self.request.now.timestamp()) // 3600

    # -- reads -----------------------------------------------------------------------------------------------

    def read(self, segments: list[str], login: Login) -> ApiResponse:
        context = self.context_of_single()
        match segments:
            case []:
                return self.single(context, ORGANIZATION, organization_row(context))
            case ["me"]:
                return self.single(context, PERSON, self.row(context, "Person", login.person_id))
            case ["people"]:
                return self.page(PERSON, None, self._people)
            case [name] if name in COLLECTIONS:
                return self.page(COLLECTIONS[name])
            case [name, id_] if name in COLLECTIONS:
                kind = COLLECTIONS[name]
                return self.single(context, kind, self._named(context, kind, id_))
            case ["event_instances", id_, "event_times", *rest] if rest:
                instance = self._named(context, EVENT_INSTANCE, id_)
                return self._of_event_time(context, instance, rest)
            case [name, id_, edge, *rest] if name in COLLECTIONS:
                kind = COLLECTIONS[name]
                return self._of(context, kind, self._named(context, kind, id_), edge, rest)
        raise not_found()

    def _named(self, context: Context, kind: Kind, id_: str) -> Row:
        if kind is PERSON:
            person = self.row(context, "Person", id_)
            if person.id not in {each.id for each in self._people(context)}:
                raise not_found()
            return person
        return self.row(context, kind.type, "0" if kind.type == "Calendar" and id_ == "default" else id_)

    def _people(self, context: Context) -> list[Row]:
        """Calendar's people are those with a role in Calendar and the owners of events."""
        view, filters = context.view, self.query.filters
        owners = {row.attrs["owner_id"] for row in view.all("Event") if "owner_id" in row.attrs}
        with_role = {row.id for row in view.all(CALENDAR_ACCESS) if row.attrs["role"] != CALENDAR_ROLES[0]}
        ids = owners if "event_owners" in filters else owners | with_role
        people = [person for id_ in sorted(ids) if (person := view.get("Person", id_)) is not None]
        return [each for each in people if each.get("status") == "active"] if "active" in filters else people

    def _of(self, context: Context, above: Kind, row: Row, edge: str, rest: list[str]) -> ApiResponse:
        found = EDGES.get(above.type, {}).get(edge)
        if found is None:
            raise not_found()
        if not found.many and len(rest) == 1:
            # The vendor's description has `/events/{id}/owner/{id}` as well.
            return self.single(context, found.kind, among(found.kind, found.related(context, row), rest[0]))
        return self.below(context, above, row, found, rest, EDGE_FILTERS.get((above.type, edge)))

    def _of_event_time(self, context: Context, instance: Row, rest: list[str]) -> ApiResponse:
        """Below one event time; the time itself has no address (vendor OpenAPI)."""
        match rest:
            case [id_, "event", *further]:
                times = EDGES["EventInstance"]["event_times"].related(context, instance)
                return self._of(context, EVENT_TIME, among(EVENT_TIME, times, id_), "event", further)
        raise not_found()

    def filtered(self, kind: Kind) -> list[Condition]:
        filters, now = self.query.filters, stamp(self.request.now)
        if kind is EVENT_INSTANCE:
            return [each for name in filters for each in self._of_instances(name, now)]
        if kind is EVENT:
            # Blockouts of rooms are in no list of events, while their instances are in theirs: that the two lists
            # differ was reported (planningcenter/developers#1107), how they do beside events without instances is
            # unconfirmed.
            top = self.request.path.rstrip("/") == f"{ROOT}/events"
            hidden = [Condition("blockout", "absent")] if top else []
            return [*hidden, *([Condition("future", "search", now)] if "future" in filters else [])]
        if kind is TAG and "individual" in filters:
            return [Condition("tag_group_id", "absent")]
        if kind is TAG_GROUP and "required" in filters:
            return [Condition("required", "eq", True)]
        if kind is RESOURCE_BOOKING:
            return [each for name in filters for each in _of_bookings(name, now)]
        if kind is RESOURCE:
            return [Condition("kind", "eq", _RESOURCE_KINDS[name]) for name in filters if name in _RESOURCE_KINDS]
        return []

    def _of_instances(self, name: str, now: str) -> list[Condition]:
        """One filter of instances; several apply together (which of them the vendor combines is unconfirmed)."""
        if name == "future":
            return [Condition("ends_at", "gte", now)]
        if name in STATUS_FILTERS:
            return [Condition("status", "search", STATUS_FILTERS[name])]
        if name == "not_pending_event_requests":
            return [Condition("not_requested", "search", "")]
        if name in ROLE_FILTERS:
            owned = name.startswith("owner")
            return [Condition("owned", "search", self.request.caller.person_id) if owned else NEVER]
        return [NEVER] if name in CONFLICT_FILTERS else []

    # -- writes ----------------------------------------------------------------------------------------------

    @property
    def _events_writable(self) -> bool:
        return self.world.calendar_writes == "writable"

    def write(self, segments: list[str], login: Login) -> ApiResponse:
        if self.request.method == "POST":
            return self._create(segments, login)
        context = self.context()
        match segments:
            case [name, id_] if name in _WRITABLE or (name in _WRITABLE_EVENTS and self._events_writable):
                kind = COLLECTIONS[name]
                return self._rewrite(kind, self._named(context, kind, id_))
            case ["events", event_id, "event_connections", id_]:
                event = self._named(context, EVENT, event_id)
                connections = EDGES["Event"]["event_connections"].related(context, event)
                return self._rewrite(EVENT_CONNECTION, among(EVENT_CONNECTION, connections, id_))
            case ["events" | "event_instances" | "tag_groups" as name, above_id, "tags", id_]:
                kind = COLLECTIONS[name]
                above = self._named(context, kind, above_id)
                # That DELETE below an event deletes the tag itself, as the description reads, is unconfirmed.
                return self._rewrite(TAG, among(TAG, EDGES[kind.type]["tags"].related(context, above), id_))
        # Only GET is routed (vendor OpenAPI); what the vendor answers is unconfirmed, so it is as in People.
        return html_not_found()

    def _rewrite(self, kind: Kind, row: Row) -> ApiResponse:
        if self.request.method == "DELETE":
            with self.change() as change:
                rules.delete(change, kind.type, row)
            return ApiResponse(204, b"", "")
        attributes, relationships = parse_write(self.request.body)
        if kind is EVENT:
            attributes = rules.assigned_event(attributes, relationships)
        elif kind is EVENT_INSTANCE:
            attributes = rules.assigned_instance(attributes, relationships)
        with self.change() as change:
            row = rules.update(change, kind.type, row, attributes)
        return self.single(self.context(), kind, row)

    def _create(self, segments: list[str], login: Login) -> ApiResponse:
        context = self.context()
        match segments:
            case ["events"]:
                return self._create_event(login)
            case ["events", id_, "event_instances"] if self._events_writable:
                return self._create_instance(self._named(context, EVENT, id_))
            case ["events", id_, "event_connections"]:
                event = self._named(context, EVENT, id_)
                with self.change() as change:
                    row = rules.create_connection(change, event, self._attributes())
                return self.single(self.context(), EVENT_CONNECTION, row, status=201)
            case ["tags"]:
                return self._create_tag()
            case ["events" | "event_instances" as name, id_, "tags"]:
                kind = COLLECTIONS[name]
                return self._create_tag(kind, self._named(context, kind, id_))
            case ["tag_groups"]:
                with self.change() as change:
                    row = rules.create_tag_group(change, self._attributes())
                return self.single(self.context(), TAG_GROUP, row, status=201)
            case ["tag_groups", id_, "tags"]:
                group = self._named(context, TAG_GROUP, id_)
                return self._create_tag(group_id=group.id)
            case [name, *rest] if name not in COLLECTIONS or len(rest) > 3:
                raise not_found()
        # The path exists but cannot create (planningcenter/developers#512).
        raise forbidden()

    def _attributes(self) -> dict[str, Any]:
        attributes, _ = parse_write(self.request.body)
        return attributes

    def _create_event(self, login: Login) -> ApiResponse:
        attributes, relationships = parse_write(self.request.body)
        if not self._events_writable:
            rules.refuse_event(attributes, relationships)
        values = rules.assigned_event(attributes, relationships)
        with self.change() as change:
            row = rules.create_event(change, values, int(login.person_id))
        return self.single(self.context(), EVENT, row, status=201)

    def _create_instance(self, event: Row) -> ApiResponse:
        values = rules.assigned_instance(*parse_write(self.request.body))
        with self.change() as change:
            row = rules.create_instance(change, event, values)
        return self.single(self.context(), EVENT_INSTANCE, row, status=201)

    def _create_tag(self, kind: Kind | None = None, row: Row | None = None, group_id: int | None = None) -> ApiResponse:
        """A new tag: below an event or instance it is given to that (unconfirmed), below a group it belongs to it."""
        attributes = self._attributes()
        if group_id is not None:
            attributes["tag_group_id"] = str(group_id)
        with self.change() as change:
            tag = rules.create_tag(change, attributes)
            if kind is not None and row is not None:
                rules.tag_row(change, row, kind.type, tag)
        return self.single(self.context(), TAG, tag, status=201)
