"""An impossible value is refused with a sentence at its field; in a bulk call, only its record."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from contracts.http.people import BulkFamily, BulkMember
from contracts.people import Address
from people_sync.domain.inputs import problems
from people_sync.usecases.bulk import _Call, _valid
from people_sync.usecases.directory import input_values
from synckit.history import Actor

TODAY = date(2026, 1, 5)
LIGATURES = "\ufdfa" * 100


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 5000])
@pytest.mark.parametrize("field", ["first_name", "last_name", "email", "phone", "gender", "city"])
def test_an_impossible_text_is_refused_at_its_field(field: str, text: str) -> None:
    values = {"address": Address(city="Ulm").model_copy(update={field: text})} if field == "city" else {field: text}
    found = problems(values, "US", TODAY)
    assert {"address" if field == "city" else field} == {name for name, _ in found}
    assert all(message.isprintable() for _, message in found)


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\ufeff\u200e \u200c"])
def test_a_name_without_visible_characters_is_empty(text: str) -> None:
    assert [field for field, _ in problems({"first_name": text, "last_name": text}, "US", TODAY)] == ["first_name"]
    assert problems({"first_name": text, "last_name": "Ng"}, "US", TODAY) == []
    assert input_values({"first_name": text, "last_name": "Ng"}) == {"first_name": "", "last_name": "Ng"}


def test_a_name_too_long_for_an_index_is_refused() -> None:
    assert [field for field, _ in problems({"last_name": LIGATURES}, "US", TODAY)] == ["last_name"]
    assert problems({"first_name": "Ж" * 100, "last_name": "漢" * 100}, "US", TODAY) == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"external_id": "a\0"}, "external_id"),
        ({"external_id": "a\ud800"}, "external_id"),
        ({"first_name": "A\0"}, "first_name"),
        ({"first_name": "A\ud800"}, "first_name"),
        ({"last_name": LIGATURES}, "last_name"),
        ({"email": "a\0b@example.org"}, "email"),
        ({"email": "a\ud800b@example.org"}, "email"),
        ({"phone": "212\0"}, "phone"),
        ({"gender": "\0"}, "gender"),
        ({"birthdate": "0000-00-00"}, "birthdate"),
        ({"birthdate": "\ud800"}, "birthdate"),
        ({"address": {"city": "\0"}}, "address.city"),
        ({"pco_id": "1\0"}, "pco_id"),
        ({"pco_id": "1" * 400}, "pco_id"),
        ({"colour\0": "red"}, "colour\0"),
        ({"colour\ud800": "red"}, "record"),
    ],
)
def test_only_the_bad_member_of_a_bulk_call_is_refused(wrong: dict[str, Any], field: str) -> None:
    fine = {"external_id": "b", "first_name": "Bob", "last_name": "Smith"}
    call = _Call(None, "o", Actor("platform"), datetime.now(UTC), "", "", None)  # type: ignore[arg-type]
    records = [{"external_id": "a", "first_name": "Ann", "last_name": "Smith", **wrong}, fine]
    assert list(_valid(call, "member", records, BulkMember)) == [1]
    (rejected,) = call.rejected
    assert [error.field for error in rejected.errors] == [field]
    rejected.model_dump_json()


def test_only_the_bad_family_of_a_bulk_call_is_refused() -> None:
    call = _Call(None, "o", Actor("platform"), datetime.now(UTC), "", "", None)  # type: ignore[arg-type]
    families = [{"external_id": str(n), "name": name} for n, name in enumerate(["A\0", LIGATURES, "\ud800", "Smith"])]
    assert list(_valid(call, "family", families, BulkFamily)) == [3]
    assert [[error.field for error in one.errors] for one in call.rejected] == [["name"]] * 3
