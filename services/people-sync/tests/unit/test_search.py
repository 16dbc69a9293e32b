import pytest

from people_sync.domain.search import Term, terms


def texts(typed: str, country: str | None = "US") -> list[tuple[str, ...]]:
    return [term.texts for term in terms(typed, country)]


@pytest.mark.parametrize("typed", ["O’Brien, Émilie", "émilie  obrien", "OBRIEN;EMILIE", " O'Brien\tEmilie "])
def test_names_in_either_order_without_accents_and_case(typed: str) -> None:
    assert sorted(texts(typed)) == [("emilie",), ("obrien",)]


@pytest.mark.parametrize("typed", ["...", " - ", "@", "’", "( ) / -", "_%", "\u200b", ""])
def test_punctuation_alone_finds_nothing(typed: str) -> None:
    assert terms(typed, "US") == ()


@pytest.mark.parametrize(
    ("typed", "country"),
    [
        ("(03) 9123 4567", "AU"),
        ("+61 3 9123 4567", "AU"),
        ("0061.3.9123.4567", "GB"),
        ("03‑9123‑4567", "AU"),
        ("٠٣ ٩١٢٣ ٤٥٦٧", "AU"),
        ("391234567", None),
    ],
)
def test_a_phone_in_any_form(typed: str, country: str | None) -> None:
    [term] = terms(typed, country)
    assert term.within == "anything"
    stored = ("+61391234567", "0391234567")
    assert all(any(text in one for text in term.texts) for one in stored)


def test_a_part_of_a_phone_or_mail() -> None:
    assert texts("555-0100") == [("5550100",)]
    assert texts("ann.lee@exam") == [("ann.lee@exam",)]
    assert terms("a@b", "US") == (Term(("a@b",), "email"),)


def test_a_text_too_short_for_an_index_is_part_of_a_name() -> None:
    assert terms("12", "US") == (Term(("12",), "name"),)
    assert terms("de la Cruz", "US") == (Term(("de",), "name"), Term(("la",), "name"), Term(("cruz",)))
    assert terms("王伟", "US") == (Term(("王伟",), "name"),)
