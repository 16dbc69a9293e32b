"""Many equal starting points: copies of a database, each with a church, for one process after another."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from contracts.values import CALENDAR_SYNC
from pco_simulator.testing import Control
from servicekit.local.process import free_port
from servicekit.testing import KeyRing, eventually
from servicekit.testing.databases import Database, copy_database, drop_database
from synckit.testing.crashing import PATIENCE_SECONDS
from synckit.testing.lender import Church, Grant, Lender
from synckit.testing.nursery import Nursery
from synckit.testing.sabotage import VARIABLE

SUPPORT: Final = Path(__file__).parents[1]
"""The folder that its modules are imported from."""
ORGANIZATION: Final = "org-copied"
HORIZON_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 4.5
_TIMEOUT_SECONDS: Final = 2.5
LAG: Final = {"lists_lag_ms": 400, "filters_lag_ms": 600, "singles_lag_ms": 200}
"""Below the horizon: what the vendor shows is that old."""
_OF_A_CHURCH: Final = ("calendar_connection", "event_link", "push", "refresh", "creation")
_AT_WORK: Final = """
    SELECT (SELECT count(*) FROM refresh WHERE state = 'queued')
        + (SELECT count(*) FROM job WHERE finished_at IS NULL)
        + (SELECT count(*) FROM calendar_connection WHERE next_poll_at <= now())
"""
State = list[str]


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
    churches: list[tuple[Church, str]]
    """Churches that no copy has had, each with its administrator's token."""


@dataclass(slots=True)
class Copy:
    """One starting point, with one or several processes in turn (`synckit.testing.crashing.Killable`)."""

    ground: Ground
    church: Church
    database: Database
    log: Path
    pids: list[int] = field(default_factory=list)

    @property
    def control(self) -> Control:
        """The simulator's."""
        return self.ground.control

    async def process(self, **sabotage: Any) -> int:
        """Start calendar-sync; `sabotage` as for `Saboteur`."""
        ground = self.ground
        env = {
            **os.environ,
            "DATABASE_URL": self.database.url,
            "DATABASE_POOL_SIZE": "6",
            "KAFKA_BOOTSTRAP_SERVERS": ground.kafka,
            "HTTP_PORT": "0",
            "OPERATOR_PORT": str(free_port()),
            "LOG_FORMAT": "console",
            "SIGNING_KEY": ground.keys.signing_key(CALENDAR_SYNC),
            "TRUSTED_KEYS": ground.keys.trusted_keys,
            "AUTH_SERVICE_URL": ground.lender.url_of(self.church.id),
            "PCO_BASE_URL": ground.simulator_url,
            "PCO_STALENESS_HORIZON_SECONDS": str(HORIZON_SECONDS),
            "PCO_REQUEST_TIMEOUT_SECONDS": str(_TIMEOUT_SECONDS),
            "JOB_LEASE_SECONDS": str(_LEASE_SECONDS),
            "RUNS_AT_ONCE": "1",
        }
        if sabotage:
            env[VARIABLE] = json.dumps(sabotage)
        pid = await ground.nursery.start(env, self.log)
        self.pids.append(pid)
        return pid

    async def kill(self, pid: int | None = None) -> None:
        """Send SIGKILL to one process, or to all."""
        for one in [pid] if pid else list(self.pids):
            await self.ground.nursery.kill(one)
            self.died(one)

    def died(self, pid: int) -> None:
        """Note that a process died by itself, since its id may be reused."""
        self.pids.remove(pid)

    async def visible(self) -> None:
        """Wait until reads show what staff did just now."""
        await asyncio.sleep(max(LAG.values()) / 1000)

    async def at_work(self, connection: Any) -> bool:
        """Whether a sync is queued, a job is open, or a check is due."""
        return bool(await connection.fetchval(_AT_WORK))

    async def over(self, *, within: float = PATIENCE_SECONDS) -> None:
        """Wait until no work is left."""
        async with self.database.connection() as connection:

            async def ended() -> bool:
                return not await self.at_work(connection)

            await eventually(ended, within=within, every=0.2)

    async def ends(self, names: Collection[str]) -> State:
        """The state of both sides without ids, for events of these names."""
        events = self.control.events(self.church.id)
        titles = {event["id"]: event["name"] for event in events}
        lines = [
            f"there {event['name']} {[(one['starts_at'], one['ends_at']) for one in event['instances']]}"
            for event in events
            if event["name"] in names
        ]
        for event in await self.database.fetch("SELECT * FROM event ORDER BY title"):
            dates = await self.database.fetch(
                "SELECT starts_at, ends_at, cancelled, pco_instance_id IS NOT NULL AS known FROM occurrence "
                "WHERE event_id = $1 ORDER BY key",
                event["id"],
            )
            held = [tuple(map(str, one.values())) for one in dates]
            lines.append(f"here {event['title']} {event['handed_off']} {held}")
        titled = "SELECT event.title, {} FROM {} JOIN event ON event.id = {} ORDER BY 1"
        lines += [
            f"link {one['title']} {titles.get(one['pco_event_id'])} {one['state']} {one['kept']}"
            for one in await self.database.fetch(titled.format("event_link.*", "event_link", "event_id"))
        ]
        lines += [
            f"push {one['title']} {one['state']}"
            for one in await self.database.fetch(titled.format("push.state", "push", "event_id"))
        ]
        # A lost answer stays open where Planning Center refused another event meanwhile: a later push looks for it.
        open_ = ("intended", "sent")
        lines += [
            f"creation {one['kind']} {'open' if one['state'] in open_ else one['state']}"
            for one in await self.database.fetch("TABLE creation")
        ]
        lines += [
            f"effect {one['title']} {one['field']} {_plain(one, 'before')} {_plain(one, 'after')}"
            for one in await self.database.fetch(titled.format("effect.*", "effect", "record_id"))
            # A regular check can come in between, and makes a list of the series that was pushed.
            if one["field"] != "recurrence"
        ]
        return sorted(lines)


def _plain(effect: Mapping[str, Any], side: str) -> str:
    """A value of the history, without ids of Planning Center: others in every copy."""
    value = effect[side]
    return json.dumps(bool(value) if effect["field"] == "linked_to" else value, sort_keys=True)


@asynccontextmanager
async def copied(ground: Ground, template: str) -> AsyncIterator[Copy]:
    """Makes a copy for a block."""
    church, token = ground.churches.pop()
    url = await copy_database(template)
    ground.lender.grants[f"{church.id}/{ORGANIZATION}"] = Grant(church, token)
    made = Copy(ground, church, Database(url), ground.folder / f"{church.id}.log")
    for table in _OF_A_CHURCH:
        await made.database.fetch(f"UPDATE {table} SET pco_organization_id = $1", church.id)
    try:
        yield made
    finally:
        await made.kill()
        await drop_database(url)
