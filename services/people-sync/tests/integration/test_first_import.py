"""A first import of many batches: everybody is added once, whichever batch a household or person is in."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio
from sync_harness.church import SMALL, Rows, Somebody, rows_of
from sync_harness.site import Site
from sync_harness.stage import Stage, Staging

pytestmark = pytest.mark.asyncio(loop_scope="session")
COUPLES: Final = 520
APART: Final = (1, 100, 260, 420)
"""Somebody is in a household and in that many further: in one batch, in the next, or in the one after."""
ALONE: Final = 1_010


def rows_of_batches() -> Rows:
    """Couples, some of them with a child of two households, and people in no household."""
    people, households = list(SMALL), dict[str, tuple[str, ...]]()
    for number in range(COUPLES):
        pair = (f"His{number}", f"Her{number}")
        people += [Somebody(name, f"Pair{number}") for name in pair]
        households[f"Pair {number:03}"] = pair
    for number, apart in enumerate(APART * 4):
        child = Somebody(f"Child{number}", f"Shared{number}", child=True)
        people.append(child)
        for home in (number * 5, number * 5 + apart):
            households[f"Pair {home:03}"] += (child.first_name,)
    people += [Somebody(f"Single{number}", f"Alone{number}") for number in range(ALONE)]
    return rows_of(people, households)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(staging: Staging) -> AsyncIterator[Stage]:
    async with staging("import", rows=rows_of_batches(), copies=1) as made:
        yield made


# Kind: a batch is prepared before the previous one is committed.
async def test_everybody_is_added_once_to_each_of_their_households(stage: Stage) -> None:
    site = await stage.site()
    run = await site.sync(within=200)
    people, households = there(site)
    assert +Counter(run["counts"]) == {"created_here": len(people) + len(households)}
    assert await here(site) == (people, households)
    assert "job failed" not in stage.service.log.read_text()
    await site.believable()
    again = await site.sync(within=200)
    assert +Counter(again["counts"]) == {"unchanged": len(people) + len(households)}


def there(site: Site) -> tuple[Counter[str], dict[str, list[str]]]:
    """Everybody there by name, and the first names in each household."""
    names = {int(row["id"]): row["first_name"] for row in site.rows("Person")}
    homes = {int(row["id"]): row["name"] for row in site.rows("Household")}
    inside: dict[str, list[str]] = {name: [] for name in homes.values()}
    for row in site.rows("HouseholdMembership"):
        inside[homes[row["household_id"]]].append(names[row["person_id"]])
    return Counter(names.values()), {name: sorted(first) for name, first in inside.items()}


async def here(site: Site) -> tuple[Counter[str], dict[str, list[str]]]:
    """Everybody here by name, and the first names in each family."""
    members = await site.database.fetch(
        "SELECT first_name FROM member JOIN link ON record_id = member.id WHERE link.state = 'linked'"
    )
    families = await site.database.fetch(
        'SELECT name, to_json(array_agg(first_name ORDER BY first_name COLLATE "C"))::text AS inside FROM family '
        "JOIN family_member ON family_id = family.id JOIN member ON member_id = member.id GROUP BY family.id"
    )
    inside = {row["name"]: json.loads(row["inside"]) for row in families}
    return Counter(row["first_name"] for row in members), inside
