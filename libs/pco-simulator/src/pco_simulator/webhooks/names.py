"""The names of events that can be subscribed to."""

from collections.abc import Mapping

_PEOPLE = {
    "Address": "address",
    "Email": "email",
    "FieldDatum": "field_datum",
    "FieldDefinition": "field_definition",
    "Household": "household",
    "Person": "person",
    "PersonMerger": "person_merger",
    "PhoneNumber": "phone_number",
}
_CALENDAR = {"EventRequest": "event_request"}
_CALENDAR_LATER = {"Event": "event", "EventInstance": "event_instance"}
"""Types without events at the vendor (planningcenter/developers#1376); their names are unconfirmed."""

_RESOURCES: Mapping[str, str] = {
    **{type_: f"people.v2.events.{name}" for type_, name in _PEOPLE.items()},
    **{type_: f"calendar.v2.events.{name}" for type_, name in {**_CALENDAR, **_CALENDAR_LATER}.items()},
}
TYPES: Mapping[str, str] = {resource: type_ for type_, resource in _RESOURCES.items()}
"""Type of the rows that an event's name without its action is about."""

_ALL = "created updated destroyed"
_KNOWN: Mapping[str, Mapping[str, str]] = {
    "calendar": {"event_request": f"approved {_ALL}"},
    "groups.church_center": {"group_application": _ALL},
    "groups": {"group": _ALL, "membership": _ALL},
    "people": {
        "address": _ALL,
        "email": _ALL,
        "field_datum": _ALL,
        "field_definition": _ALL,
        "form_submission": "created",
        "household": _ALL,
        "list": "created destroyed refreshed updated",
        "list_result": "created destroyed",
        "note": "created destroyed",
        "person": _ALL,
        "person_merger": "created",
        "phone_number": _ALL,
        "workflow": _ALL,
        "workflow_card": f"{_ALL} step_ready",
        "workflow_card_activity": _ALL,
        "workflow_share": _ALL,
        "workflow_step": _ALL,
    },
    "publishing": {"episode": _ALL, "episode_time": _ALL},
    "services": {
        "arrangement": _ALL,
        "key": _ALL,
        "plan": _ALL,
        "plan.live": "updated",
        "plan_item": _ALL,
        "plan_note": _ALL,
        "song": _ALL,
    },
}
"""Actions by application and resource: those of the vendor's list, Giving left out."""

NAMES: tuple[str, ...] = tuple(
    sorted(
        f"{app}.v2.events.{resource}.{action}"
        for app, resources in _KNOWN.items()
        for resource, actions in resources.items()
        for action in actions.split()
    )
)
"""Every name. The simulator has no records of most, so it never sends them."""

LATER: tuple[str, ...] = tuple(
    f"calendar.v2.events.{resource}.{action}" for resource in _CALENDAR_LATER.values() for action in _ALL.split()
)
"""Names that exist while the setting `calendar_event_hints` is on."""


def available(*, later: bool) -> tuple[str, ...]:
    """The names that can be subscribed to; `later`: with those of events and their instances."""
    return tuple(sorted((*NAMES, *LATER))) if later else NAMES


def name_of(type_: str, action: str) -> str | None:
    """The name of an action on a row, None for a type without events."""
    resource = _RESOURCES.get(type_)
    return None if resource is None else f"{resource}.{action}"


def parts_of(name: str) -> dict[str, str]:
    """The attributes of an `AvailableEvent`."""
    app, _, rest = name.partition(".v2.")
    type_, _, rest = rest.partition(".")
    resource, _, action = rest.rpartition(".")
    return {"action": action, "app": app, "name": name, "resource": resource, "type": type_, "version": "v2"}


def scope_of(name: str) -> str:
    """The OAuth scope of the product that an event is about."""
    return name.partition(".")[0]
