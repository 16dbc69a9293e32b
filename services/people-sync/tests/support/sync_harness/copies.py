"""Many equal starting points: copies of a database and of a church, for one process after another."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from contracts.identity import UserIdentity
from contracts.values import PEOPLE_SYNC
from pco_simulator.testing import Control
from people_sync.storage import remote
from people_sync.usecases import runs
from servicekit.db.sessions import make_sessions
from servicekit.testing import KeyRing, eventually
from servicekit.testing.databases import Database, copy_database, drop_database
from sync_harness.church import Church
from sync_harness.ends import State, here, there
from sync_harness.process import HORIZON_SECONDS, environment
from synckit.testing.lender import Grant, Lender
from synckit.testing.nursery import Nursery
from synckit.testing.sabotage import VARIABLE

ORGANIZATION: Final = "org-copied"
ADMIN: Final = UserIdentity(
    user_id="u1", name="Ada", organization_id=ORGANIZATION, organization_name="Church", roles=("admin",)
)
_OF_A_CHURCH: Final = (
    "alias",
    "conflict",
    "connection",
    "creation",
    "held_match",
    "link",
    "refresh",
    "remote",
    "run",
)
_OPEN: Final = """
    SELECT (SELECT count(*) FROM run WHERE state NOT IN ('done', 'failed', 'stopped'))
        + (SELECT count(*) FROM refresh WHERE state = 'queued')
"""


async def in_one_transaction(url: str, act: Callable[[AsyncSession, Database], Awaitable[Any]]) -> None:
    """An administrator's call of the API, while no service runs."""
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with make_sessions(engine, PEOPLE_SYNC).begin() as session:
            await act(session, Database(url))
    finally:
        await engine.dispose()


async def start_run(url: str, kind: str, purpose: str = "sync") -> None:
    """*Sync Now*, before a service runs."""

    async def start(session: AsyncSession, _: Database) -> None:
        await runs.start(session, ORGANIZATION, kind, "person", purpose=purpose)

    await in_one_transaction(url, start)


@dataclass(slots=True)
class Ground:
    """The servers that all copies share."""

    nursery: Nursery
    control: Control
    simulator_url: str
    lender: Lender
    keys: KeyRing
    kafka: str
    folder: Path
    churches: list[Church]


class Copy:
    """One starting point: a church and a database, with one or several processes in turn."""

    def __init__(self, ground: Ground, church: Church, url: str, more: dict[str, object]) -> None:
        self.church = church
        self.database = Database(url)
        self.ground = ground
        self._more = more
        self.log = ground.folder / f"{church.id}.log"
        self._pids: list[int] = []

    @property
    def control(self) -> Control:
        """The simulator's."""
        return self.ground.control

    async def process(self, **sabotage: Any) -> int:
        """Start people-sync; `sabotage` as for `Saboteur`."""
        ground = self.ground
        env = environment(
            ground.keys,
            database=self.database.url,
            kafka=ground.kafka,
            simulator=ground.simulator_url,
            auth_service=ground.lender.url_of(self.church.id),
            port=0,
            RUNS_AT_ONCE=1,
            **({VARIABLE: json.dumps(sabotage)} if sabotage else {}),
            **self._more,
        )
        pid = await ground.nursery.start(env, self.log)
        self._pids.append(pid)
        return pid

    async def kill(self, pid: int | None = None) -> None:
        """Send SIGKILL to one process, or to all."""
        for one in [pid] if pid else list(self._pids):
            await self.ground.nursery.kill(one)
            self.died(one)

    def died(self, pid: int) -> None:
        """Note that a process died by itself, since its id may be reused."""
        self._pids.remove(pid)

    async def at_work(self, connection: Any) -> bool:
        """Whether a run is open, or a refresh is queued."""
        return bool(await connection.fetchval(_OPEN))

    async def over(self, *, within: float = 240.0) -> None:
        """Wait until no run is open and no refresh is queued; checks that every run is done."""
        async with self.database.connection() as connection:

            async def ended() -> bool:
                return not await self.at_work(connection)

            await eventually(ended, within=within, every=0.25)
            unwell = await connection.fetch("SELECT * FROM run WHERE state <> 'done'")
        assert not unwell, unwell

    async def again(self) -> None:
        """One more full run by the present process, once reads are conclusive, which decides postponed records."""
        horizon = float(str(self._more.get("PCO_STALENESS_HORIZON_SECONDS", HORIZON_SECONDS)))
        fresh = (
            "SELECT count(*) FROM link_write WHERE coalesce(answered_at, announced_at) > now() - $1 * interval '1 s'"
        )

        async def believable() -> bool:
            return bool(await self.database.value(fresh, horizon) == 0)

        await eventually(believable)
        await start_run(self.database.url, "full")
        await self.over()

    async def ends(self) -> State:
        """The state of both sides."""
        dump = self.ground.control.dump(self.church.id)
        return there(dump) + await here(self.database, dump, ORGANIZATION)


@asynccontextmanager
async def copied(ground: Ground, template: str, **more: object) -> AsyncIterator[Copy]:
    """Makes a copy for a block. `more`: environment variables."""
    church = ground.churches.pop()
    url = await copy_database(template)
    ground.lender.grants[f"{church.id}/{ORGANIZATION}"] = Grant(church, church.tokens[0])
    made = Copy(ground, church, url, more)
    for table in _OF_A_CHURCH:
        await made.database.fetch(f"UPDATE {table} SET pco_organization_id = $1", church.id)
    await _found_by_their_keys(made.database)
    try:
        yield made
    finally:
        await made.kill()
        await drop_database(url)


async def _found_by_their_keys(database: Database) -> None:
    """Rewrite the mirror's lookup keys, since they contain the church."""
    for row in await database.fetch("SELECT * FROM remote WHERE keys <> '{}'"):
        keys = [remote.lookup_key(row, "email", one) for one in row["email_keys"]]
        keys += [remote.lookup_key(row, "name", one) for one in row["name_keys"]]
        query = "UPDATE remote SET keys = $1 WHERE kind = $2 AND pco_id = $3"
        await database.fetch(query, sorted(set(keys)), row["kind"], row["pco_id"])
