"""The receipt of an erasure, and the removal of names from others' data."""

import pytest

from people_sync.domain.erasure import ERASED_PERSON, MARKED, VALUES, receipt, without_names, without_people


@pytest.mark.parametrize(
    ("text", "names", "after"),
    [
        ("Ann Lee: left out.", {"Ann Lee"}, f"{ERASED_PERSON}: left out."),
        ("Also Al and Al.", {"Al"}, f"Also {ERASED_PERSON} and {ERASED_PERSON}."),
        (
            "Jo King Jr. is here; Jo King too.",
            {"Jo King", "Jo King Jr."},
            f"{ERASED_PERSON} is here; {ERASED_PERSON} too.",
        ),
        ("Zoë is (Zoë).", {"Zoë"}, f"{ERASED_PERSON} is ({ERASED_PERSON})."),
        ("Zoëlle stays.", {"Zoë"}, "Zoëlle stays."),
    ],
)
def test_a_name_is_replaced_as_a_whole(text: str, names: set[str], after: str) -> None:
    assert without_names(text, names) == after


def test_a_plan_has_no_names_of_erased_people() -> None:
    ann = {"id": "1", "pco_id": "501", "name": "Ann Lee"}
    bob = {"id": "2", "pco_id": "502", "name": "Bob Lee"}
    plan = [
        {
            "field": "members",
            "here": [ann, bob],
            "after": {"id": None, "pco_id": "501", "name": "A. Lee"},
            "there": "Ann Lee",
        }
    ]
    (field,) = without_people(plan, {"1", "501"}, {"Ann Lee"})
    assert [one["name"] for one in field["here"]] == [ERASED_PERSON, "Bob Lee"]
    assert (field["after"]["name"], field["there"]) == (ERASED_PERSON, ERASED_PERSON)


def test_a_receipt_is_composed_of_each_services_report() -> None:
    def lines(told: list[dict[str, int] | None], *, kept_out: bool = True) -> dict[str, tuple[str, int]]:
        found = receipt({VALUES: 1, MARKED: 2}, told, days=14, failed_days=30, kept_out=kept_out)
        return {line.place: (line.outcome, line.count) for line in found}

    first = lines([None, {"conflicts": 1}])
    assert (first["values"], first["history"], first["decisions"][0]) == (("done", 1), ("not_needed", 0), "pending")
    assert (first["marker"], first["planning_center"]) == (("kept", 2), ("left", 0))
    assert lines([{"conflicts": 1, "decisions": 2}, {"conflicts": 0}])["decisions"] == ("done", 3)
    assert lines([{"conflicts": 0}], kept_out=False)["marker"] == ("not_needed", 0)
