"""Deliveries as the vendor renders them: in the shapes of an old version, whatever version a client asks the API for.

Shapes follow the keys of 100 captured deliveries (2026-07-02), one recorded email (planningcenter/developers#1181) and
the shapes of `person.destroyed` and `person_merger.created` that a public People mirror tests with.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson

from pco_simulator.calendar import catalog as calendar
from pco_simulator.calendar.kind import ROOT as CALENDAR
from pco_simulator.jsonapi import with_surrogates
from pco_simulator.kind import Context, Kind, ref
from pco_simulator.people import catalog as people
from pco_simulator.people.kind import ROOT as PEOPLE
from pco_simulator.people.person import GENDER_IDS
from pco_simulator.rows import Row, View

_HOST = "https://api.planningcenteronline.com"
_PEOPLE_VERSION = "2022-01-28"
"""A version with the captured keys: addresses have `street`. That genders are `M` and `F`, as in answers of that
version, is unconfirmed."""
_CALENDAR_VERSION = "2022-07-07"
_WITHOUT_INCLUDES = frozenset({"Address", "Email", "EventRequest", "PhoneNumber"})
"""Types whose `meta` has no `can_include` (captured; of phone numbers by likeness)."""
_CONTACTS = frozenset({"Address", "Email", "PhoneNumber"})

EVENT_HEADER = "X-PCO-Webhooks-Event"
SIGNATURE_HEADER = "X-PCO-Webhooks-Authenticity"


def changed(type_: str, view: View, row: Row, organization_id: str, event_time: str, token: str, action: str) -> str:
    """The payload of a created, updated or approved row: a JSON:API document as text.

    `PersonMerger`: ids as numbers, no `links`, `included`, `event_time` or token, as its known shape has it.
    """
    kind, context = _kind(type_), _context(type_, view, organization_id)
    attributes = dict(sorted(kind.attributes(context, row).items()))
    relationships = _relationships(kind, context, row)
    parent = {"id": organization_id, "type": "Organization"}
    if type_ == "PersonMerger":
        attributes.update({name: row.attrs[name] for name in ("person_to_keep_id", "person_to_remove_id")})
        document = {"id": str(row.id), "type": type_, "attributes": attributes, "relationships": relationships}
        return _text({"data": document, "meta": {"parent": parent}})
    if type_ == "FieldDatum":
        attributes.update({name: row.attrs.get(name) for name in ("created_at", "updated_at")})
        attributes = dict(sorted(attributes.items()))
    if action == "created" and type_ in _CONTACTS and _is_alone(type_, view, row):
        # The first contact becomes primary after its hint is rendered (#1181, of an email); of phone numbers and
        # addresses, and of a contact that was sent as primary, that is unconfirmed.
        attributes["primary"] = False
    links = dict(sorted({**kind.links(context, row), "self": context.root + kind.self_path(row)}.items()))
    meta: dict[str, Any] = {} if type_ in _WITHOUT_INCLUDES else {"can_include": list(kind.can_include)}
    meta.update(parent=parent, event_time=event_time, idempotency_token=token)
    data = {
        "type": type_,
        "id": str(row.id),
        "attributes": attributes,
        "relationships": relationships,
        "links": links,
    }
    return _text({"data": data, "included": [], "meta": meta})


def destroyed(type_: str, view: View, row: Row, organization_id: str, people: list[int]) -> str:
    """The payload of a row that is gone: without attributes and time; contacts keep their `person`.

    `people`: those who were in a household.
    """
    kind, context = _kind(type_), _context(type_, view, organization_id)
    data: dict[str, Any] = {"id": str(row.id), "type": type_}
    relationships = _relationships(kind, context, row)
    if type_ == "Household":
        relationships["people"] = {"data": [{"type": "Person", "id": str(id_)} for id_ in people]}
    if relationships:
        data["relationships"] = relationships
    data["links"] = {"self": context.root + kind.self_path(row)}
    return _text({"data": data, "meta": {"parent": {"id": organization_id, "type": "Organization"}}})


def body_of(event: Mapping[str, Any], organization_id: str, attempt: int) -> bytes:
    """The body of one attempt. `event`: `uuid`, `name`, `payload`."""
    delivery = {
        "id": event["uuid"],
        "type": "EventDelivery",
        "attributes": {"name": event["name"], "attempt": attempt, "payload": event["payload"]},
        "relationships": {"organization": {"data": {"type": "Organization", "id": organization_id}}},
    }
    return orjson.dumps({"data": [delivery]})


def headers_of(event: Mapping[str, Any], event_id: int, signature: str, attempt: int) -> dict[str, str]:
    """Headers as recorded (planningcenter/developers#1156); `X-PCO-Webhooks-Attempt` is unconfirmed."""
    return {
        "X-PCO-Webhooks-Event-ID": str(event_id),
        EVENT_HEADER: event["uuid"],
        "X-PCO-Webhooks-Name": event["name"],
        "X-PCO-Webhooks-Event-Time": event["event_time"],
        SIGNATURE_HEADER: signature,
        "X-PCO-Webhooks-Attempt": str(attempt),
        "Content-Type": "application/json",
    }


def signature_of(secret: str, body: bytes) -> str:
    """Lower-case hex HMAC-SHA256 over the raw body."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _kind(type_: str) -> Kind:
    return people.KINDS.get(type_) or calendar.KINDS[type_]


def _context(type_: str, view: View, organization_id: str) -> Context:
    of_people = type_ in people.KINDS
    return Context(
        view=view,
        version=_PEOPLE_VERSION if of_people else _CALENDAR_VERSION,
        root=_HOST + (PEOPLE if of_people else CALENDAR),
        fields={},
        organization_id=int(organization_id),
    )


def _relationships(kind: Kind, context: Context, row: Row) -> dict[str, Any]:
    relationships = dict(kind.relationships(context, row))
    if kind.type == "Person":
        relationships["gender"] = ref("Gender", GENDER_IDS.get(row.attrs.get("gender") or ""))
    return relationships


def _is_alone(type_: str, view: View, row: Row) -> bool:
    return len(view.children(type_, "person_id", row.attrs["person_id"])) == 1


def _text(document: dict[str, Any]) -> str:
    return with_surrogates(orjson.dumps(document)).decode()
