"""Changes by staff at Planning Center while a client works: scripted mutations and a background editor."""

import random
from typing import Any

from pco_simulator.calendar.catalog import KINDS as CALENDAR
from pco_simulator.faults import Mutation
from pco_simulator.human import Human
from pco_simulator.world import CALENDAR_ACCESS, World
from pco_simulator.world import Mutation as Change

_OF_A_PERSON = frozenset({"Email", "PhoneNumber", "Address", "HouseholdMembership"})


class _Ids:
    """Ids that can be drawn at random while rows come and go."""

    def __init__(self) -> None:
        self._order: list[str] = []
        self._position: dict[str, int] = {}

    def add(self, id_: str) -> None:
        if id_ not in self._position:
            self._position[id_] = len(self._order)
            self._order.append(id_)

    def remove(self, id_: str) -> None:
        position = self._position.pop(id_, None)
        if position is None:
            return
        last = self._order.pop()
        if last != id_:
            self._order[position] = last
            self._position[last] = position

    def draw(self, chance: random.Random, other_than: str | None = None) -> str:
        if len(self._order) - (other_than in self._position) < 1:
            raise KeyError("nobody else is left in this church")
        drawn = chance.choice(self._order)
        while drawn == other_than:
            drawn = chance.choice(self._order)
        return drawn


class Mutator:
    """Changes churches by the rules the API has, as `person`."""

    def __init__(self, world: World, human: Human, seed: int) -> None:
        self._world = world
        self._human = human
        self._chance = random.Random(seed)  # noqa: S311 - who gets edited, not a secret
        self._people: dict[str, _Ids] = {}
        self._last_created: dict[tuple[str, str], str] = {}
        self._edits = 0
        world.mutations.append(self._follow)

    def apply(self, mutation: Mutation, organization_id: str, groups: tuple[str, ...] = ()) -> dict[str, str]:
        """Apply one mutation; gives `{"op", "type", "id"}` of the changed row.

        `KeyError` when the row or person is unknown, `ValueError` when the attributes are refused.
        """
        organization_id = mutation.organization_id or organization_id
        if organization_id not in self._world.organizations:
            raise KeyError(f"organization {organization_id}")
        attributes: dict[str, Any] = mutation.attributes
        id_ = "" if _needs_no_id(mutation) else self._resolve(mutation.id, organization_id, groups, _target(mutation))
        match mutation.op:
            case "create":
                id_ = self._create(mutation, organization_id, id_)
            case "edit" if mutation.type == CALENDAR_ACCESS:
                self._human.set_calendar_role(organization_id, id_, attributes.get("role", ""))
            case "create":
                raise ValueError(f"a {mutation.type} cannot be created here; use the API")
            case "edit":
                self._human.edit(organization_id, mutation.type, id_, attributes)
            case "move":
                self._human.move_person(organization_id, id_, attributes)
            case "set_raw":
                self._human.set_raw(organization_id, mutation.type, id_, attributes)
            case "delete":
                self._human.delete(organization_id, mutation.type, id_)
            case "merge":
                remove_id = self._resolve(mutation.remove_id, organization_id, groups, "Person", id_)
                id_ = self._human.merge_people(organization_id, id_, remove_id)
                return {"op": "merge", "type": "PersonMerger", "id": id_}
        return {"op": mutation.op, "type": mutation.type, "id": id_}

    def _create(self, mutation: Mutation, organization_id: str, id_: str) -> str:
        """The new row's id; `id_`: the person, or event, that it belongs to."""
        human, attributes = self._human, mutation.attributes
        match mutation.type:
            case "Person":
                created = human.create_person(organization_id, attributes)
            case type_ if type_ in _OF_A_PERSON:
                created = human.create(organization_id, type_, attributes, person_id=id_)
            case "Household":
                created = human.create_household(organization_id, attributes)
            case "Event":
                created = human.create_event(organization_id, attributes)
            case "EventInstance":
                created = human.create_instance(organization_id, id_, attributes)
            case "EventRequest":
                given = dict(attributes)
                return human.request_event(organization_id, given, given.pop("person_id", None))
            case _:
                raise ValueError(f"a {mutation.type} cannot be created here; use the API")
        self._last_created[organization_id, mutation.type] = created
        return created

    def edit_somebody(self, attribute: str) -> None:
        """Give one random person of each church a new value; a church without candidates is skipped."""
        self._edits += 1
        for organization_id in self._world.organizations:
            try:
                id_ = self._random_person(organization_id)
            except KeyError:
                continue
            self._human.edit_person(organization_id, id_, {attribute: f"Edit {self._edits}"})

    def _resolve(
        self,
        id_: str,
        organization_id: str,
        groups: tuple[str, ...],
        type_: str,
        other_than: str | None = None,
    ) -> str:
        if id_ == "random" and type_ in CALENDAR:
            rows = self._world.church(organization_id).tables[type_].rows
            if not rows:
                raise KeyError(f"no {type_} is in this church")
            return str(self._chance.choice(list(rows)))
        if id_ == "random":
            return self._random_person(organization_id, other_than)
        if id_ == "last":
            return self._last_created[organization_id, type_]
        if id_.startswith("$"):
            try:
                return groups[int(id_[1:]) - 1]
            except (IndexError, ValueError) as error:
                raise ValueError(f"{id_} names no group of the script's path expression") from error
        return id_

    def _random_person(self, organization_id: str, other_than: str | None = None) -> str:
        """A random person without a login: deleting one with a login would end the grants of the test itself."""
        ids = self._people.get(organization_id)
        if ids is None:
            ids = self._people[organization_id] = _Ids()
            users = {login.person_id for login in self._world.logins if login.organization_id == organization_id}
            for row_id in self._world.church(organization_id).tables["Person"].rows:
                if str(row_id) not in users:
                    ids.add(str(row_id))
        return ids.draw(self._chance, other_than)

    def _follow(self, change: Change) -> None:
        ids = self._people.get(change.organization_id)
        if ids is None or change.type != "Person":
            return
        if change.kind == "created":
            ids.add(change.id)
        elif change.kind == "destroyed":
            ids.remove(change.id)


def _needs_no_id(mutation: Mutation) -> bool:
    return mutation.op == "create" and mutation.type not in _OF_A_PERSON and mutation.type != "EventInstance"


def _target(mutation: Mutation) -> str:
    """Type of the row that a mutation's id names."""
    if mutation.op == "create":
        return "Event" if mutation.type == "EventInstance" else "Person"
    return "Person" if mutation.type == CALENDAR_ACCESS else mutation.type
