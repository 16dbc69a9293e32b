import pytest

from contracts.people import Address
from people_sync.domain.canonical import canonical, fold, name_key, same
from people_sync.domain.values import Value


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("phone", "(212) 555-0143", "+1 212 555 0143"),
        ("phone", "212.555.0143 x12", "+12125550143 ext. 12"),
        ("phone", "011 1 212-555-0143", "1-212-555-0143"),
        ("phone", "", None),
        ("email", " Ann@Example.ORG ", "ann@example.org"),
        ("email", "", None),
        ("first_name", "Ann  Marie ", "Ann Marie"),
        ("first_name", "Zoe\u0308", "Zoë"),
        ("gender", "", None),
        ("address", Address(city="Ulm", country_code="US"), Address(city=" Ulm ")),
        ("address", Address(street_line_1="1 Main\nSt"), Address(street_line_1="1 Main St")),
        ("address", Address(), None),
        ("address", Address(country_code="DE"), None),
    ],
)
def test_formatting_is_no_change(field: str, one: Value, other: Value) -> None:
    assert same(field, one, other, "US")


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("first_name", "ann", "Ann"),
        ("phone", "212-555-0143", "212-555-0144"),
        ("phone", "212-555-0143", "212-555-0143 x1"),
        ("phone", "Mum 212-555-0143", "Dad 212-555-0143"),
        ("phone", "1-800-FLOWERS", "1-800-CONTACT"),
        ("email", "ann@example.org", "anne@example.org"),
        ("address", Address(city="Ulm"), Address(city="Ulm", country_code="DE")),
        ("child", False, True),
        ("child", False, None),
    ],
)
def test_a_typed_difference_is_a_change(field: str, one: Value, other: Value) -> None:
    assert not same(field, one, other, "US")


def test_a_local_number_is_read_with_the_churchs_country() -> None:
    assert canonical("phone", "030 123456", "DE") == "+4930123456"
    assert canonical("phone", "030 123456", "") == "030123456"


def test_names_are_looked_up_without_case_accents_and_punctuation() -> None:
    assert fold("Émilie  O’Brien-Łuk") == fold("EMILIE obrien luk")
    assert name_key("Søren ", "Ångström") == "soren angstrom"
    assert name_key("", "") == ""
    # Vowel signs are letters, not accents.
    assert fold("कुमार") != fold("कमार")
