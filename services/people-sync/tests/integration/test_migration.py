"""Three churches left by the code of commit e06734b (revision 0003) continue under today's code.

That commit's test harness made them in `data/spine`: a dump of people-sync's data, and of each church in the simulator.
"""

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final
from unicodedata import category

import pytest
import pytest_asyncio
from sync_harness.church import rows_of_dump
from sync_harness.site import Site
from sync_harness.stage import staged

from people_sync.domain.canonical import email_key, name_key
from servicekit.db.migrations import locate, migrate
from servicekit.testing import Databases, KeyRing
from servicekit.testing.databases import Database
from synckit.testing.lender import Lender

pytestmark = pytest.mark.asyncio(loop_scope="session")

DATA: Final = Path(__file__).parents[1] / "data" / "spine"
BEFORE: Final = "0003"
SETTLED, ASKING, KILLED = range(3)
"""Everybody's end of a run; a run that waits for an answer; a run whose process was killed between write and answer."""

Rows = list[dict[str, Any]]
THERE: Final = ("Email", "PhoneNumber", "Address", "Household", "HouseholdMembership")
KEPT: Final = {
    "link": "kind, record_id, pco_id, state, agreed, kept_different, contacts, compared_version, gone_at, create_again",
    "member": "id, first_name, last_name, email, phone, address, active, version, updated_at, deleted_at",
    "family": "id, name, primary_contact_id, version, updated_at, deleted_at",
    "family_member": "family_id, member_id",
    "conflict": "id, record_id, state, version, fields",
    "held_match": "id, pco_id, state, version, candidate_ids",
    "creation": "id, kind, record_id, marker, state, pco_id, content",
}
"""What the migration leaves as it is, and so does a run with nothing to do."""
# The dump's times are moved to now, so that no schedule or lease is over.
_JUST_NOW: Final = """
    DO $$ DECLARE found record; passed interval := now() - (SELECT max(lease_until) FROM job); BEGIN
        FOR found IN SELECT table_name, column_name FROM information_schema.columns
            WHERE table_schema = 'public' AND data_type = 'timestamp with time zone'
        LOOP
            EXECUTE format('UPDATE %1$I SET %2$I = %2$I + $1', found.table_name, found.column_name) USING passed;
        END LOOP;
    END $$
"""
# Two intents that the churches lack: an old one of a created family, and a recent one of a person created without
# contacts.
_FURTHER_NOTES: Final = """
    UPDATE link SET written_at = written_at - interval '2 days' WHERE pco_id = '5005';
    UPDATE link SET written_at = now(), written_before = '{}', written_after = NULL
        WHERE pco_id = '1007' AND organization_id = 'spine-700002';
"""


@dataclass(slots=True)
class Spine:
    """The churches, and people-sync's rows before and after the migration, before any run."""

    sites: list[Site]
    before: dict[str, Rows]
    after: dict[str, Rows]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def spine(
    tmp_path_factory: pytest.TempPathFactory, databases: Databases, kafka_server: str, keys: KeyRing, lender: Lender
) -> AsyncIterator[Spine]:
    """The dump loaded at its old revision and migrated, with people-sync started."""
    url = await databases.empty()
    await migrate(url, "people_sync", to=BEFORE)
    database = Database(url)
    async with database.connection() as connection:
        await connection.execute((DATA / "people_sync.sql").read_text())
        await connection.execute(_JUST_NOW)
        await connection.execute(_FURTHER_NOTES)
    before = await kept(database) | await whole(database, "member", "family", "link", "history")
    await migrate(url, "people_sync")
    after = await kept(database) | await whole(database, "member", "family", "link_write", "claim", "effect")
    rows = [rows_of_dump(json.loads(path.read_text())) for path in sorted(DATA.glob("church-*.json"))]
    folder = tmp_path_factory.mktemp("spine", numbered=False)  # the name is that of the organizations
    async with staged(folder, database=url, kafka=kafka_server, keys=keys, lender=lender, rows=rows) as stage:
        yield Spine([await stage.site(connected=True) for _ in rows], before, after)


async def kept(database: Database, organization_id: str | None = None) -> dict[str, Rows]:
    """The tables and columns of `KEPT`, of one organization or of all."""
    return {
        f"kept {table}": await database.fetch(
            f"SELECT {columns} FROM {table} WHERE $1::text IS NULL OR organization_id = $1 ORDER BY {columns}",
            organization_id,
        )
        for table, columns in KEPT.items()
    }


async def whole(database: Database, *tables: str) -> dict[str, Rows]:
    """Tables with all columns."""
    return {table: await database.fetch(f"SELECT * FROM {table}") for table in tables}


async def sides(site: Site) -> tuple[dict[str, Rows], Rows, list[dict[str, Any]]]:
    """Both sides of a church, and the stored effects."""
    query = "SELECT * FROM effect WHERE organization_id = $1 ORDER BY id"
    effects = await site.database.fetch(query, site.organization_id)
    return (
        await kept(site.database, site.organization_id),
        effects,
        [row for type_ in THERE for row in site.rows(type_)],
    )


async def unchanged_by_further_runs(site: Site, *kinds: str) -> None:
    """Check that further runs write nothing."""
    await site.believable()
    before, mark = await sides(site), site.mark()
    for kind in kinds:
        run = await site.sync(kind)
        assert run["counts"].keys() <= {"unchanged", "held", "conflict"}, run
        assert await sides(site) == before
    assert site.journal(mark, writes=True) == []


def written(site: Site, mark: int) -> list[tuple[str, str]]:
    """The changes that people-sync requested; checks that Planning Center accepted all."""
    entries = site.journal(mark, writes=True)
    assert all(entry["status"] < 300 for entry in entries), entries
    return sorted((entry["method"], entry["path"]) for entry in entries)


async def test_the_migration_changes_no_known_data(spine: Spine) -> None:
    """Values, versions, links with what was agreed, conflicts, held matches and intents."""
    for name in (name for name in spine.before if name.startswith("kept ")):
        assert spine.after[name] == spine.before[name], name
    assert len(spine.after["kept conflict"]) == len(spine.after["kept held_match"]) == 1
    assert [row["state"] for row in spine.after["kept link"]].count("gone") == 1


async def test_notes_of_writes_are_carried_over_field_by_field(spine: Spine) -> None:
    links = {row["id"]: row for row in spine.before["link"]}
    found = {
        (links[row["link_id"]]["pco_id"], row["field"], row["before"], row["after"], row["answered_at"] is not None)
        for row in spine.after["link_write"]
    }
    new = [row["id"] for row in spine.after["member"] if row["last_name"] == "New"]
    assert found == {
        ("1004", "phone", "(212) 555-0102", "(212) 555-0177", False),
        ("1006", "last_name", "Baker", "Bakerson", False),
        ("5004", "name", "Dean Household", "Dean Family", False),
        ("1007", "created", None, None, True),
        *(("5006", f"member:{id_}", False, True, True) for id_ in new),
    }
    assert len(new) == 2
    # Only a process that was killed may have requests under way: they are counted from the takeover.
    killed = spine.sites[KILLED].organization_id
    assert {row["organization_id"] for row in spine.after["claim"]} == {killed}
    assert len(spine.after["claim"]) == 3


async def test_history_is_readable(spine: Spine) -> None:
    known = {
        (row["id"], row["field"], str(row["old"]), str(row["new"]), row["by"], row["rule"], row["run_id"])
        for row in spine.before["history"]
    }
    assert known == {
        (row["id"], row["field"], str(row["before"]), str(row["after"]), row["by"], row["rule"], row["cause_id"])
        for row in spine.after["effect"]
    }
    sources = {(row["by"], row["cause"], row["side"]) for row in spine.after["effect"]}
    assert sources == {("person", "edit", "here"), ("planning_center", "run", "here"), ("rule", "run", "there")}
    site = spine.sites[SETTLED]
    entries = {
        first: (await site.call("GET", f"/members/{(await site.member(first))['id']}/history"))["items"]
        for first in ("Alan", "Cora", "Bruno")
    }
    [phone] = [entry for entry in entries["Alan"] if entry["field"] == "phone"]
    assert (phone["old"], phone["new"], phone["by"]) == ("(212) 555-0101", "(212) 555-0199", "rule")
    assert (phone["rule"], phone["can_undo"]) == ("first_match", True)
    assert [(entry["new"], entry["rule"]) for entry in entries["Cora"]] == [("Clarkson", "changed")]
    assert {entry["new"] for entry in entries["Bruno"]} == {"bb@example.org", "Bakerson"}


async def test_invisible_characters_are_removed_from_the_keys(spine: Spine) -> None:
    former = {row["id"]: row for row in (*spine.before["member"], *spine.before["family"])}
    changed = [
        former[row["id"]]["name_key"] + " -> " + row["name_key"]
        for row in (*spine.after["member"], *spine.after["family"])
        if former[row["id"]]["name_key"] != row["name_key"]
    ]
    assert sorted(changed) == ["zan der household -> zander household", "zo e zander -> zoe zander"]
    for row in spine.after["member"]:
        assert (row["name_key"], row["email_key"]) == (
            name_key(row["first_name"], row["last_name"]),
            email_key(row["email"]),
        )
    assert "yve@example.org" in {row["email_key"] for row in spine.after["member"]}
    assert "yve@example.org" not in {row["email_key"] for row in spine.before["member"]}


async def test_the_expression_finds_every_invisible_character(spine: Spine) -> None:
    path = locate("people_sync") / "0004_fields.py"
    spec = spec_from_file_location("fields", path)
    assert spec is not None
    assert spec.loader is not None
    migration = module_from_spec(spec)
    spec.loader.exec_module(migration)
    characters = [chr(code) for code in range(sys.maxunicode + 1) if category(chr(code)) == "Cf"]
    query = "SELECT one FROM unnest($1::text[]) AS given (one) WHERE (one ~ $2) <> $3"
    database = spine.sites[SETTLED].database
    assert await database.fetch(query, characters, migration._INVISIBLE, True) == []
    plain = ["Zoë O'Brien-Łuk", "ann@example.org", "李小龙", "עברית", "محمد", "अनिल", "\t\n\u00a0\u2028"]
    assert await database.fetch(query, plain, migration._INVISIBLE, False) == []


async def test_the_next_run_writes_only_pending_changes(spine: Spine) -> None:
    """A phone edited after the last run, and one that Planning Center refused then and accepts now."""
    site = spine.sites[SETTLED]
    (ours, effects, _), mark = await sides(site), site.mark()
    run = await site.sync()
    assert run["counts"] == {"unchanged": 20, "updated_there": 2, "held": 1, "conflict": 1}
    phones = {first: site.contacts(first, "PhoneNumber")[0] for first in ("Amy", "Dora")}
    assert {row["number"] for row in phones.values()} == {"(212) 555-0177", "(212) 555-0188"}
    paths = [f"/people/v2/phone_numbers/{row['id']}" for row in phones.values()]
    assert written(site, mark) == [("PATCH", path) for path in sorted(paths)]
    after, noted, _ = await sides(site)
    pushed = {(await site.member(first))["id"] for first in phones}
    assert noted[: len(effects)] == effects
    assert {(row["record_id"], row["side"], row["field"]) for row in noted[len(effects) :]} == {
        (id_, "there", "phone") for id_ in pushed
    }
    # The times of edits were not stored then. This run adds them to conflicts, and nothing else.
    assert all(one["theirs_changed_before"] for row in after["kept conflict"] for one in row["fields"])
    versions = {row["id"]: row.pop("version") for row in ours["kept conflict"]}
    assert {row["id"]: row.pop("version") - 1 for row in after["kept conflict"]} == versions
    for row in [*ours["kept conflict"], *after["kept conflict"]]:
        row["fields"] = [{name: one[name] for name in ("field", "base", "ours", "theirs")} for one in row["fields"]]
    for name, rows in after.items():
        assert [row for row in rows if row.get("record_id") not in pushed] == [
            row for row in ours[name] if row.get("record_id") not in pushed
        ], name
    agreed = {row["record_id"]: row["agreed"] for row in after["kept link"]}
    for former in ours["kept link"]:
        same = former["agreed"].keys() - ({"phone", "last_name"} if former["record_id"] in pushed else set())
        assert {name: agreed[former["record_id"]][name] for name in same} == {
            name: former["agreed"][name] for name in same
        }
    await unchanged_by_further_runs(site, "full", "incremental")
    left = "SELECT count(*) FROM link_write JOIN link ON link.id = link_id WHERE organization_id = $1"
    assert await site.database.value(left, site.organization_id) == 0


async def test_a_waiting_run_asks_again_and_continues(spine: Spine) -> None:
    """The shown plan was not stored then, so an answer must not cover anything that was not shown since."""
    site = spine.sites[ASKING]
    (run,) = [run for run in (await site.call("GET", "/runs"))["items"] if run["state"] == "waiting"]
    mark, answer = site.mark(), {"question": "threshold", "answer": "continue"}
    await site.call("POST", f"/runs/{run['id']}/answer", answer)
    again = await site.until(run["id"], "waiting")
    assert again["question"]["digest"]
    assert again["question"]["counts"] == run["question"]["counts"] == {"updated_there": 4, "linked_records": 18}
    assert written(site, mark) == []
    done = await site.approved(run["id"])
    assert done["counts"] == {"unchanged": 14, "updated_there": 4}
    assert len(written(site, mark)) == 4
    assert {site.person(first)["last_name"] for first in ("Alan", "Amy", "Bruno", "Carl")} == {"Renamed"}
    await unchanged_by_further_runs(site, "full")


async def test_a_killed_run_finds_its_sent_creations(spine: Spine) -> None:
    """The person is not created twice, our writes do not count as edits there, and a value put back here counts."""
    site = spine.sites[KILLED]
    run = (await site.call("GET", "/runs"))["items"][0]
    done = await site.until(run["id"], "done")
    assert done["counts"] == {"unchanged": 17, "created_there": 1, "updated_there": 1}
    lost = site.person("Lost")
    household = next(row["id"] for row in site.rows("Household") if row["name"] == "Dean Household")
    # The found person's missing contact, and the name that was changed back here meanwhile.
    assert written(site, 0) == [
        ("PATCH", f"/people/v2/households/{household}"),
        ("POST", f"/people/v2/people/{lost['id']}/emails"),
    ]
    assert len(await site.members("Lost")) == 1
    assert [row["address"] for row in site.contacts("Lost", "Email")] == ["lost@example.org"]
    assert (await site.member("Bruno"))["last_name"] == site.person("Bruno")["last_name"] == "Bakerson"
    assert await site.members_of("Dean Household") == site.household("Dean Household") == ["Dan", "Dora"]
    await unchanged_by_further_runs(site, "full")
