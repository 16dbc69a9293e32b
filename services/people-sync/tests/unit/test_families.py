"""Matching of families and households: comparing only families with common people gives the same as comparing all."""

from time import process_time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from people_sync.domain.families import Home, is_the_same, match_families, match_family

ids = [UUID(int=n) for n in range(8)]
homes = st.builds(
    Home, st.sampled_from(["Smith", "Jones"]), st.frozensets(st.sampled_from(ids), max_size=4), st.integers(0, 2)
)
numbers = st.sampled_from(["2", "10", "3", "7", "11"])


@given(st.dictionaries(numbers, homes), st.dictionaries(st.sampled_from([UUID(int=100 + n) for n in range(5)]), homes))
def test_each_household_is_matched_with_the_remaining_families(
    households: dict[str, Home], families: dict[UUID, Home]
) -> None:
    expected: dict[str, UUID] = {}
    for pco_id in sorted(households, key=int):
        left = {family: values for family, values in families.items() if family not in expected.values()}
        family = match_family(households[pco_id], left)
        if family is not None:
            expected[pco_id] = family
    assert match_families(households, families) == expected


def test_thousands_of_families_are_matched_by_lookup() -> None:
    count = 5_000
    homes = {n: Home("Smith", frozenset({UUID(int=2 * n), UUID(int=2 * n + 1)})) for n in range(count)}
    began = process_time()
    found = match_families(
        {str(n): home for n, home in homes.items()}, {UUID(int=10**6 + n): home for n, home in homes.items()}
    )
    assert found == {str(n): UUID(int=10**6 + n) for n in range(count)}
    assert process_time() - began < 2


# Kind: one common person merges two families.
@pytest.mark.parametrize(
    ("family", "household", "same"),
    [
        pytest.param(("Youngs", "mn", 0), ("Elders", "abm", 0), False, id="one of a couple in the parents' home"),
        pytest.param(("Youngs", "mn", 0), ("Youngs", "abm", 0), False, id="the same under the parents' name"),
        pytest.param(("Youngs", "m", 1), ("Elders", "abm", 0), False, id="his wife is not linked"),
        pytest.param(("Youngs", "m", 1), ("Elders", "m", 2), False, id="nor are his parents"),
        pytest.param(("Youngs", "mn", 0), ("Choir", "abcdefmn", 0), False, id="a couple in a large household"),
        pytest.param(("Bakers", "ab", 0), ("Baker Household", "ab", 0), True, id="the same people"),
        pytest.param(("Bakers", "ab", 1), ("Baker Household", "ab", 2), True, id="as far as they are linked"),
        pytest.param(("Bakers", "a", 0), ("Baker Household", "a", 0), True, id="one person and nobody else"),
        pytest.param(("The Deans", "d", 0), ("Dean Household", "d", 1), True, id="one person and whom we cannot know"),
        pytest.param(("Baker", "a", 2), (" BAKER", "a", 2), True, id="the one who is known, and the name"),
        pytest.param(("Baker", "ab", 0), ("Baker", "abcd", 0), True, id="all of the smaller, and the name"),
        pytest.param(("Baker", "abc", 0), ("Baker", "bcd", 0), True, id="most of them, and the name"),
        pytest.param(("Bakers", "abc", 0), ("Baker Household", "bcd", 0), False, id="most of them alone"),
        pytest.param(("The Baker family", "abc", 0), ("Baker Household", "ab", 1), True, id="one whole, and surname"),
        pytest.param(("Baker Family", "abc", 0), ("Baker Household", "bcd", 0), False, id="parents who live apart"),
        pytest.param(("Baker Family", "ab", 0), ("Baker Household", "a", 0), False, id="one of two, and the surname"),
        pytest.param(
            ("Bakers", "a", 2), ("Baker Household", "a", 2), False, id="the one who is known, by another name"
        ),
        pytest.param(("Baker Family", "a", 2), ("Baker", "a", 2), True, id="the one who is known, and the surname"),
        pytest.param(("Family", "abc", 0), ("Household", "ab", 0), False, id="words that are no surname"),
        pytest.param(("Baker", "", 1), ("Baker", "", 1), False, id="the name alone"),
    ],
)
def test_a_family_is_a_household_of_the_same_people_or_of_most_and_the_name(
    family: tuple[str, str, int], household: tuple[str, str, int], *, same: bool
) -> None:
    one, other = (Home(name, frozenset(known), others) for name, known, others in (family, household))
    assert is_the_same(one, other) is is_the_same(other, one) is same
