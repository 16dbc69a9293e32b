"""Compares each resource of the simulator with the vendor's own documentation graph of mid-2025."""

import json
from pathlib import Path
from typing import Any

import pytest

from pco_simulator.direct import SetClock
from pco_simulator.kind import Context, Kind
from pco_simulator.people import rules
from pco_simulator.people.catalog import COLLECTIONS, KINDS
from pco_simulator.people.households import HOUSEHOLD_MEMBERSHIP
from pco_simulator.people.kind import ROOT
from pco_simulator.people.organization import ORGANIZATION
from pco_simulator.rows import Row
from pco_simulator.state import open_world

GRAPH = Path(__file__).parents[5] / "shared" / "pco-data" / "docs-graph-2025" / "people"
VERSION = "2025-07-17"

RESOURCES: dict[str, Kind] = {
    **{kind.type: kind for kind in COLLECTIONS.values() if kind.type not in ("Nothing", "Tab")},
    "HouseholdMembership": HOUSEHOLD_MEMBERSHIP,
}
LATER = {"MaritalStatus": {"sequence"}}
"""Orders recorded in 2026 that the documentation of 2025 lacks."""

ONLY_WITH_FIELDS = {"Campus": {"time_zone_raw"}}
"""Attributes documented as sent only when named in `fields` that the simulator lacks; others are compared."""

NEVER_FILLED = {"Campus", "SchoolOption"}
"""Types without records in any simulated church, so their relationships are never shown."""

ASSIGNABLE = {
    "Person": rules.PERSON_ASSIGNABLE | {"gender_id"},
    "FieldDatum": rules.FIELD_DATUM_ASSIGNABLE,
    "Household": rules.HOUSEHOLD_ASSIGNABLE,
    "HouseholdMembership": rules.MEMBERSHIP_ASSIGNABLE,
    **rules.CONTACT_ASSIGNABLE,
}

pytestmark = pytest.mark.skipif(
    not GRAPH.is_dir(), reason="THE VENDOR'S DOCUMENTATION GRAPH IS ABSENT: nothing is compared"
)


def documented(type_: str) -> dict[str, Any]:
    for path in GRAPH.glob("*.json"):
        data: dict[str, Any] = json.loads(path.read_text())["data"]
        if data["attributes"]["name"] == type_:
            return data
    raise AssertionError(f"{type_} is not documented")


def names(data: dict[str, Any], relation: str, key: str = "name") -> set[str]:
    return {one["attributes"][key] for one in data["relationships"][relation]["data"]}


@pytest.fixture(scope="module")
def context() -> Context:
    world = open_world(None, people=400, seed=3, clock=SetClock.__new__(SetClock))
    organization_id = next(iter(world.organizations))
    fields = {kind.type: frozenset(kind.only_with_fields | {"id"}) for kind in KINDS.values() if kind.only_with_fields}
    return Context(world.view(organization_id), VERSION, ROOT, fields, int(organization_id))


@pytest.mark.parametrize("type_", [*RESOURCES, "Organization"])
def test_attributes(context: Context, type_: str) -> None:
    kind = RESOURCES.get(type_, ORGANIZATION)
    rows = context.view.tables[type_].rows
    shown = kind.attributes(context, next(iter(rows.values()), Row(1, {})))
    assert set(shown) | {"id"} == names(documented(type_), "attributes") - ONLY_WITH_FIELDS.get(type_, set())


@pytest.mark.parametrize("type_", RESOURCES)
def test_queries_orders_and_includes(type_: str) -> None:
    kind, data = RESOURCES[type_], documented(type_)
    assert set(kind.can_query(VERSION)) == names(data, "can_query")
    assert set(kind.can_order(VERSION)) - LATER.get(type_, set()) == names(data, "can_order")
    assert set(kind.can_include) == names(data, "can_include", "value")


@pytest.mark.parametrize("type_", ASSIGNABLE)
def test_assignable_attributes(type_: str) -> None:
    permissions = documented(type_)["relationships"]["permissions"]["data"]["attributes"]
    assert set(permissions["create_assignable"]) == ASSIGNABLE[type_]
    assert set(permissions["update_assignable"]) == ASSIGNABLE[type_]


@pytest.mark.parametrize("type_", RESOURCES)
def test_types_of_query_parameters(type_: str) -> None:
    kind = RESOURCES[type_]
    for one in documented(type_)["relationships"]["can_query"]["data"]:
        name, wanted = one["attributes"]["name"], one["attributes"]["type"]
        if name not in kind.source.searches and wanted != "array":
            assert kind.source.kinds[name] == wanted, name


@pytest.mark.parametrize("type_", sorted(RESOURCES.keys() - NEVER_FILLED))
def test_relationships(context: Context, type_: str) -> None:
    rows = context.view.tables[type_].rows
    shown = RESOURCES[type_].relationships(context, next(iter(rows.values())))
    assert set(shown) == names(documented(type_), "relationships")
