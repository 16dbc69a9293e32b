"""People-sync killed before, during and after every kind of call to Planning Center and every kind of commit.

Each story starts from copies of one church and one database. An undisturbed run gives the kinds. Each kind is then hit
by SIGKILL in a copy of its own, and a new process continues. In the end both sides must equal those of the undisturbed
run: nothing doubled, lost or different.
"""

import logging
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from sync_harness.church import Church, rows_of_many
from sync_harness.copies import ORGANIZATION, Ground, copied, start_run
from sync_harness.crashing import BY_CHANCE, Undisturbed, carried_on, failure_of, ground, left_behind, undisturbed
from sync_harness.ends import differences, doubled
from sync_harness.process import environment, running
from sync_harness.site import Site
from sync_harness.stage import connect

from servicekit.local.process import free_port
from servicekit.testing import Databases, KeyRing
from servicekit.testing.databases import Database, copy_database
from synckit.testing.crashing import PATIENCE_SECONDS, Kill, all_of, die, kills_around
from synckit.testing.lender import Lender

SOAK_SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "0"))
"""`make soak`: for so long, and at as many instants, processes die in one run over a larger church."""
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200 + SOAK_SECONDS)]
log = logging.getLogger(__name__)
LARGE: Final = 5000 if SOAK_SECONDS else 600
LARGE_KILLS: Final = max(6, int(SOAK_SECONDS / 6))
SEED: Final = int(os.environ.get("SOAK_SEED", "8"))
"""Of the instants: the kills are the same in every run."""
COPIES: Final = 500 if SOAK_SECONDS else 220
STORIES: Final = {"full": "sync", "incremental": "sync", "proof": "proof"}
"""The purpose of each; a proof writes nothing, and the run after it everything."""


@dataclass(slots=True)
class Prepared:
    """The starting point of the stories."""

    ground: Ground
    templates: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prepared(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, kafka_server: str, keys: KeyRing, lender: Lender
) -> AsyncIterator[Prepared]:
    """A church in sync, changed on both sides since; per story a copy of it, and a database with a queued run."""
    folder = tmp_path_factory.mktemp("crashes")
    url = await databases.create("people_sync")
    rows = await left_behind(folder, url, kafka_server, keys, lender, _change_both_sides)
    # The country is read once per organization, and that request must be hit too.
    await Database(url).fetch("UPDATE connection SET country_code = NULL")
    templates = {}
    for story, purpose in STORIES.items():
        templates[story] = await copy_database(url)
        await start_run(templates[story], "incremental" if story == "incremental" else "full", purpose)
    async with ground(folder, rows, kafka_server, keys, lender, copies=COPIES) as made:
        yield Prepared(made, templates)


async def _change_both_sides(site: Site) -> None:
    address = {"street_line_1": "9 Oak St", "city": "Ashford", "state": "CT", "zip": "06278"}
    await site.settings(first_match="planning_center", inactivate_deleted=True)

    async def add(first: str, last: str, **values: Any) -> str:
        return await site.add(first, last, **values)

    ann = await add("Ann", "New", email="ann@example.org", phone="(212) 555-0141", address=address)
    bob = await add("Bob", "New", email="bob@example.org", phone="(212) 555-0142", address=address)
    cid = await add("Cid", "New", child=True)
    eve = await add("Eve", "Match", email="eve@example.org", phone="(212) 555-0144")
    fay = await add("Fay", "Match", email="fay@example.org")
    gil = await add("Gil", "Extra", email="gil@example.org", address=address)
    guy = await add("Guy", "Extra", phone="(212) 555-0147")
    await add("Hal", "Held", email="hal@example.org")
    for name, members in {
        "New Family": (ann, bob, cid),
        "Match Family": (eve, fay),
        "Extra Family": (gil, guy),
    }.items():
        body = {"name": name, "member_ids": members, "primary_contact_id": members[0]}
        await site.call("POST", "/families", body)
    await site.change("Bruno", last_name="Bakerson", phone="(212) 555-0150", email="bb@example.org")
    await site.change("Alan", address={"street_line_1": "7 Pine St", "city": "Ashford"})
    await site.change("Abel", email="abel@example.org")
    await site.change("Dora", phone=None)
    await site.change("Carl", last_name="Here")
    await site.remove("Ned")
    await site.regroup("Baker Household", join=["Cora"])
    await site.regroup("Abbot Household", leave=["Amy"])
    await site.call("PATCH", f"/families/{(await site.family_of('Dean Household'))['id']}", {"name": "Dean Family"})
    site.create("Eve", "Match", email="EVE@example.org")
    site.create("Fay", "Match", email="fay@example.org")
    site.create("Hal", "Held", email="another.hal@example.org")
    site.create("Pia", "Page", email="pia@example.org")
    site.edit("Cora", last_name="Clarkson")
    site.edit_contact("Cora", "Email", address="cc@example.org")
    site.edit_contact("Amy", "PhoneNumber", number="(212) 555-0155")
    site.edit_contact("Alan", "Address", zip="06279")
    site.edit("Carl", last_name="There")
    site.rename_household("Clark Household", "Clark Family")
    site.delete("Lee")
    site.merge(site.create("Maximilian", "Moor", email="maximilian@example.org"), site.person("Max")["id"])


async def _undisturbed(prepared: Prepared, story: str) -> Undisturbed:
    async with copied(prepared.ground, prepared.templates[story]) as copy:
        return await undisturbed(copy)


async def _killed(prepared: Prepared, story: str, kill: Kill, expected: Undisturbed) -> str | None:
    """The difference from the undisturbed end; None if there is none."""
    async with copied(prepared.ground, prepared.templates[story]) as copy:

        async def through() -> str | None:
            return await carried_on(copy, expected) if await die(copy, kill) else "was never killed"

        return await failure_of(story, kill, copy, through())


async def test_killed_around_every_kind_of_call_and_commit(prepared: Prepared) -> None:
    baselines = {story: await _undisturbed(prepared, story) for story in STORIES}
    work: list[tuple[str, Kill]] = []
    met: set[tuple[str, str]] = set()
    for story in STORIES:
        work += [
            (story, kill)
            for kill in kills_around(baselines[story].kinds - met, thorough=bool(SOAK_SECONDS), by_chance=BY_CHANCE)
        ]
        met |= baselines[story].kinds
    failures = await all_of(work, lambda story, kill: _killed(prepared, story, kill, baselines[story]))
    calls = {kind for what, kind in met if what == "answer"}
    commits = {kind for what, kind in met if what == "before commit"}
    log.info("%d kills around %d kinds of calls and %d kinds of commits", len(work), len(calls), len(commits))
    assert not failures, "\n\n".join(failures)


async def test_killed_at_instants_drawn_by_seed_in_a_large_church(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, kafka_server: str, keys: KeyRing, lender: Lender
) -> None:
    """Several processes die in turn in the same run, from its first page to its last household."""
    folder = tmp_path_factory.mktemp("large")
    template = await databases.create("people_sync")
    await _members_of_a_large_church(folder, template, kafka_server, keys, lender)
    async with ground(folder, rows_of_many(LARGE), kafka_server, keys, lender, copies=2) as made:
        async with copied(made, template) as copy:
            record = copy.log.with_suffix(".instants")
            await copy.process(record=str(record))
            await copy.over(within=PATIENCE_SECONDS)
            expected = [await copy.ends()]
            await copy.again()
            expected.append(await copy.ends())
        assert not doubled(expected[0])
        async with copied(made, template) as copy:
            kills, killed, until = _drawn(record.read_text().splitlines()), 0, time.monotonic() + SOAK_SECONDS
            for kill in kills:
                if SOAK_SECONDS and time.monotonic() > until:
                    break
                if await die(copy, kill):
                    killed += 1
            await copy.process()
            await copy.over(within=PATIENCE_SECONDS)
            found = await copy.ends()
            if found != expected[0]:
                await copy.again()
                found = await copy.ends()
    print(f"tried: {killed} kills of {len(kills)} drawn, {LARGE} people")  # noqa: T201 - read by `make soak`
    assert killed >= (1 if SOAK_SECONDS else LARGE_KILLS - 2)
    assert not doubled(found)
    assert found in expected, differences(expected[-1], found)


async def _members_of_a_large_church(folder: Path, url: str, kafka: str, keys: KeyRing, lender: Lender) -> None:
    """New members in families, and a queued run that no process has begun."""
    env = environment(
        keys,
        database=url,
        kafka=kafka,
        simulator="http://127.0.0.1:1",
        auth_service=lender.url_of("large"),
        port=free_port(),
    )
    members = [
        {
            "external_id": f"m{number}",
            "first_name": f"New{number}",
            "last_name": f"Family{number // 3}",
            "email": f"new{number}@example.com",
            "phone": f"(212) 555-01{number:02}",
        }
        for number in range(30)
    ]
    families = [
        {
            "external_id": f"f{number}",
            "name": f"Family {number}",
            "member_external_ids": [f"m{3 * number + one}" for one in range(3)],
            "primary_contact_external_id": f"m{3 * number}",
        }
        for number in range(10)
    ]
    async with running(env, folder / "first.log") as service:
        church = Church(id="0", admin_id="0", tokens=(), viewer_token="", secret=("", ""))
        database = Database(url)
        site = Site(ORGANIZATION, church, None, database, keys, service.base_url)  # type: ignore[arg-type] # not used
        result = await site.call("PUT", "/bulk", {"members": members, "families": families})
        assert result["created"] == 40
    await connect(database, ORGANIZATION, church)
    await start_run(url, "full")


def _drawn(instants: list[str]) -> list[Kill]:
    """Instants of the undisturbed run, in order; `nth` counts from the previous one, as each process does."""
    draw = random.Random(SEED)
    positions = sorted(draw.sample(range(len(instants)), min(LARGE_KILLS, len(instants))))
    kills = []
    for before, position in pairwise([0, *positions]):
        what, kind = instants[position].split("\t")
        kills.append(Kill(what, kind, max(1, instants[before : position + 1].count(instants[position]))))
    return kills
