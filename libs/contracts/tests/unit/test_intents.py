"""Intents accept exactly what the API's document says: JSON's own types and readable names."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from contracts.http.common import ListQuery
from contracts.http.people import MemberInput
from contracts.routes import ROUTES

BODIES = sorted({route.request for route in ROUTES if route.request}, key=lambda model: model.__name__)
QUERIES = sorted({route.query for route in ROUTES if route.query}, key=lambda model: model.__name__)
KINDS: dict[str, tuple[Any, ...]] = {
    "null": (None,),
    "boolean": (True, False),
    "integer": (0, 1, 1577836800),
    "number": (0.5,),
    "string": ("1", "true", "", "2020-01-01T00:00:00Z", "1577836800"),
    "array": ([],),
    "object": ({},),
}
NEVER = ("bool_type", "int_type", "date_type", "string_type", "not_null")
"""Error types about the kind of a value, not about the value itself."""


def kinds(schema: dict[str, Any], every: dict[str, Any]) -> Iterator[str]:
    """The kinds of JSON that a schema accepts."""
    if "$ref" in schema:
        yield from kinds(every[schema["$ref"].rpartition("/")[2]], every)
    for option in schema.get("anyOf", []):
        yield from kinds(option, every)
    if "type" in schema:
        yield schema["type"]


def refused(model: type[BaseModel], field: str, value: Any) -> set[str]:
    """The errors about this field alone."""
    try:
        model.model_validate({field: value})
    except ValidationError as error:
        return {one["type"] for one in error.errors() if one["loc"] == (field,)}
    return set()


@pytest.mark.parametrize("model", BODIES, ids=lambda model: model.__name__)
def test_a_body_takes_the_kinds_that_its_document_says_and_no_others(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    for field, about in schema["properties"].items():
        taken = set(kinds(about, schema.get("$defs", {})))
        assert taken, field
        for kind, values in KINDS.items():
            for value in values:
                errors = refused(model, field, value)
                if kind not in taken:
                    assert errors, f"{field} takes {value!r}, and its document says {taken}"
                elif not isinstance(value, str):
                    assert not errors & set(NEVER), f"{field} refuses {value!r}, and its document says {taken}"
        if about.get("format") == "date" or any(option.get("format") == "date" for option in about.get("anyOf", [])):
            assert all(refused(model, field, value) for value in KINDS["string"])
            assert not refused(model, field, "2020-02-29")


@pytest.mark.parametrize("model", QUERIES, ids=lambda model: model.__name__)
def test_a_query_takes_true_false_and_digits(model: type[BaseModel]) -> None:
    assert issubclass(model, ListQuery) or not model.model_fields
    schema = model.model_json_schema()
    for field, about in schema.get("properties", {}).items():
        taken = set(kinds(about, schema.get("$defs", {})))
        wrong: list[str] = []
        if "boolean" in taken:
            assert not refused(model, field, "true") | refused(model, field, "false")
            wrong += ["1", "0", "yes", "on", "True", "t", ""]
        if "integer" in taken:
            assert not refused(model, field, "1")
            wrong += ["1.0", "+1", "1_0", "true", "", "١"]
        assert all(refused(model, field, value) for value in wrong), field


@pytest.mark.parametrize(
    "name",
    [
        "\u200b",
        "\u3164",
        "\u2800\u200d",
        "\ufeff",
        "\U000e0041",
        "a\u0085b",
        "a\x7fb",
        "\u202eabc",
        "a\u2066b",
        "a\u200fb",
        "a\nb",
    ],
)
def test_a_name_can_be_read(name: str) -> None:
    assert refused(MemberInput, "first_name", name)


@pytest.mark.parametrize(
    "name", ["", "  ", "Zoë", "名前", "نام\u200cها", "👩\u200d👩\u200d👧", "O\u2019Brien", "a\u00a0b", "é"]
)
def test_names_of_the_world_are_names(name: str) -> None:
    assert not refused(MemberInput, "first_name", name)


def test_an_address_is_one_alone() -> None:
    assert not refused(MemberInput, "email", "ann@example.org")
    assert refused(MemberInput, "email", "Ann <ann@example.org>")
