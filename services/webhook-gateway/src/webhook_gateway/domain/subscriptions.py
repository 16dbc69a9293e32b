"""Decisions about subscriptions at Planning Center: the wanted names, the steps towards them, and lost deliveries."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final, Literal, TypeAlias

from contracts.values import CALENDAR, PEOPLE

_CHANGES: Final = ("created", "updated", "destroyed")


def _names(product: str, *resources: str) -> tuple[str, ...]:
    return tuple(f"{product}.v2.events.{resource}.{change}" for resource in resources for change in _CHANGES)


_ALWAYS: Final[Mapping[str, tuple[str, ...]]] = {
    PEOPLE: (
        *_names(PEOPLE, "person", "email", "phone_number", "address", "household"),
        f"{PEOPLE}.v2.events.person_merger.created",
    ),
    CALENDAR: (*_names(CALENDAR, "event_request"), f"{CALENDAR}.v2.events.event_request.approved"),
}
"""No `field_datum` and `field_definition`: custom fields are not synced."""
_WHEN_OFFERED: Final[Mapping[str, tuple[str, ...]]] = {
    PEOPLE: (),
    CALENDAR: _names(CALENDAR, "event", "event_instance"),
}
"""Names that the vendor does not have yet (planningcenter/developers#1376)."""

_BEGAN: Final = datetime(2020, 1, 1, tzinfo=UTC)


def asks_for_offers(product: str) -> bool:
    """Whether some of the product's names are wanted only if the vendor's `available_events` has them."""
    return bool(_WHEN_OFFERED[product])


def wanted_names(product: str, offered: Collection[str]) -> tuple[str, ...]:
    """Names to subscribe to. offered: of the vendor's `available_events`."""
    return (*_ALWAYS[product], *(name for name in _WHEN_OFFERED[product] if name in offered))


@dataclass(frozen=True, slots=True)
class Here:
    """A subscription as stored. `wanted` is one that is to be made, or whose making was interrupted."""

    name: str
    state: Literal["wanted", "active", "refused", "removed"]
    pco_id: str | None = None
    secret: str | None = field(default=None, repr=False)
    """None if it is unknown, or cannot be decrypted any more."""


@dataclass(frozen=True, slots=True)
class There:
    """A subscription in the vendor's list."""

    id: str
    name: str
    url: str
    active: bool
    secret: str | None = field(default=None, repr=False)
    """None if the list does not show it."""


@dataclass(frozen=True, slots=True)
class Create:
    """Make a subscription."""

    name: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Take id and secret from the list: its making was interrupted, or its secret was rotated there."""

    name: str
    pco_id: str
    secret: str = field(repr=False)
    active: bool


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask for a new secret, because ours is unknown and the list does not show it."""

    name: str
    pco_id: str
    active: bool


@dataclass(frozen=True, slots=True)
class Reactivate:
    """Turn a subscription on."""

    name: str
    pco_id: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Delete a subscription at the vendor."""

    name: str
    pco_id: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Note that a subscription is not wanted any more."""

    name: str


Step: TypeAlias = Create | Adopt | Renew | Reactivate | Remove | Forget


@dataclass(frozen=True, slots=True)
class Sorted:
    """The vendor's list, which holds all subscriptions that the connected person made."""

    own: tuple[There, ...]
    """With the present address of this connection."""
    stale: tuple[There, ...]
    """Ours, with another address: a former generation's key, this one's at a former host, or an unknown one of our
    own host.
    """


def sort(listed: Iterable[There], address: str, base: str, living: Collection[str]) -> Sorted:
    """Find ours in the list; others are left out, and never touched.

    address: the present address of this connection. base: what every address of ours begins with. living: addresses
    at our base that belong to another connection, such as the church's other product's.
    """
    own, stale = [], []
    key = _key(address)
    for one in listed:
        if one.url == address:
            own.append(one)
        elif _key(one.url) == key or (one.url.startswith(base) and one.url not in living):
            stale.append(one)
    return Sorted(tuple(own), tuple(stale))


def _key(url: str) -> str:
    return url.rpartition("/")[2]


def plan(here: Sequence[Here], there: Sorted, wanted: Collection[str]) -> list[Step]:
    """The steps to one active subscription for each wanted name, with a secret that is known here, and no other.

    Ids and secrets come first, so that deliveries can be verified at once; what is removed comes last.
    """
    known = {one.name: one for one in here}
    by_name: dict[str, list[There]] = {}
    for one in there.own:
        by_name.setdefault(one.name, []).append(one)
    learning: list[Step] = []
    mending: list[Step] = []
    removing: list[Step] = [Remove(one.name, one.id) for one in there.stale]
    for name in wanted:
        mine, found = known.get(name), by_name.pop(name, [])
        if not found:
            mending.append(Create(name))
            continue
        kept = min(found, key=lambda one: (one.id != (mine.pco_id if mine else None), not one.active, one.id))
        removing += [Remove(name, one.id) for one in found if one is not kept]
        learning += _learn(mine, kept)
        if not kept.active:
            mending.append(Reactivate(name, kept.id))
    removing += [Remove(one.name, one.id) for found in by_name.values() for one in found]
    forgotten = [
        Forget(one.name) for one in here if one.name not in wanted and one.state in {"wanted", "active", "refused"}
    ]
    return [*learning, *mending, *removing, *forgotten]


def _learn(mine: Here | None, kept: There) -> list[Step]:
    known = mine.secret if mine is not None and mine.pco_id == kept.id else None
    secret = kept.secret or known
    if secret is None:
        return [Renew(kept.name, kept.id, kept.active)]
    if mine is not None and known == secret and (mine.state == "active" or not kept.active):
        return []
    return [Adopt(kept.name, kept.id, secret, kept.active)]


@dataclass(frozen=True, slots=True)
class Loss:
    """A subscription of which deliveries may have been lost since the list was last compared."""

    name: str
    cause: Literal["off", "gone", "unknown_secret"]


def losses(here: Iterable[Here], there: Sorted) -> list[Loss]:
    """Subscriptions that were in place, and are not as they were left."""
    listed: dict[str, list[There]] = {}
    for one in there.own:
        listed.setdefault(one.name, []).append(one)
    found = []
    for mine in here:
        if mine.state != "active":
            continue
        theirs = next((one for one in listed.get(mine.name, ()) if one.id == mine.pco_id), None)
        if theirs is None:
            found.append(Loss(mine.name, "gone"))
        elif not theirs.active:
            found.append(Loss(mine.name, "off"))
        elif mine.secret is None or theirs.secret not in {None, mine.secret}:
            found.append(Loss(mine.name, "unknown_secret"))
    return found


_CAUSES: Final = {
    "off": "Planning Center had switched off {}.",
    "gone": "Planning Center no longer had {}.",
    "unknown_secret": "Nobody could tell whether {} came from Planning Center, so those that came were refused.",
}
_SUBJECTS: Final = {
    "person": "people",
    "email": "email addresses",
    "phone_number": "phone numbers",
    "address": "addresses",
    "household": "households",
    "person_merger": "merged people",
    "event_request": "event requests",
    "event": "events",
    "event_instance": "dates of events",
}


def subject(name: str) -> str:
    """What an event name is about, in an administrator's words."""
    resource = name.rpartition(".")[0].rpartition(".")[2]
    return _SUBJECTS.get(resource, resource.replace("_", " "))


def cause_of(lost: Iterable[Loss], failed: int) -> str:
    """The cause of a gap in words. failed: deliveries that the vendor lists as failed."""
    sentences = []
    found = list(lost)
    for cause, sentence in _CAUSES.items():
        subjects = list(dict.fromkeys(subject(loss.name) for loss in found if loss.cause == cause))
        if subjects:
            sentences.append(sentence.format(f"the messages about {', '.join(subjects)}"))
    if failed:
        messages = "1 message" if failed == 1 else f"{failed} messages"
        sentences.append(f"Planning Center could not deliver {messages}. What changed then is read again.")
    return " ".join(sentences)


def next_verification(organization_id: str, product: str, interval: timedelta, now: datetime) -> datetime:
    """The first instant after `now` of a connection's own series, `interval` apart.

    Connections lie spread over the interval, and however long an outage was, one verification follows it.
    """
    digest = blake2b(f"{organization_id}\0{product}".encode(), digest_size=4).digest()
    phase = int.from_bytes(digest, "big") / 2**32 * interval
    return now + interval - (now - _BEGAN - phase) % interval
