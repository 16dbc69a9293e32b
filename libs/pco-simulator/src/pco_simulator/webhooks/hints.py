"""Makes the events of a change: one per row and subscription, committed together with the change."""

import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pco_simulator.calendar.api import is_open_to as calendar_is_open_to
from pco_simulator.exchange import Caller
from pco_simulator.jsonapi import stamp
from pco_simulator.people.api import is_open_to as people_is_open_to
from pco_simulator.rows import Row
from pco_simulator.settings import Settings
from pco_simulator.webhooks import rules
from pco_simulator.webhooks.faults import (
    Delay,
    Drop,
    Duplicate,
    HookFaults,
    HookScript,
    Reorder,
    Resend,
    Storm,
    Tamper,
)
from pco_simulator.webhooks.kind import EVENT, SUBSCRIPTION
from pco_simulator.webhooks.names import TYPES, name_of, scope_of
from pco_simulator.webhooks.rendering import changed, destroyed
from pco_simulator.world import Change, Mutation, World

WEBHOOKS = "webhooks"
"""Author of changes of the deliveries themselves."""

_OPEN = {"people": people_is_open_to, "calendar": calendar_is_open_to}

SendAgain = Callable[[str, int, float], None]
"""Organization, event and due time of one more attempt outside the schedule."""


@dataclass(frozen=True, slots=True)
class Hint:
    """One name of an event about one row."""

    name: str
    type: str
    id: int


class Outbox:
    """The listener that `World.outbox` calls inside every change."""

    def __init__(
        self, world: World, settings: Settings, faults: HookFaults, now: Callable[[], float], send_again: SendAgain
    ) -> None:
        self._world = world
        self._settings = settings
        self._faults = faults
        self._now = now
        self._send_again = send_again
        self._chance = random.Random(world.shape.seed)  # noqa: S311 - the order of two hints, not a secret

    def __call__(self, change: Change) -> None:
        """Add the events of a change; without an active subscription nothing is rendered."""
        if change.by == WEBHOOKS or not change.church.tables[SUBSCRIPTION].rows:
            return
        subscribed = _active(change)
        if subscribed:
            self._add(change, subscribed, self._in_either_order(_hints(change, self._settings)))

    def send(self, organization_id: str, name: str, ids: Iterable[int], times: int) -> int:
        """Events about rows that did not change, `times` for each in turn; gives their number. `KeyError` for a name or
        row that is unknown."""
        resource, _, action = name.rpartition(".")
        if resource not in TYPES or action not in ("created", "updated", "approved"):
            raise KeyError(name)
        type_ = TYPES[resource]
        with self._world.change(organization_id, WEBHOOKS) as change:
            known = [change.church.tables[type_].rows[id_].id for id_ in ids]
            before = len(change.mutations)
            hints = [Hint(name, type_, id_) for _ in range(times) for id_ in known]
            self._add(change, _active(change), hints)
            return sum(each.type == EVENT and each.kind == "created" for each in change.mutations[before:])

    def _add(self, change: Change, subscribed: dict[str, list[Row]], hints: Iterable[Hint]) -> None:
        seers: dict[tuple[int, str], bool] = {}
        for hint in hints:
            subscriptions = [
                row for row in subscribed.get(hint.name, ()) if self._sees(change, row, scope_of(hint.name), seers)
            ]
            payload = _payload(change, hint) if subscriptions else None
            if payload is not None:
                for subscription in subscriptions:
                    self._add_one(change, subscription, payload, hint)

    def _sees(self, change: Change, subscription: Row, product: str, seers: dict[tuple[int, str], bool]) -> bool:
        """Whether the person who subscribed may open the product. Of what they may not see, no event is made
        (unconfirmed)."""
        person_id = subscription.attrs["person_id"]
        key = (person_id, product)
        if key not in seers:
            caller = Caller(change.church.organization.id, str(person_id), "", "OAuth2", frozenset())
            seers[key] = _OPEN[product](self._world, caller)
        return seers[key]

    def _in_either_order(self, hints: list[Hint]) -> list[Hint]:
        """Hints of a merger with `person.destroyed` before or after it: both orders were seen."""
        places = [
            place
            for place, hint in enumerate(hints)
            if hint.name in ("people.v2.events.person.destroyed", "people.v2.events.person_merger.created")
        ]
        if len(places) == 2 and self._chance.random() < 0.5:
            first, second = places
            hints[first], hints[second] = hints[second], hints[first]
        return hints

    # -- one event, and what fault scripts make of it --------------------------------------------------------

    def _add_one(self, change: Change, subscription: Row, payload: str, hint: Hint) -> None:
        organization_id = change.church.organization.id
        hits = self._faults.hits(organization_id, subscription.id, subscription.attrs, of_attempts=False)
        if not hits:
            self._create(change, subscription, payload, hint, 0.0)
            return
        for tamper in (script.fault.action for script in hits):
            if isinstance(tamper, Tamper) and not _tampered(change, subscription.id, tamper):
                return
        drop = next((script.fault.action for script in hits if isinstance(script.fault.action, Drop)), None)
        if drop is not None:
            if drop.listed:
                rules.finish(change, self._create(change, subscription, payload, hint, 0.0), "failed")
            return
        events = [self._create(change, subscription, payload, hint, self._due(hits))]
        for script in hits:
            if isinstance(script.fault.action, Storm):
                further = range(script.fault.action.count)
                events += [self._create(change, subscription, payload, hint, self._due(hits)) for _ in further]
        for script in hits:
            for event in events:
                self._multiply(change, script, event)

    def _create(self, change: Change, subscription: Row, payload: str, hint: Hint, due: float) -> Row:
        kept = change.church.tables[EVENT].children["subscription_id"].get(subscription.id, [])
        if len(kept) >= self._settings.webhooks_kept:
            oldest = change.church.tables[EVENT].rows[kept[0]]
            if oldest.attrs["status"] != "pending":
                rules.delete_event(change, oldest)
        return rules.create_event(change, subscription, payload, (hint.type, hint.id), due=due)

    def _due(self, hits: list[HookScript]) -> float:
        """When the first attempt is due: 0 for at once."""
        ms = 0
        for script in hits:
            match script.fault.action:
                case Delay(ms=delay):
                    ms += delay
                case Reorder(within_ms=within):
                    ms += within
        return self._now() + ms / 1000 if ms else 0.0

    def _multiply(self, change: Change, script: HookScript, event: Row) -> None:
        organization_id = change.church.organization.id
        due = event.attrs["due"] or self._now()
        match script.fault.action:
            case Duplicate() as action:
                for copy in range(1, action.copies + 1):
                    self._send_again(organization_id, event.id, due + copy * action.gap_ms / 1000)
            case Resend() as action:
                self._send_again(organization_id, event.id, due + action.after_ms / 1000)
            case Reorder() as action:
                script.held.append(event.id)
                if len(script.held) == action.window:
                    held, script.held = script.held, []
                    self._release(change, held, action)

    def _release(self, change: Change, held: list[int], action: Reorder) -> None:
        now = self._now()
        for place, event_id in enumerate(reversed(held)):
            event = change.view.get(EVENT, event_id)
            if event is not None and event.attrs["status"] == "pending":
                change.update(EVENT, event, {"due": now + place * action.gap_ms / 1000})


def _active(change: Change) -> dict[str, list[Row]]:
    """Active subscriptions by the name of their event."""
    found: dict[str, list[Row]] = {}
    for row in change.church.tables[SUBSCRIPTION].rows.values():
        if row.attrs["active"]:
            found.setdefault(row.attrs["name"], []).append(row)
    return found


def _tampered(change: Change, subscription_id: int, tamper: Tamper) -> bool:
    """Do to the subscription what a script says; gives whether it still gets the hint."""
    row = change.view.get(SUBSCRIPTION, subscription_id)
    if row is None:
        return False
    match tamper.kind:
        case "deactivate":
            return bool(rules.set_active(change, row, active=False).attrs["active"])
        case "remove":
            rules.delete_subscription(change, row)
            return False
        case "rotate":
            rules.rotate_secret(change, row)
            return True


def _hints(change: Change, settings: Settings) -> list[Hint]:
    """The hints of a change, each once, in the order of its mutations."""
    found = dict.fromkeys(
        hint
        for mutation in change.mutations
        for hint in _of_mutation(change, mutation, members=settings.memberships_update_household)
    )
    made_or_gone = {
        hint.id for hint in found if hint.type == "Household" and hint.name.endswith((".created", ".destroyed"))
    }
    return [
        hint
        for hint in found
        if not (hint.type == "Household" and hint.name.endswith(".updated") and hint.id in made_or_gone)
    ]


def _of_mutation(change: Change, mutation: Mutation, *, members: bool) -> Iterator[Hint]:
    id_ = int(mutation.id)
    if mutation.type == "HouseholdMembership":
        row = change.destroyed.get((mutation.type, id_)) or change.view.get(mutation.type, id_)
        if members and row is not None:
            yield Hint("people.v2.events.household.updated", "Household", row.attrs["household_id"])
        return
    name = name_of(mutation.type, mutation.kind)
    if name is not None:
        yield Hint(name, mutation.type, id_)


def _payload(change: Change, hint: Hint) -> str | None:
    """The rendered document; None where the row came and went within the change."""
    organization_id, view = change.church.organization.id, change.view
    action = hint.name.rpartition(".")[2]
    if action == "destroyed":
        row = change.destroyed[hint.type, hint.id]
        return destroyed(hint.type, view, row, organization_id, _people_of(change, hint))
    found = view.get(hint.type, hint.id)
    if found is None:
        return None
    return changed(hint.type, view, found, organization_id, stamp(change.at), uuid.uuid4().hex, action)


def _people_of(change: Change, hint: Hint) -> list[int]:
    """The people of a deleted household, whose memberships were deleted before it."""
    if hint.type != "Household":
        return []
    return [
        row.attrs["person_id"]
        for (type_, _), row in change.destroyed.items()
        if type_ == "HouseholdMembership" and row.attrs["household_id"] == hint.id
    ]
