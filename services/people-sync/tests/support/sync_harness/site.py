"""One organization with its directory and its church, and the actions of people on both sides."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from contracts.values import PEOPLE_SYNC
from pco_simulator.testing import Control
from people_sync.usecases.record.write_person import RIGHT_BEFORE
from servicekit.testing import KeyRing, eventually
from servicekit.testing.databases import Database
from sync_harness.church import Church
from sync_harness.process import HORIZON_SECONDS, LAG, NO_TLS
from synckit.testing.crashing import WRITES

PEOPLE: Final = "/api/v1/people"
OVER: Final = frozenset({"done", "failed", "stopped"})


class Site:
    """An organization, its church, and the service that syncs them."""

    def __init__(
        self, organization_id: str, church: Church, control: Control, database: Database, keys: KeyRing, base_url: str
    ) -> None:
        self.organization_id = organization_id
        self.church = church
        self.control = control
        self.database = database
        self._keys = keys
        self._base_url = base_url
        self._moved_at = 0.0
        self._holder: int | None = None
        self.horizon_seconds = HORIZON_SECONDS
        self.lag_seconds = max(LAG.values()) / 1000

    def through(self, base_url: str) -> None:
        """Send calls to another process from now on."""
        self._base_url = base_url

    # -- an admin at our API ------------------------------------------------------------------------------------

    async def call(self, method: str, path: str, body: Any = None, *, status: int | None = None) -> Any:
        """Call people-sync's API as the gateway would for an admin."""
        headers = self._keys.user_headers(PEOPLE_SYNC, organization_id=self.organization_id)
        async with httpx.AsyncClient(base_url=self._base_url, headers=headers, timeout=30, verify=NO_TLS) as client:
            answer = await client.request(method, PEOPLE + path, json=body)
        assert answer.is_success if status is None else answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def add(self, first_name: str, last_name: str, **values: Any) -> str:
        """A new member; gives the id."""
        body = {"first_name": first_name, "last_name": last_name, **values}
        added: dict[str, Any] = await self.call("POST", "/members", body)
        return str(added["id"])

    async def add_many(self, count: int) -> None:
        """Add this many members at once, named Many Member1 and so on."""
        await self.database.fetch(
            "INSERT INTO member (id, organization_id, first_name, last_name, child, name_key, version)"
            " SELECT gen_random_uuid(), $1, 'Many', 'Member' || number, false, 'many member' || number, 1"
            " FROM generate_series(1, $2) number",
            self.organization_id,
            count,
        )

    async def family(self, name: str, *members: str) -> str:
        """A new family; gives the id."""
        return str((await self.call("POST", "/families", {"name": name, "member_ids": members}))["id"])

    async def member(self, first_name: str) -> dict[str, Any]:
        """The one member of this first name who is not deleted."""
        rows = await self.members(first_name)
        assert len(rows) == 1, rows
        return rows[0]

    async def members(self, first_name: str) -> list[dict[str, Any]]:
        """All members of this first name who are not deleted."""
        return await self.database.fetch(
            "SELECT * FROM member WHERE organization_id = $1 AND first_name = $2 AND deleted_at IS NULL",
            self.organization_id,
            first_name,
        )

    async def change(self, first_name: str, /, **values: Any) -> None:
        """An admin changes a member."""
        await self.call("PATCH", f"/members/{(await self.member(first_name))['id']}", values)

    async def remove(self, first_name: str) -> None:
        """An admin deletes a member."""
        await self.call("DELETE", f"/members/{(await self.member(first_name))['id']}")

    async def family_of(self, name: str) -> dict[str, Any]:
        """A family by its name."""
        rows = await self.database.fetch(
            "SELECT * FROM family WHERE organization_id = $1 AND name = $2 AND deleted_at IS NULL",
            self.organization_id,
            name,
        )
        assert len(rows) == 1, rows
        return rows[0]

    async def members_of(self, name: str) -> list[str]:
        """First names in a family."""
        family = await self.family_of(name)
        rows = await self.database.fetch(
            "SELECT first_name FROM member JOIN family_member ON member_id = member.id WHERE family_id = $1 ORDER BY 1",
            family["id"],
        )
        return [row["first_name"] for row in rows]

    async def regroup(self, name: str, *, join: Iterable[str] = (), leave: Iterable[str] = ()) -> None:
        """An admin adds members to a family, or removes them."""
        ids = {first: str((await self.member(first))["id"]) for first in {*await self.members_of(name), *join}}
        wanted = [id_ for first, id_ in ids.items() if first not in set(leave)]
        await self.call("PATCH", f"/families/{(await self.family_of(name))['id']}", {"member_ids": wanted})

    @asynccontextmanager
    async def held_up(self, *first_names: str) -> AsyncIterator[list[str]]:
        """Hold a run at these members; gives their names, first that of the member it waits for."""
        rows = sorted([await self.member(first_name) for first_name in first_names], key=lambda row: str(row["id"]))
        async with self.held_up_at(str(rows[0]["id"])):
            yield [str(row["first_name"]) for row in rows]

    @asynccontextmanager
    async def held_up_at(self, member_id: str) -> AsyncIterator[None]:
        """Hold a run at this member."""
        async with self.database.connection() as connection, connection.transaction():
            await connection.execute("SELECT 1 FROM member WHERE id::text = $1 FOR UPDATE", member_id)
            self._holder = await connection.fetchval("SELECT pg_backend_pid()")
            try:
                yield
            finally:
                self._holder = None

    @asynccontextmanager
    async def read_not_stored(self, first_name: str) -> AsyncIterator[Any]:
        """Lock the mirror's row during the block, so that a read of this person is stored at its end. Gives the
        connection.
        """
        mirror = "SELECT 1 FROM remote WHERE organization_id = $1 AND pco_id = $2 FOR UPDATE"
        async with self.database.connection() as connection, connection.transaction():
            await connection.execute(mirror, self.organization_id, self.person(first_name)["id"])
            yield connection
            await self.waits()

    @asynccontextmanager
    async def read_too_early(self, first_name: str) -> AsyncIterator[None]:
        """Lock the mirror's row until a read of this person during the block is too old for a write."""
        async with self.read_not_stored(first_name):
            yield
            await self.waits()
            too_old = time.monotonic() + RIGHT_BEFORE.total_seconds()
            await eventually(lambda: time.monotonic() > too_old)

    async def waits(self) -> None:
        """Wait until a transaction waits for the held lock, or for any lock if none is held."""
        query = (
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() "
            "AND ($1::int IS NULL OR $1 = ANY(pg_blocking_pids(pid)))"
        )

        async def waiting() -> bool:
            return bool(await self.database.value(query, self._holder))

        await eventually(waiting)

    async def settings(self, **values: Any) -> None:
        """An admin changes settings."""
        await self.call("PATCH", "/settings", values)

    async def connected(self, version: int) -> None:
        """Wait until people-sync knows of this fact about the connection."""

        async def known() -> bool:
            query = "SELECT version FROM connection WHERE organization_id = $1"
            return bool(await self.database.value(query, self.organization_id) == version)

        await eventually(known)

    async def conflicts(self) -> dict[str, list[str]]:
        """States of all conflicts so far, by the first name or family name of their record, oldest first."""
        rows = await self.database.fetch(
            "SELECT coalesce(first_name, family.name) AS name, state FROM conflict "
            "LEFT JOIN member ON member.id = record_id LEFT JOIN family ON family.id = record_id "
            "WHERE conflict.organization_id = $1 ORDER BY opened_at",
            self.organization_id,
        )
        states: dict[str, list[str]] = {}
        for row in rows:
            states.setdefault(row["name"], []).append(row["state"])
        return states

    # -- runs ---------------------------------------------------------------------------------------------------

    async def start(self, kind: str = "full") -> str:
        """Sync Now; gives the run's id."""
        return str((await self.call("POST", "/runs", {"kind": kind}))["id"])

    async def run(self, run_id: str) -> dict[str, Any]:
        """The run's present state."""
        found: dict[str, Any] = await self.call("GET", f"/runs/{run_id}")
        return found

    async def until(self, run_id: str, *states: str, within: float = 200.0) -> dict[str, Any]:
        """Wait for one of these states, or for any end of the run."""

        async def reached() -> dict[str, Any] | None:
            run = await self.run(run_id)
            return run if run["state"] in {*states, *OVER} else None

        found: dict[str, Any] = await eventually(reached, within=within, every=0.2)
        assert found["state"] in states, found
        return found

    async def sync(self, kind: str = "full", *, within: float = 200.0) -> dict[str, Any]:
        """A run from its start to its end."""
        return await self.until(await self.start(kind), "done", within=within)

    async def preview(self, kind: str = "full") -> dict[str, Any]:
        """A preview that waits with its plan."""
        run_id = str((await self.call("POST", "/runs", {"kind": kind, "preview": True}))["id"])

        async def asked() -> dict[str, Any] | None:
            run = await self.run(run_id)
            return run if run["question"] or run["state"] in OVER else None

        found: dict[str, Any] = await eventually(asked, within=200, every=0.2)
        assert found["question"], found
        return found

    async def approve(self, run_id: str) -> None:
        """An admin approves the plan of a run's question."""
        question = (await self.run(run_id))["question"]
        answer = "continue" if question["kind"] == "threshold" else "approve"
        body = {"question": question["kind"], "answer": answer, "digest": question["digest"]}
        await self.call("POST", f"/runs/{run_id}/answer", body)

    async def approved(self, run_id: str) -> dict[str, Any]:
        """Approve a run's plan, and wait for its end."""
        await self.approve(run_id)
        return await self.until(run_id, "done")

    async def plan(self, run_id: str, outcome: str | None = None) -> list[dict[str, Any]]:
        """The plan of a run."""
        query = f"?limit=200{f'&outcome={outcome}' if outcome else ''}"
        found: list[dict[str, Any]] = (await self.call("GET", f"/runs/{run_id}/plan{query}"))["items"]
        return found

    async def looked_at(self) -> None:
        """Wait until no refresh is queued."""

        async def idle() -> bool:
            queued = "SELECT count(*) FROM refresh WHERE organization_id = $1 AND state = 'queued'"
            return bool(await self.database.value(queued, self.organization_id) == 0)

        await eventually(idle, every=0.1)

    async def believable(self) -> None:
        """Wait until reads of Planning Center are conclusive: our last write is older than the horizon."""

        async def past() -> bool:
            fresh = await self.database.value(
                "SELECT count(*) FROM link JOIN link_write ON link_id = link.id WHERE organization_id = $1"
                " AND coalesce(answered_at, announced_at) > now() - $2 * interval '1 s'",
                self.organization_id,
                self.horizon_seconds,
            )
            return bool(fresh == 0)

        await eventually(past)

    async def items(self, run_id: str, outcome: str | None = None) -> list[dict[str, Any]]:
        """The list behind a number."""
        query = f"?limit=200{f'&outcome={outcome}' if outcome else ''}"
        found: list[dict[str, Any]] = (await self.call("GET", f"/runs/{run_id}/items{query}"))["items"]
        return found

    # -- a person at Planning Center, and its records -------------------------------------------------------------

    def rows(self, type_: str) -> list[dict[str, Any]]:
        """All present rows of a type: attributes with `id`."""
        dump = self.control.dump(self.church.id)
        return [{"id": row["id"], **row["attributes"]} for row in dump if row["type"] == type_]

    def person(self, first_name: str) -> dict[str, Any]:
        """The one person of this first name."""
        found = self.people(first_name)
        assert len(found) == 1, found
        return found[0]

    def people(self, first_name: str) -> list[dict[str, Any]]:
        """All people of this first name."""
        return [row for row in self.rows("Person") if row.get("first_name") == first_name]

    def contacts(self, first_name: str, type_: str) -> list[dict[str, Any]]:
        """The person's contacts of a type."""
        id_ = int(self.person(first_name)["id"])
        return [row for row in self.rows(type_) if row["person_id"] == id_]

    def household(self, name: str) -> list[str]:
        """First names in a household, sorted."""
        (household,) = [row for row in self.rows("Household") if row["name"] == name]
        names = {int(row["id"]): row["first_name"] for row in self.rows("Person")}
        return sorted(
            names[row["person_id"]]
            for row in self.rows("HouseholdMembership")
            if row["household_id"] == int(household["id"])
        )

    def mutate(self, *mutations: dict[str, Any]) -> list[dict[str, str]]:
        """Somebody at Planning Center changes something."""
        self._moved_at = time.monotonic()
        return self.control.mutate(self.church.id, *mutations)

    def edit(self, first_name: str, **attributes: Any) -> None:
        """Somebody at Planning Center edits a person."""
        self.mutate({"op": "edit", "id": self.person(first_name)["id"], "attributes": attributes})

    def delete(self, first_name: str) -> None:
        """Somebody at Planning Center deletes a person."""
        self.mutate({"op": "delete", "id": self.person(first_name)["id"]})

    def merge(self, keep_id: str, remove_id: str) -> None:
        """Somebody at Planning Center merges two people."""
        self.mutate({"op": "merge", "id": keep_id, "remove_id": remove_id})

    def move(self, first_name: str, *, to: str, left: str) -> None:
        """Somebody at Planning Center moves a person from one household to another, by their ids."""
        self._moved_at = time.monotonic()
        self.control.move_person(self.church.id, str(self.person(first_name)["id"]), to, left=left)

    def rename_household(self, name: str, new: str) -> None:
        """Somebody at Planning Center renames a household."""
        (household,) = [row for row in self.rows("Household") if row["name"] == name]
        self.mutate({"op": "edit", "type": "Household", "id": household["id"], "attributes": {"name": new}})

    async def visible(self) -> None:
        """Wait until Planning Center's reads show the last edit there."""
        shown = self._moved_at + self.lag_seconds + 0.05
        await eventually(lambda: time.monotonic() > shown)

    def edit_contact(self, first_name: str, type_: str, **attributes: Any) -> None:
        """Somebody at Planning Center edits the person's only contact of a type."""
        (contact,) = self.contacts(first_name, type_)
        self.mutate({"op": "edit", "type": type_, "id": contact["id"], "attributes": attributes})

    def create(self, first_name: str, last_name: str, *, email: str | None = None, **attributes: Any) -> str:
        """Somebody at Planning Center adds a person."""
        (made,) = self.mutate(
            {"op": "create", "attributes": {"first_name": first_name, "last_name": last_name, **attributes}}
        )
        if email:
            self.mutate({"op": "create", "type": "Email", "id": made["id"], "attributes": {"address": email}})
        return made["id"]

    def fault(self, action: dict[str, Any], **match: Any) -> str:
        """Set a fault script for this church's requests only."""
        return self.control.add_fault(action, organization_id=self.church.id, **match)

    def journal(self, after: int = 0, *, writes: bool = False) -> list[dict[str, Any]]:
        """Our application's requests to the church since a sequence number."""
        entries = self.control.journal(after=after, limit=20_000)
        return [
            entry
            for entry in entries
            if entry["organization_id"] == self.church.id
            and entry["client_id"] != self.church.secret[0]
            and (not writes or entry["method"] in WRITES)
        ]

    def mark(self) -> int:
        """The last request's sequence number."""
        return int(self.control.summary()["last_seq"])


async def keep_reading(client: httpx.AsyncClient, *, every: float = 0.3) -> None:
    """Send requests as another application of the same user, until cancelled."""
    while True:
        await client.get("/people/v2/people", params={"per_page": "1"})
        await asyncio.sleep(every)
