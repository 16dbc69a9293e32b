"""Examples of the documents: one for each schema, composed of one sample per field."""

from collections.abc import Mapping
from typing import Any, Final

UNKNOWN: Final = "no sample of"
_ID: Final = "0199a3c4-0000-7000-8000-000000000001"
_FAMILY: Final = "0199a3c4-0000-7000-8000-0000000000f1"
_RUN: Final = "0199a3c4-0000-7000-8000-0000000000a1"
_WHEN: Final = "2026-03-04T05:06:07Z"
_DIGEST: Final = "5f2d9c0e7a41"

SAMPLES: Final[Mapping[str, Any]] = {
    # Samples of whole schemas whose fields exclude each other.
    "FamilyPatch": {"version": 3, "add_member_ids": [_ID]},
    "UndoInput": {"run_id": _RUN},
    "CompleteAuthorization": {"state": "q7Yk2mTe", "code": "c0ffee"},
    "AnswerRun": {"question": "plan", "answer": "approve", "digest": _DIGEST},
    "Problem": {
        "type": "/problems/version-conflict",
        "title": "Conflict",
        "status": 409,
        "detail": "Somebody changed this member since you read it. Read it again and repeat the change.",
        "instance": "urn:uuid:01a22a47-44ff-7746-aceb-d106bf9a5463",
    },
    # Samples of a field in one schema.
    "ConflictField.base": "Mira",
    "Family.name": "Example",
    "FamilyInput.name": "Example",
    "BulkFamily.name": "Example",
    "MergedFamily.name": "Example",
    "Rule.name": "Planning Center’s phone",
    "RuleOffer.name": "Planning Center’s phone",
    "RulePreview.name": "Planning Center’s phone",
    "FieldError.field": "body.email",
    "RunProgress.waiting_for": None,
    "Run.question": None,
    "RunQuestion.answers": ["approve", "stop"],
    "RunQuestion.kind": "plan",
    "RunQuestion.counts": {"updated": 12},
    "RunQuestion.examples": [{"name": "Mira Example", "field": "phone", "here": None, "planning_center": "555-0143"}],
    "Run.kind": "full",
    "Run.trigger": "person",
    "ConflictRecord.kind": "member",
    "RunItem.record_kind": "member",
    "Statement.apart": {"waits_for_you": 2},
    "CompleteAuthorization.state": "q7Yk2mTe",
    "BulkResult.rejected": [],
    "PlanningCenterLink.state": "linked",
    "PlanningCenterLink.gone_at": None,
    "PlanningCenterLink.merged_with": None,
    "WebhookReceived.name": "people.v2.events.person.updated",
    "SubscribedName.name": "people.v2.events.person.updated",
    "SubscribedName.subject": "people",
    "SubscribedName.refusal": None,
    "SubscriptionStatement.sentence": "Changes come at once.",
    "SubscriptionStatement.verified_every_seconds": 3600,
    "Gap.cause": "Planning Center had switched off the messages about people.",
    "Gap.closed_how": "A sync read again what had changed.",
    "WebhookReceived.resource_type": "Person",
    "WebhookApplied.outcome": "changed",
    "WebhookApplied.by": "people-sync",
    "SubscriptionsActive.names": ["people.v2.events.person.updated"],
    "ConflictClosed.outcome": "resolved",
    "ConflictOpened.fields": ["phone"],
    "EventUnlinked.reason": "gone",
    "ReconnectRequired.reason": "refused",
    "EventInput": {
        "title": "Coffee after church",
        "starts_at": "2026-04-05T10:30:00-04:00",
        "ends_at": "2026-04-05T11:30:00-04:00",
        "time_zone": "America/New_York",
        "location": "Hall",
        "description": "Bring a cup.",
        "recurrence": "FREQ=WEEKLY;COUNT=10",
    },
    "BulkEvent": {
        "external_id": "e-17",
        "title": "Coffee after church",
        "starts_at": "2026-04-05T10:30:00-04:00",
        "ends_at": "2026-04-05T11:30:00-04:00",
        "time_zone": "America/New_York",
        "recurrence": "FREQ=WEEKLY;COUNT=10",
        "excluded": ["20260412"],
        "moved": [
            {"key": "20260419", "starts_at": "2026-04-19T12:00:00-04:00", "ends_at": "2026-04-19T13:00:00-04:00"}
        ],
    },
    "EventPatch": {"version": 3, "starts_at": "2026-04-05T10:45:00-04:00"},
    "OccurrencePatch": {"version": 3, "title": "Easter breakfast", "location": "Garden"},
    "Occurrence.title": None,
    "Occurrence.location": None,
    "EventQuery.q": "coffee",
    "ThereQuery.q": "coffee",
    "EventLink.title_there": "Coffee hour",
    "EventLink.url": "https://calendar.planningcenteronline.com/events/7001",
    "EventLink.note": None,
    "EventLink.differs": ["title"],
    "EventLink.gone_at": None,
    "EventLink.missing_since": None,
    "CalendarStatus.message": None,
    "CalendarStatus.run": None,
    "EventThere.url": "https://calendar.planningcenteronline.com/events/7001",
    "EventThere.repeats": "Every week on Sunday",
    "EventThere.linked_to": None,
    "InstanceThere.linked_to": None,
    "InstanceThere.pco_event_instance_id": "8001",
    "Suggestion.url": "https://calendar.planningcenteronline.com/events/7001",
    "Suggestion.reasons": ["same day", "98 % same title"],
    "Comparison.title_there": "Coffee hour",
    "Comparison.url": "https://calendar.planningcenteronline.com/events/7001",
    "Comparison.linked_to": None,
    "Comparison.note": None,
    "ComparedField.field": "title",
    "ComparedField.here": "Coffee after church",
    "ComparedField.there": "Coffee hour",
    "ComparedOccurrence.here": None,
    "LinkedOne.problem": None,
    "LinkedOne.sentence": None,
    "EventSync.outcome": "updated_here",
    "EventPush.note": None,
    "EventChange.outcome": "updated_here",
    "EventChange.sentence": "Title, dates, location and description are now those of Planning Center.",
    "RestoreInput.entry_id": "0199a3c4-0000-7000-8000-0000000000aa",
    "BulkEventsResult.rejected": [],
    "NewFeed.path": "/calendar/feeds/Zm9yIGV4YW1wbGUgb25seSwgbm8gZmVlZCBoYXMgaXQ.ics",
    "NewFeed.last_read_at": None,
    "NewFeed.revoked_at": None,
    "FeedState.revoked_at": None,
    "Difference.field": "phone",
    "RunItem.cause": None,
    "Erasure.on_request_of": "person",
    "ErasureLine.service": "people-sync",
    "ErasureLine.place": "values",
    "Erasure.pco_ids": ["5001"],
    "Delivery.name": "people.v2.events.person.updated",
    "Delivery.outcome": "changed",
    "Delivery.state": "applied",
    "DeliveryDetails.name": "people.v2.events.person.updated",
    "DeliveryDetails.outcome": "changed",
    "DeliveryDetails.state": "applied",
    "DeliveryDetails.archived_by": None,
    "DeliveryDetails.archived_note": None,
    "DeliveryPayload.document": {
        "type": "EventDelivery",
        "attributes": {
            "name": "people.v2.events.person.updated",
            "payload": {"data": {"type": "Person", "id": "5001", "attributes": {"first_name": "•••", "child": False}}},
        },
    },
    "DeliveryPayload.sentence": "Names, addresses and all other personal values are hidden, empty ones too.",
    "DeliveryFilter": {"product": "people", "state": "failed", "since": _WHEN},
    "StartReplay": {"product": "people", "state": "failed", "since": _WHEN, "newest": 4711, "digest": _DIGEST},
    "DeadLetters.name": "people.v2.events.person.updated",
    "DeadLetters.cause": "Planning Center refused to show this person.",
    "ArchiveDeadLetters.cause": "Planning Center refused to show this person.",
    "ArchiveDeadLetters.note": "Looked at by hand in Planning Center.",
    "LookAtPayload.reason": "The family asks why their address was not taken over.",
    "PayloadLook.reason": "The family asks why their address was not taken over.",
    "RefusedReason.reason": "signature",
    "DeliveryStep.sentence": "The message reached this church's address.",
    "LogSettings.kept_days": 30,
    "LogSettingsInput.kept_days": 30,
    "RunAnswer.question": "plan",
    "RunAnswer.answer": "approve",
    # Samples of fields with one meaning in every schema.
    "access_token": "…",
    "agreed": "555-0142",
    "after": "555-0143",
    "answers": ["approve", "stop"],
    "authorize_url": "https://api.planningcenteronline.com/oauth/authorize?client_id=1",
    "authorization_endpoint": "https://id.example.org/authorize",
    "base": "555-0142",
    "bulk_id": _RUN,
    "by": "person",
    "by_name": "Ada Admin",
    "cause": "email_taken",
    "choices": {"phone": "theirs"},
    "city": "Portsmouth",
    "client_id": "console",
    "confirmation": "Harbor Church",
    "conflict_id": "0199a3c4-0000-7000-8000-0000000000c1",
    "connected_by_name": "Ada Admin",
    "correlation_id": None,
    "country_code": "US",
    "counts": {"updated": 12, "unchanged": 480},
    "decided_by": "user-1",
    "decided_by_name": "Ada Admin",
    "decision_id": "0199a3c4-0000-7000-8000-0000000000d1",
    "description": "Bring a cup.",
    "delivery_id": "0199a3c4-0000-7000-8000-0000000000e1",
    "detail": "Somebody changed this member since you read it. Read it again and repeat the change.",
    "differs": ["phone"],
    "digest": _DIGEST,
    "email": "mira@example.org",
    "end_session_endpoint": "https://id.example.org/logout",
    "error": "access_denied",
    "error_description": "The user cancelled.",
    "event_id": "0199a3c4-0000-7000-8000-0000000000e2",
    "external_id": "m-17",
    "family_id": _FAMILY,
    "family_ids": [_FAMILY],
    "family_name": "Example",
    "field": "phone",
    "fills": ["birthdate"],
    "first_name": "Mira",
    "gender": "Female",
    "held_id": "0199a3c4-0000-7000-8000-0000000000b1",
    "here": "555-0142",
    "id": _ID,
    "instance": "urn:uuid:01a22a47-44ff-7746-aceb-d106bf9a5463",
    "issuer": "https://id.example.org",
    "joined_into": None,
    "joined_name": None,
    "key": "20260405T103000",
    "last_name": "Example",
    "left_behind": [],
    "location": "Hall",
    "made_by_name": "Ada Admin",
    "member_external_ids": ["m-17"],
    "member_id": _ID,
    "member_ids": [_ID],
    "add_member_ids": [_ID],
    "remove_member_ids": [],
    "message": "must be an email address",
    "middle_name": None,
    "missing": [],
    "name": "Mira Example",
    "new": "555-0143",
    "next": None,
    "noun": "people",
    "old": "555-0142",
    "organization_id": "harbor",
    "organization_name": "Harbor Church",
    "ours": "555-0142",
    "outcome": "updated",
    "pco_event_id": "7001",
    "pco_event_instance_id": None,
    "pco_id": "5001",
    "pco_organization_id": "77",
    "pco_organization_name": "Harbor Church",
    "pco_person_id": "42",
    "pco_person_name": "Ada Admin",
    "person_id": None,
    "phase": "push",
    "phone": "+1 202-555-0143",
    "primary_contact_external_id": "m-17",
    "primary_contact_id": _ID,
    "product": "people",
    "purpose": "sync",
    "q": "mira",
    "reason": None,
    "reasons": ["The same name, and no common email."],
    "record_id": _ID,
    "recurrence": "FREQ=WEEKLY;COUNT=10",
    "refused": [],
    "resource_id": "5001",
    "resource_type": "Person",
    "rule": None,
    "rule_id": None,
    "run_id": _RUN,
    "sentence": "The phone number in Planning Center was taken over.",
    "side": "here",
    "started_by": "user-1",
    "started_by_name": "Ada Admin",
    "state": "NH",
    "status": 409,
    "step": "subscriptions",
    "street_line_1": "1 Quay Street",
    "street_line_2": "",
    "suffix": None,
    "take": ["phone"],
    "theirs": "555-0143",
    "there": "555-0143",
    "time_zone": "America/New_York",
    "title": "Coffee after church",
    "token_endpoint": "https://id.example.org/token",
    "trigger": "person",
    "type": "/problems/version-conflict",
    "user_id": "user-1",
    "with_id": "0199a3c4-0000-7000-8000-000000000002",
    "zip": "03801",
}
"""Samples by field, by schema and field, or by schema."""
_BY_END: Final = {
    "_id": _ID,
    "_ids": _ID,
    "_name": "Ada Admin",
    "_kind": "member",
    "_url": "https://people.planningcenteronline.com",
}
"""Samples of text fields without one, by the end of the field's name."""
_BY_FORMAT: Final = {"date-time": _WHEN, "date": "2016-05-01", "email": "mira@example.org"}


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], place: str) -> Any:
    """A value that `schema` accepts. `place`: the schema's name, or `Schema.field`.

    Text without a sample becomes `UNKNOWN` with the place; tests find it, and `SAMPLES` needs an entry.
    """
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(schemas[name], schemas, name)
    for known in (place, place.rpartition(".")[2]):
        if known in SAMPLES and _fits(SAMPLES[known], schema):
            return SAMPLES[known]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas, place)
    return _made_up(schema, schemas, place)


def _made_up(schema: Mapping[str, Any], schemas: Mapping[str, Any], place: str) -> Any:
    match schema.get("type"):
        case "object":
            below = schema.get("properties", {})
            return {name: example_of(value, schemas, f"{place}.{name}") for name, value in below.items()}
        case "array":
            return [example_of(schema["items"], schemas, place)]
        case "integer" | "number":
            return schema.get("default") or max(schema.get("minimum", 0), 3)
        case "boolean":
            return schema.get("default", True)
    if "format" in schema:
        return _BY_FORMAT.get(schema["format"], f"{UNKNOWN} {place}")
    return next((sample for end, sample in _BY_END.items() if place.endswith(end)), f"{UNKNOWN} {place}")


def _fits(sample: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a sample fits: one by field name may be of another type, and an enumeration lists its own values."""
    if "anyOf" in schema:
        return any(_fits(sample, option) for option in schema["anyOf"])
    if "$ref" in schema or "const" in schema or "enum" in schema or "format" in schema:
        return sample is not None and sample in schema.get("enum", ())
    kinds = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object", type(None): "null"}
    return schema.get("type") in {None, kinds[type(sample)]}
