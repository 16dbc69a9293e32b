"""Single syncs of records: killed while working, and beside a run in two processes.

One story has all cases of a single sync: a new person with contacts, edits here, there and on both sides, a family that
people join and leave, a new family, a person to be created again, answers to held matches, decisions about conflicts,
and two joined members. Whenever a process dies, the story ends as undisturbed, and nothing is written twice.
"""

import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from typing import Final
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession
from sync_harness.copies import ADMIN, ORGANIZATION, Ground, copied, in_one_transaction, start_run
from sync_harness.crashing import (
    BY_CHANCE,
    Undisturbed,
    carried_on,
    die_beside,
    ended_as,
    failure_of,
    ground,
    left_behind,
    moves_again,
    undisturbed,
    written_twice,
)
from sync_harness.ends import differences
from sync_harness.site import Site

from contracts.conflicts import Choice
from contracts.events.conflicts_resolution_v1 import ConflictResolved
from contracts.http.merged import AnswerMerged
from contracts.http.people import AnswerHeld
from contracts.values import FAMILY, MEMBER
from people_sync.storage.runs import RUNS
from people_sync.usecases import decisions, directory, held, merged_pairs, refreshes
from servicekit.testing import Databases, KeyRing
from servicekit.testing.databases import Database, copy_database
from synckit.history import Actor
from synckit.testing.crashing import Kill, all_of, die, is_write
from synckit.testing.lender import Lender

SOAK_SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "0"))
"""`make soak`: for so long processes die at every instant there is, in an order drawn by seed."""
SEED: Final = int(os.environ.get("SOAK_SEED", "8"))
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200 + SOAK_SECONDS)]
COPIES: Final = 150 + int(SOAK_SECONDS)
TOGETHER: Final = 5
"""Kills of the process that has the run, and as many of the one that has the others."""
_CHOICES: Final[dict[str, Choice]] = {"phone": "ours", "last_name": "theirs", "email": "both", "name": "ours"}


@dataclass(slots=True)
class Prepared:
    """The starting point of the stories."""

    ground: Ground
    alone: str
    """Everybody is to be looked at by themselves."""
    run: str
    """A full run is queued, and nobody waits beside it but whom an administrator has decided about."""
    together: str
    """Both."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prepared(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, kafka_server: str, keys: KeyRing, lender: Lender
) -> AsyncIterator[Prepared]:
    """A church in sync, changed on both sides since; per story a copy of it, and a database."""
    folder = tmp_path_factory.mktemp("refreshes")
    url = await databases.create("people_sync")
    rows = await left_behind(folder, url, kafka_server, keys, lender, _change_both_sides)
    await in_one_transaction(url, _decide)
    run = await copy_database(url)
    await start_run(run, "full")
    await in_one_transaction(url, _ask_for_everybody)
    together = await copy_database(url)
    await start_run(together, "full")
    async with ground(folder, rows, kafka_server, keys, lender, copies=COPIES) as made:
        yield Prepared(made, url, run, together)


async def _change_both_sides(site: Site) -> None:
    await site.settings(first_match="planning_center")
    jon, joan = (site.create(name, "Jones", email=f"{name}@example.org") for name in ("Jon", "Joan"))
    site.mutate({"op": "create", "type": "Household", "attributes": {"name": "Jones Household", "person_ids": [joan]}})
    await site.visible()
    await site.sync()
    await site.believable()
    site.merge(jon, joan)
    for name in ("Hal", "Ida"):
        await site.add(name, "Held", email=f"{name}@example.org")
        site.create(name, "Held", email=f"another.{name}@example.org")
    site.delete("Lee")
    await site.change("Max", phone="(212) 555-0171", email="maxim@example.org")
    site.edit_contact("Max", "PhoneNumber", number="(212) 555-0172")
    site.edit("Max", last_name="Moore")
    clarks = await site.family_of("Clark Household")
    await site.call("PATCH", f"/families/{clarks['id']}", {"name": "Clark Home"})
    site.rename_household("Clark Household", "The Clarks")
    await site.visible()
    await site.sync()
    address = {"street_line_1": "9 Oak St", "city": "Ashford", "state": "CT", "zip": "06278"}
    ann = await site.add("Ann", "New", email="ann@example.org", phone="(212) 555-0141", address=address)
    await site.add("Bob", "New", email="bob@example.org")
    # With two people a kill could change which of them is created first and becomes the primary contact.
    await site.family("New Family", ann)
    await site.family("Joneses", str((await site.member("Joan"))["id"]))
    await site.change("Joan", gender="Female", birthdate="1980-02-03", address=address)
    await site.change("Bruno", last_name="Bakerson", phone="(212) 555-0150", email="bb@example.org")
    await site.change("Dora", phone=None, address=address)
    await site.change("Carl", last_name="Clarkson")
    await site.regroup("Abbot Household", join=["Ned"], leave=["Amy"])
    site.edit("Cora", last_name="Clarkson")
    site.edit_contact("Cora", "Email", address="cc@example.org")
    site.edit_contact("Carl", "PhoneNumber", number="(212) 555-0155")
    site.rename_household("Dean Household", "Dean Family")


async def _decide(session: AsyncSession, database: Database) -> None:
    """Ask to create a gone person again, answer one held match each way, and decide the conflicts."""
    now = datetime.now(UTC)
    lee = await database.value("SELECT id FROM member WHERE first_name = 'Lee'")
    await directory.create_again(session, ORGANIZATION, str(lee), Actor("person"), now)
    await refreshes.soon(session, ORGANIZATION, now, record_id=UUID(str(lee)), reason="create again")
    for row in await database.fetch("SELECT * FROM held_match"):
        name = row["theirs"]["first_name"]
        answer = AnswerHeld(
            answer="same" if name == "Hal" else "different",
            member_id=row["candidate_ids"][0] if name == "Hal" else None,
            version=row["version"],
        )
        await held.answer(session, ORGANIZATION, str(row["id"]), answer, ADMIN, now)
    (joan,) = await database.fetch("SELECT id, version FROM member WHERE first_name = 'Joan'")
    (jon,) = await database.fetch("SELECT id, version FROM member WHERE first_name = 'Jon'")
    joined = AnswerMerged(
        answer="join", with_id=str(jon["id"]), version=joan["version"], with_version=jon["version"], take=()
    )
    await merged_pairs.answer(session, ORGANIZATION, str(joan["id"]), joined, ADMIN, now)
    for row in await database.fetch("SELECT * FROM conflict"):
        resolved = ConflictResolved(
            organization_id=ORGANIZATION,
            version=2,
            conflict_id=str(row["id"]),
            record_id=str(row["record_id"]),
            decision_id=str(uuid4()),
            decided_on=row["values_version"],
            choices={field["field"]: _CHOICES[field["field"]] for field in row["fields"]},
            decided_by=ADMIN.user_id,
            decided_by_name=ADMIN.name,
            decided_at=now,
        )
        await decisions.take(session, resolved, now)


async def _ask_for_everybody(session: AsyncSession, database: Database) -> None:
    now = datetime.now(UTC)
    members = await database.fetch("SELECT id FROM member WHERE first_name IN ('Bruno', 'Dora', 'Cora', 'Carl', 'Ida')")
    families = await database.fetch("SELECT id FROM family WHERE name <> 'Clark Home'")
    for kind, rows in ((MEMBER, members), (FAMILY, families)):
        for row in rows:
            await refreshes.sync_now(session, ORGANIZATION, kind, str(row["id"]), now)


async def _killed(prepared: Prepared, kill: Kill, expected: Undisturbed) -> str | None:
    """The difference from the undisturbed end; None if there is none."""
    async with copied(prepared.ground, prepared.alone) as copy:

        async def through() -> str | None:
            if await die(copy, kill):
                return await carried_on(copy, expected) or written_twice(copy, kill)
            # The number of commits of claims varies, so the last ones may not occur.
            return await ended_as(copy, expected) if kill.nth > 1 and kill.kind == "claim" else "was never killed"

        return await failure_of("alone", kill, copy, through())


_COMMITS: Final = 6


def _sample(expected: Undisturbed) -> list[Kill]:
    """One instant around every kind of write and at some kinds of commits, drawn by seed.

    `make soak` takes the others; `test_crashes` covers each kind of commit in runs.
    """
    draw = random.Random(SEED)
    commits = _kinds(expected, "before commit")
    chosen = draw.sample(commits, min(_COMMITS, len(commits)))
    kills = [Kill(draw.choice(["before commit", "after commit"]), kind) for kind in chosen]
    instants = ["answer", "before call", "late call", "during call"]
    return kills + [Kill(draw.choice(instants), kind) for kind in _kinds(expected, "answer") if is_write(kind)]


def _kinds(expected: Undisturbed, what: str) -> list[str]:
    return sorted(kind for instant, kind in expected.kinds if instant == what and kind not in BY_CHANCE)


def _every(expected: Undisturbed) -> list[Kill]:
    """All instants."""
    seen: Counter[tuple[str, str]] = Counter()
    kills = []
    for what, kind in expected.instants:
        seen[what, kind] += 1
        kills.append(Kill(what, kind, seen[what, kind]))
        if what == "answer" and is_write(kind):
            kills += [Kill(call, kind, seen[what, kind]) for call in ("before call", "late call", "during call")]
    random.Random(SEED).shuffle(kills)
    return kills


async def test_killed_around_every_kind_of_call_and_commit(prepared: Prepared) -> None:
    async with copied(prepared.ground, prepared.alone) as copy:
        expected = await undisturbed(copy)
        assert not written_twice(copy)
        refused = await copy.database.fetch("SELECT outcome FROM refresh WHERE outcome IN ('rejected', 'later')")
    assert refused == []
    until = time.monotonic() + SOAK_SECONDS
    tried = 0

    async def one(_: str, kill: Kill) -> str | None:
        nonlocal tried
        if SOAK_SECONDS and time.monotonic() > until:
            return None
        tried += 1
        return await _killed(prepared, kill, expected)

    kills = _every(expected) if SOAK_SECONDS else _sample(expected)
    failures = await all_of(zip(cycle(["alone"]), kills, strict=False), one)
    print(f"tried: {tried} kills of {len(kills)}")  # noqa: T201 - read by `make soak`
    assert not failures, "\n\n".join(failures)


def _in_the_middle(expected: Undisturbed) -> list[Kill]:
    """Some of the first instants of the most frequent kinds, so that each process reaches some, whichever is faster."""
    instants = [instant for instant in expected.instants if instant[1] not in {"outbox", "refresh"}]
    often = Counter(instants).most_common(2 * TOGETHER + int(SOAK_SECONDS / 60))
    kills = [Kill(what, kind, min(3, times)) for (what, kind), times in often]
    return random.Random(SEED).sample(kills, min(len(kills), TOGETHER + int(SOAK_SECONDS / 120)))


async def test_a_run_and_single_syncs_in_two_processes_of_which_one_dies(prepared: Prepared) -> None:
    async with copied(prepared.ground, prepared.run) as copy:
        expected = await undisturbed(copy)
    kinds = (RUNS.job, refreshes.REFRESHES.job)
    noted: dict[str, Undisturbed] = {}
    for only in kinds:
        async with copied(prepared.ground, prepared.together) as copy:
            noted[only] = await undisturbed(copy, only=only)
            assert not written_twice(copy)
        assert noted[only].settled == expected.settled, differences(expected.settled, noted[only].settled)
    died = 0

    async def one(only: str, kill: Kill) -> str | None:
        async with copied(prepared.ground, prepared.together) as copy:

            async def through() -> str | None:
                nonlocal died
                died += await die_beside(copy, kill, only)
                return await ended_as(copy, expected) or written_twice(copy, kill) or await moves_again(copy)

            return await failure_of(only, kill, copy, through())

    tried = [(only, kill) for only in kinds for kill in _in_the_middle(noted[only])]
    failures = await all_of(tried, one, at_once=4)
    assert not failures, "\n\n".join(failures)
    assert died, "nobody died: the instants do not fit any more"
