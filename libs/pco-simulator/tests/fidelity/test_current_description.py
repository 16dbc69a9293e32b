"""Compares the product `current` with the vendor's own OpenAPI description of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pco_simulator.current import VERSIONS
from pco_simulator.direct import Direct, SetClock
from pco_simulator.state import open_world

FILE = Path(__file__).parents[5] / "shared" / "pco-data" / "openapi" / f"current-{VERSIONS[-1]}.json"

ONE = "/people/{person_id}/organization"
"""Edges described as a list; People answers such an edge to one record with the record (recorded 2026), so these do
too."""

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="THE VENDOR'S OPENAPI DESCRIPTION IS ABSENT: nothing is compared"
)


def fits(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> None:
    """An object has every described property, except the optional ones of `meta` and `links`."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
    if "oneOf" in schema:
        (schema,) = schema["oneOf"]
        fits(value, schema, schemas, where)
    elif schema["type"] == "object":
        assert isinstance(value, dict), where
        described = schema["properties"]
        assert described.keys() - value.keys() <= {"prev", "next", "included"}, where
        assert value.keys() - described.keys() <= {"relationships"}, where
        for name in value.keys() & described.keys():
            fits(value[name], described[name], schemas, f"{where}.{name}")
    elif schema["type"] == "array":
        for one in value:
            if schema["items"]:
                fits(one, schema["items"], schemas, where)
        assert value in schema.get("enum", [value]), where
    else:
        assert isinstance(value, {"string": str, "integer": int}[schema["type"]]), where
        assert value in schema.get("enum", [value]), where


def test_every_path_answers_as_described() -> None:
    description = json.loads(FILE.read_text())
    world = open_world(None, people=20, seed=1, clock=SetClock(datetime(2026, 3, 1, tzinfo=UTC)), churches=1)
    login = world.logins[0]
    api = Direct(world, login.organization_id, login.person_id)
    ids = {"{person_id}": login.person_id, "{organization_id}": login.organization_id}
    for path in description["paths"]:
        url = path
        for name, id_ in ids.items():
            url = url.replace(name, id_)
        answer = api.get(f"/current/v2{url}?include=organization")
        assert answer.status == 200
        described = description["paths"][f"{ONE}/{{organization_id}}" if path == ONE else path]
        (content,) = described["get"]["responses"]["200"]["content"].values()
        fits(answer.body, content["schema"], description["components"]["schemas"], path)
