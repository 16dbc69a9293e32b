"""The rules of subscriptions and of the events that they get."""

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pco_simulator.exchange import Caller
from pco_simulator.jsonapi import Refused, duplicate, forbidden_attribute, invalid, stamp
from pco_simulator.rows import Row
from pco_simulator.webhooks.kind import DELIVERY, EVENT, SUBSCRIPTION
from pco_simulator.webhooks.names import available, scope_of
from pco_simulator.world import Change

SCHEDULE = (
    *(30.0 * 2**power for power in range(8)),
    *(hours * 3_600 for hours in (2.1, 4.2, 8.5, 17)),
    *(24 * 3_600.0,) * 4,
)
"""Seconds from a failure to the next attempt; after the last one the subscription is deactivated."""

IGNORABLE = ("failed", "skipped", "duplicated")


def application_id_of(client_id: str) -> str:
    """The number of an application. It is not its OAuth client id (unconfirmed: the vendor shows both as text)."""
    return str(int.from_bytes(hashlib.sha256(client_id.encode()).digest()[:4], "big"))


def create_subscription(change: Change, caller: Caller, attributes: Mapping[str, Any]) -> Row:
    """Create a subscription; `Refused` with 409 where this person has one of this application for the event and address
    (planningcenter/developers#504; that another person's does not count follows from #1011).

    The words about a wrong name or address are unconfirmed, and so is that without `active` it is inactive.
    """
    _only(attributes, "name", "url", "active")
    name, url = attributes.get("name"), attributes.get("url")
    if not isinstance(name, str) or name not in available(later=change.world.calendar_event_hints):
        raise invalid(SUBSCRIPTION, "name", "is not included in the list")
    if not isinstance(url, str) or not _is_address(url):
        raise invalid(SUBSCRIPTION, "url", "is invalid")
    if scope_of(name) not in caller.scopes:
        raise _outside_scope(name, caller)
    key = {
        "application_id": application_id_of(caller.client_id),
        "person_id": int(caller.person_id),
        "name": name,
        "url": url,
    }
    for row in change.view.all(SUBSCRIPTION):
        if all(row.attrs[field] == value for field, value in key.items()):
            raise duplicate()
    now = stamp(change.at)
    times = {"created_at": now, "updated_at": now}
    active = attributes.get("active") is True
    return change.create(SUBSCRIPTION, {**key, **times, "active": active, "authenticity_secret": new_secret()})


def _outside_scope(name: str, caller: Caller) -> Refused:
    """The detail is reported (planningcenter/developers#617); title, source and the form of the list are
    unconfirmed."""
    scopes = " ".join(sorted(caller.scopes))
    return invalid(
        SUBSCRIPTION, "name", f'Event "{name}" is not available for subscription within current OAuth2 scope ({scopes})'
    )


def _only(attributes: Mapping[str, Any], *allowed: str) -> None:
    for name in attributes:
        if name not in allowed:
            raise forbidden_attribute(name)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(c <= " " for c in url)


def new_secret() -> str:
    """64 hex digits."""
    return secrets.token_hex(32)


def update_subscription(change: Change, row: Row, attributes: Mapping[str, Any]) -> Row:
    """PATCH: only `active` can be assigned."""
    _only(attributes, "active")
    active = attributes.get("active")
    if not isinstance(active, bool | None):
        raise invalid(SUBSCRIPTION, "active", "is not included in the list")
    return row if active is None else set_active(change, row, active=active)


def set_active(change: Change, row: Row, *, active: bool) -> Row:
    """Activate or deactivate. What waits to be sent by a deactivated subscription is `failed` after an attempt, else
    `skipped`, and is not sent later by itself (unconfirmed)."""
    if row.attrs["active"] is active:
        return row
    if not active:
        for event in change.view.children(EVENT, "subscription_id", row.id):
            if event.attrs["status"] == "pending":
                finish(change, event, "failed" if event.attrs["attempts"] else "skipped")
    return change.update(SUBSCRIPTION, row, {"active": active, "updated_at": stamp(change.at)})


def rotate_secret(change: Change, row: Row) -> Row:
    """A new secret; later attempts of older events are signed with it (unconfirmed)."""
    return change.update(SUBSCRIPTION, row, {"authenticity_secret": new_secret(), "updated_at": stamp(change.at)})


def delete_subscription(change: Change, row: Row) -> None:
    """Delete a subscription with its events (unconfirmed)."""
    for event in change.view.children(EVENT, "subscription_id", row.id):
        delete_event(change, event)
    change.destroy(SUBSCRIPTION, row)


def delete_event(change: Change, row: Row) -> None:
    """Forget an event with its attempts."""
    for delivery in change.view.children(DELIVERY, "event_id", row.id):
        change.destroy(DELIVERY, delivery)
    change.destroy(EVENT, row)


def create_event(change: Change, subscription: Row, payload: str, about: tuple[str, int], *, due: float) -> Row:
    """An event that waits to be sent. `about`: type and id of the row; `due`: seconds on the schedule's clock, 0 for at
    once."""
    now = stamp(change.at)
    return change.create(
        EVENT,
        {
            "subscription_id": subscription.id,
            "person_id": subscription.attrs["person_id"],
            "name": subscription.attrs["name"],
            "uuid": str(uuid.uuid4()),
            "payload": payload,
            "event_time": now,
            "resource_type": about[0],
            "resource_id": str(about[1]),
            "status": "pending",
            "attempts": 0,
            "failures": 0,
            "due": due,
            "created_at": now,
            "updated_at": now,
        },
    )


def finish(change: Change, event: Row, status: str, **values: Any) -> Row:
    """End the attempts of an event."""
    ended = {**values, "status": status, "due": None, "redelivery": None, "updated_at": stamp(change.at)}
    return change.update(EVENT, event, ended)


def redeliver(change: Change, subscription: Row, event: Row) -> Row:
    """Send an event once more, now, under its own id (unconfirmed). An attempt beyond the schedule is not repeated when
    it fails, and an inactive subscription sends nothing (both unconfirmed)."""
    if not subscription.attrs["active"]:
        raise invalid("Event", "subscription", "is not active")
    beyond = event.attrs["status"] != "pending" or event.attrs.get("redelivery")
    values = {"status": "pending", "due": 0.0, "redelivery": beyond or None, "updated_at": stamp(change.at)}
    return change.update(EVENT, event, values)


def ignore(change: Change, event: Row) -> Row:
    """Take an event that was not delivered off the list of those to look after; others are refused (unconfirmed)."""
    status = event.attrs["status"]
    if status not in IGNORABLE:
        raise invalid("Event", "status", "is not failed, skipped or duplicated")
    return change.update(EVENT, event, {"status": f"ignored_{status}", "updated_at": stamp(change.at)})
