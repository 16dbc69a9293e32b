"""Which family is which household: looking at families in common gives what looking at all gives."""

from time import process_time
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from people_sync.domain.families import match_families, match_family

ids = [UUID(int=n) for n in range(8)]
homes = st.tuples(st.sampled_from(["Smith", "Jones"]), st.frozensets(st.sampled_from(ids), max_size=4))
numbers = st.sampled_from(["2", "10", "3", "7", "11"])


@given(st.dictionaries(numbers, homes), st.dictionaries(st.sampled_from([UUID(int=100 + n) for n in range(5)]), homes))
def test_each_household_chooses_among_the_families_that_are_left(
    households: dict[str, tuple[str, frozenset[UUID]]], families: dict[UUID, tuple[str, frozenset[UUID]]]
) -> None:
    expected: dict[str, UUID] = {}
    for pco_id in sorted(households, key=int):
        left = {family: values for family, values in families.items() if family not in expected.values()}
        family = match_family(*households[pco_id], left)
        if family is not None:
            expected[pco_id] = family
    assert match_families(households, families) == expected


def test_thousands_of_families_are_looked_up() -> None:
    count = 5_000
    homes = {n: ("Smith", frozenset({UUID(int=2 * n), UUID(int=2 * n + 1)})) for n in range(count)}
    began = process_time()
    found = match_families(
        {str(n): home for n, home in homes.items()}, {UUID(int=10**6 + n): home for n, home in homes.items()}
    )
    assert found == {str(n): UUID(int=10**6 + n) for n in range(count)}
    assert process_time() - began < 2
