"""People-sync killed around every kind of call and commit of an approved plan: the plan is carried out exactly once."""

import os
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sync_harness.copies import ADMIN, ORGANIZATION, Copy, copied, in_one_transaction
from sync_harness.crashing import BY_CHANCE, ended_as, failure_of, ground, left_behind, undisturbed
from sync_harness.site import Site

from contracts.http.people import AnswerRun
from people_sync.storage.runs import RUNS
from people_sync.usecases import runs
from servicekit.testing import Databases, KeyRing
from servicekit.testing.databases import Database, copy_database
from synckit.runs import open_run
from synckit.testing.crashing import Kill, all_of, die, drawn, kills_around
from synckit.testing.lender import Lender

SOAK_SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "0"))
"""`make soak`: at every kind of instant."""
SEED: Final = int(os.environ.get("SOAK_SEED", "8"))
MOST: Final = 30
"""Kills in a test run: `test_crashes` has the kinds of the push too, and those after reads."""
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1200 + SOAK_SECONDS)]
COPIES: Final = 300 if SOAK_SECONDS else 60


async def _planned(site: Site) -> None:
    """Changes of every kind, shown by a preview; three records have changed since."""
    await site.settings(first_match="planning_center", inactivate_deleted=True)
    ann = await site.add("Ann", "New", email="ann@example.org", phone="(212) 555-0141")
    await site.family("New Family", ann)
    await site.change("Alan", last_name="Ours", phone="(212) 555-0150")
    await site.change("Amy", last_name="Ours")
    await site.change("Carl", last_name="Here")
    await site.regroup("Baker Household", join=["Cora"])
    await site.remove("Ned")
    site.create("Pia", "Page", email="pia@example.org")
    site.create("Quin", "Page", email="quin@example.org")
    site.edit("Bruno", last_name="Theirs")
    site.edit("Carl", last_name="There")
    site.rename_household("Clark Household", "Clarks")
    site.delete("Lee")
    await site.visible()
    await site.believable()
    await site.preview()
    await site.change("Amy", last_name="Again")
    site.edit("Pia", last_name="Paige")
    site.edit("Bruno", gender="Male")


async def _approve(session: AsyncSession, _: Database) -> None:
    """An admin approves the shown plan."""
    run = await open_run(session, RUNS, ORGANIZATION)
    assert run is not None
    assert run.question is not None
    answer = AnswerRun(question="plan", answer="approve", digest=run.question["digest"])
    await runs.answer(session, ORGANIZATION, str(run.id), answer, ADMIN, datetime.now(UTC))


async def _outcomes(copy: Copy) -> list[Any]:
    """The outcome of each record of the plan, by the first word of its name."""
    of_plan = "FROM change JOIN run ON run.id = run_id WHERE purpose = 'preview'"
    query = f"SELECT change.kind, split_part(name, ' ', 1) AS name, outcome {of_plan} ORDER BY 1, 2"
    return [tuple(row.values()) for row in await copy.database.fetch(query)]


async def test_killed_around_every_kind_of_call_and_commit_of_a_plan(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, kafka_server: str, keys: KeyRing, lender: Lender
) -> None:
    folder = tmp_path_factory.mktemp("plan-crashes")
    url = await databases.create("people_sync")
    rows = await left_behind(folder, url, kafka_server, keys, lender, _planned)
    template = await copy_database(url)
    await in_one_transaction(template, _approve)
    async with ground(folder, rows, kafka_server, keys, lender, copies=COPIES) as made:
        async with copied(made, template) as copy:
            expected = await undisturbed(copy)
            outcomes = await _outcomes(copy)
        left_out = {name for _, name, outcome in outcomes if outcome == "left_out"}
        assert left_out == {"Amy", "Pia", "Bruno"}, outcomes

        async def killed(story: str, kill: Kill) -> str | None:
            async with copied(made, template) as copy:

                async def through() -> str | None:
                    if not await die(copy, kill):
                        return "was never killed"
                    await copy.process()
                    await copy.over()
                    found = await _outcomes(copy)
                    # A change sent by the killed process is found by the next one and left unchanged. A record that is
                    # undecidable within the staleness horizon is postponed to the next run. No other outcome is
                    # allowed.
                    wrong = [one for one in found if one not in outcomes and one[2] not in {"unchanged", "later"}]
                    if wrong or left_out != {name for _, name, outcome in found if outcome == "left_out"}:
                        return f"{found} instead of {outcomes}"
                    return await ended_as(copy, expected)

                return await failure_of(story, kill, copy, through())

        kills = kills_around(expected.kinds, thorough=bool(SOAK_SECONDS), by_chance=BY_CHANCE)
        if not SOAK_SECONDS:
            kills = drawn([kill for kill in kills if kill.what != "answer"], "change", most=MOST, seed=SEED)
        failures = await all_of([("plan", kill) for kill in kills], killed)
    assert not failures, "\n\n".join(failures)
