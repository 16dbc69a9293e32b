"""Webhooks: `/webhooks/v2`.

Anybody who can log in may subscribe (vendor documentation). A caller sees the subscriptions that the same person made
in the same church, through whichever application (unconfirmed; `where[application_id]` tells them apart).
"""

from collections.abc import Sequence

import orjson

from pco_simulator.exchange import ApiRequest, ApiResponse
from pco_simulator.jsonapi import forbidden, html_not_found, not_found, page_links, parse_write
from pco_simulator.kind import Context
from pco_simulator.product import Call, Parent, among
from pco_simulator.rows import Row
from pco_simulator.webhooks import rules
from pco_simulator.webhooks.kind import (
    BY_COLLECTION,
    DELIVERY,
    EVENT,
    ROOT,
    SUBSCRIPTION,
    VERSIONS,
    collection_of,
)
from pco_simulator.webhooks.names import available, parts_of
from pco_simulator.world import Login, World


def handle(world: World, request: ApiRequest) -> ApiResponse:
    """Answer one call of Webhooks. The caller's token and scope were checked before."""
    return _Call.serve(world, request, world.webhooks_default_version)


class _Call(Call):
    versions = VERSIONS
    root_path = ROOT
    includes = {}  # noqa: RUF012 - read only
    # An answer without `include` has no `included`, as the vendor's description says.
    included_when_filled = VERSIONS[0]
    slow_to_appear = frozenset()

    def __init__(self, world: World, request: ApiRequest, version: str) -> None:
        super().__init__(world, request, version)
        self.collection = collection_of(version)
        self.subscription_kind, self.event_kind, self.delivery_kind = BY_COLLECTION[self.collection]

    def permits(self, login: Login, *, writing: bool) -> bool:  # noqa: ARG002 - every login may
        return True

    # -- reads -----------------------------------------------------------------------------------------------

    def read(self, segments: list[str], login: Login) -> ApiResponse:  # noqa: ARG002
        match segments:
            case []:
                return self._organization()
            case ["available_events"]:
                return self._available_events()
            case [collection] if collection == self.collection:
                return self.page(self.subscription_kind, related=self._own)
            case [collection, id_, *rest] if collection == self.collection:
                context = self.context_of_single()
                return self._below(context, self._subscription(context, id_), rest)
        raise not_found()

    def _below(self, context: Context, subscription: Row, rest: list[str]) -> ApiResponse:
        above = Parent(self.subscription_kind.type, str(subscription.id))
        match rest:
            case []:
                return self.single(context, self.subscription_kind, subscription)
            case ["events"]:
                return self.page(self.event_kind, above, lambda context: _events(context, subscription))
            case ["events", id_, *deeper]:
                event = among(self.event_kind, _events(context, subscription), id_)
                parent = Parent("Event", id_)
                match deeper:
                    case []:
                        return self.single(context, self.event_kind, event, above)
                    case ["deliveries"]:
                        return self.page(self.delivery_kind, parent, lambda context: _deliveries(context, event))
                    case ["deliveries", delivery_id]:
                        delivery = among(self.delivery_kind, _deliveries(context, event), delivery_id)
                        return self.single(context, self.delivery_kind, delivery, parent)
        raise not_found()

    def _own(self, context: Context) -> Sequence[Row]:
        person_id = int(self.request.caller.person_id)
        return [row for row in context.view.all(SUBSCRIPTION) if row.attrs["person_id"] == person_id]

    def _subscription(self, context: Context, id_: str) -> Row:
        return among(self.subscription_kind, self._own(context), id_)

    def _organization(self) -> ApiResponse:
        url = self.request.base_url + ROOT
        links = {name: f"{url}/{name}" for name in ("available_events", self.collection)}
        data = {"type": "Organization", "id": self.organization_id, "attributes": {}, "links": {**links, "self": url}}
        return ApiResponse(200, orjson.dumps({"data": data, "meta": {}}))

    def _available_events(self) -> ApiResponse:
        """The names, each the id of its row (unconfirmed)."""
        query, url = self.query, f"{self.request.base_url}{ROOT}/available_events"
        names = available(later=self.world.calendar_event_hints)
        shown = names[query.offset : query.offset + query.per_page]
        links, moves = page_links(query, url, len(names), len(shown))
        parent = {"id": self.organization_id, "type": "Organization"}
        rows = [
            {
                "type": "AvailableEvent",
                "id": name,
                "attributes": parts_of(name),
                "links": {"self": f"{url}/{name}"},
            }
            for name in shown
        ]
        meta = {"total_count": len(names), "count": len(shown), **moves, "parent": parent}
        return ApiResponse(200, orjson.dumps({"links": links, "data": rows, "meta": meta}))

    # -- writes ----------------------------------------------------------------------------------------------

    def write(self, segments: list[str], login: Login) -> ApiResponse:  # noqa: ARG002
        method = self.request.method
        match segments:
            case [collection] if collection == self.collection and method == "POST":
                attributes, _ = parse_write(self.request.body)
                with self.change() as change:
                    row = rules.create_subscription(change, self.request.caller, attributes)
                return self.single(self.context(), self.subscription_kind, row, status=201)
            case [collection, id_] if collection == self.collection and method != "POST":
                return self._write_one(self._subscription(self.context(), id_))
            case [collection, id_, "rotate_secret"] if collection == self.collection and method == "POST":
                subscription = self._subscription(self.context(), id_)
                with self.change() as change:
                    row = rules.rotate_secret(change, subscription)
                return self.single(self.context(), self.subscription_kind, row, status=201)
            case [collection, id_, "events", event_id, "ignore" | "redeliver" as action] if (
                collection == self.collection and method == "POST"
            ):
                return self._act(self._subscription(self.context(), id_), event_id, action)
            case [collection, *_] if collection not in (self.collection, "available_events"):
                raise not_found()
        if method == "POST":
            raise forbidden()
        return html_not_found()

    def _write_one(self, subscription: Row) -> ApiResponse:
        if self.request.method == "DELETE":
            with self.change() as change:
                rules.delete_subscription(change, subscription)
            return ApiResponse(204, b"", "")
        attributes, _ = parse_write(self.request.body)
        with self.change() as change:
            row = rules.update_subscription(change, subscription, attributes)
        return self.single(self.context(), self.subscription_kind, row)

    def _act(self, subscription: Row, event_id: str, action: str) -> ApiResponse:
        """Both answer 201 with the event (unconfirmed beyond the status)."""
        event = among(self.event_kind, _events(self.context(), subscription), event_id)
        with self.change() as change:
            row = rules.ignore(change, event) if action == "ignore" else rules.redeliver(change, subscription, event)
        parent = Parent(self.subscription_kind.type, str(subscription.id))
        return self.single(self.context(), self.event_kind, row, parent, status=201)


def _events(context: Context, subscription: Row) -> Sequence[Row]:
    return context.view.children(EVENT, "subscription_id", subscription.id)


def _deliveries(context: Context, event: Row) -> Sequence[Row]:
    return context.view.children(DELIVERY, "event_id", event.id)
