"""Versions, paths and resources of Webhooks.

Shapes follow the vendor's OpenAPI description of 2022-10-20. Of the version before only the path and the type
`Subscription` are known (planningcenter/developers#1388, #1494): the rest is as in 2022-10-20 (unconfirmed).
"""

from collections.abc import Callable
from typing import Any

import orjson

from pco_simulator.jsonapi import Source
from pco_simulator.kind import Context, Kind, fixed, nothing, ref, stored
from pco_simulator.rows import Row
from pco_simulator.webhooks.rendering import body_of

VERSIONS = ("2018-08-01", "2022-10-20")
ROOT = "/webhooks/v2"

SUBSCRIPTION = "WebhookSubscription"
EVENT = "WebhookEvent"
DELIVERY = "WebhookDelivery"
"""Tables. A row of `WebhookEvent` is one hint for one subscription, a row of `WebhookDelivery` one attempt to send
it."""


def collection_of(version: str) -> str:
    """First segment of the paths of a version."""
    return "webhook_subscriptions" if version >= VERSIONS[1] else "subscriptions"


def _subscription(type_: str, collection: str) -> Kind:
    def links(context: Context, row: Row) -> dict[str, Any]:
        url = f"{context.root}/{collection}/{row.id}"
        return {"events": f"{url}/events", "rotate_secret": f"{url}/rotate_secret"}

    return Kind(
        type=type_,
        source=Source(SUBSCRIPTION, {"application_id": "string"}),
        attributes=lambda context, row: {
            **stored("application_id", "authenticity_secret", "created_at", "name", "updated_at", "url")(context, row),
            "active": row.attrs["active"],
        },
        relationships=nothing,
        self_path=lambda row: f"/{collection}/{row.id}",
        can_order=fixed(),
        can_query=fixed("application_id"),
        links=links,
    )


def _event_path(collection: str) -> Callable[[Row], str]:
    return lambda row: f"/{collection}/{row.attrs['subscription_id']}/events/{row.id}"


def _event(collection: str) -> Kind:
    path = _event_path(collection)
    return Kind(
        type="Event",
        source=Source(EVENT, {"created_at": "date_time", "status": "string", "uuid": "string"}),
        attributes=stored("created_at", "payload", "status", "updated_at", "uuid"),
        # `person` is who subscribed (unconfirmed).
        relationships=lambda _context, row: {
            "subscription": ref("Subscription", row.attrs["subscription_id"]),
            "person": ref("Person", row.attrs["person_id"]),
        },
        self_path=path,
        can_order=fixed("created_at"),
        can_query=fixed("status", "uuid"),
        links=lambda context, row: {
            name: f"{context.root}{path(row)}/{name}" for name in ("deliveries", "ignore", "redeliver")
        },
        parents=("subscription_id",),
    )


def _delivery_attributes(context: Context, row: Row) -> dict[str, Any]:
    event = context.view.get(EVENT, row.attrs["event_id"])
    body = row.attrs.get("sent")
    if body is None and event is not None:
        body = body_of(event.attrs, str(context.organization_id), row.attrs["attempt"]).decode()
    return {
        **stored("created_at", "response_body", "status", "timing")(context, row),
        # The vendor does not document `object_url`; null is unconfirmed.
        "object_url": None,
        "request_body": body,
        "request_headers": orjson.dumps(row.attrs["request_headers"]).decode(),
        "response_headers": orjson.dumps(row.attrs.get("response_headers", {})).decode(),
        "updated_at": row.attrs["created_at"],
    }


def _delivery(collection: str) -> Kind:
    return Kind(
        type="Delivery",
        source=Source(DELIVERY, {"created_at": "date_time"}),
        attributes=_delivery_attributes,
        relationships=lambda _context, row: {"event": ref("Event", row.attrs["event_id"])},
        self_path=lambda row: f"{_event_path(collection)(Row(row.attrs['event_id'], row.attrs))}/deliveries/{row.id}",
        can_order=fixed("created_at"),
        can_query=fixed(),
        parents=("event_id",),
    )


BY_COLLECTION = {
    collection: (_subscription(type_, collection), _event(collection), _delivery(collection))
    for collection, type_ in (("webhook_subscriptions", SUBSCRIPTION), ("subscriptions", "Subscription"))
}
"""Kinds of subscriptions, events and deliveries."""

KINDS: dict[str, Kind] = {kind.source.type: kind for kind in BY_COLLECTION["webhook_subscriptions"]}
"""Every kind that has a table, by table."""
