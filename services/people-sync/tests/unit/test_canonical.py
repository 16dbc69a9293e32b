from datetime import date

import pytest

from contracts.people import Address
from people_sync.domain.canonical import canonical, email_key, identical, name_key, same, text_key
from people_sync.domain.values import Value
from synckit.text import fold


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
        (
            "address",
            Address(street_line_1="1 Main St\nApt 2"),
            Address(street_line_1="1 Main St", street_line_2="Apt 2"),
        ),
        (
            "address",
            Address(street_line_1="1 Main St Apt 2"),
            Address(street_line_1="1 Main St", street_line_2="Apt 2"),
        ),
        ("address", Address(), None),
        ("address", Address(country_code="DE"), None),
    ],
)
def test_formatting_is_no_change(field: str, one: Value, other: Value) -> None:
    assert same(field, one, other, "US")


INVISIBLE = [
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u200e",
    "\u200f",
    "\u202a",
    "\u202e",
    "\u2066",
    "\u061c",
]


@pytest.mark.parametrize("mark", INVISIBLE, ids=ascii)
def test_invisible_characters_are_no_change_and_hide_nobody(mark: str) -> None:
    for place in (f"{mark}Müller", f"Mül{mark}ler", f"Müller{mark}", f"Mu{mark}\u0308ller"):
        assert same("last_name", place, "Müller", "US")
        assert name_key("Ann", place) == "ann muller"
        assert canonical("address", Address(city=place), "US") == canonical("address", Address(city="Müller"), "US")
        assert text_key(place) == "Müller"
    assert same("email", f"a{mark}nn@example.org{mark}", "ann@example.org", "US")
    assert email_key(f"{mark}ann@exam{mark}ple.org") == "ann@example.org"
    assert same("phone", f"{mark}212 555{mark} 0143", "+12125550143", "US")
    assert same("first_name", mark, "", "US")
    assert email_key(mark) is None


def test_a_zero_width_non_joiner_is_a_space() -> None:
    assert same("first_name", "مهر\u200cنوش", "مهر نوش", "US")
    assert not same("first_name", "مهر\u200cنوش", "مهرنوش", "US")
    assert fold("مهر\u200cنوش") == fold("مهر نوش")
    assert email_key("ann\u200c@example.org\u200c") == "ann@example.org"


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
        ("address", Address(street_line_1="1 Main St"), Address(street_line_1="1 Main St", street_line_2="Apt 2")),
        ("address", Address(street_line_1="1 Main St\nApt 2"), Address(street_line_1="1 Main St\nApt 3")),
        ("child", False, True),
        ("child", False, None),
    ],
)
def test_a_real_difference_is_a_change(field: str, one: Value, other: Value) -> None:
    assert not same(field, one, other, "US")


def test_the_year_1885_means_that_it_is_unknown() -> None:
    unknown = date(1885, 5, 3)
    for year in (1885, 1990, 2020):
        assert same("birthdate", unknown, date(year, 5, 3), "US")
        assert same("birthdate", date(year, 5, 3), unknown, "US")
    assert not same("birthdate", unknown, date(1990, 5, 4), "US")
    assert not same("birthdate", date(1990, 5, 3), date(1991, 5, 3), "US")
    assert not same("birthdate", unknown, None, "US")
    assert not identical("birthdate", unknown, date(1990, 5, 3), "US")


def test_a_local_number_is_read_with_the_churchs_country() -> None:
    assert canonical("phone", "030 123456", "DE") == "+4930123456"
    assert canonical("phone", "030 123456", "") == "030123456"


def test_names_are_looked_up_without_case_accents_and_punctuation() -> None:
    assert fold("Émilie  O’Brien-Łuk") == fold("EMILIE obrien luk")
    assert name_key("Søren ", "Ångström") == "soren angstrom"
    assert name_key("", "") == ""
    # Vowel signs are letters, not accents.
    assert fold("कुमार") != fold("कमार")
