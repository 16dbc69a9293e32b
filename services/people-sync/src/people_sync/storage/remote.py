"""The mirror: the last read of every person and household in Planning Center.

It is persistent, so that matching, *gone*, adoption and shared emails see the same data in a full run, in an
incremental one, and right before a creation. Lookup keys include the tenant: a placeholder email used by many churches
finds only one church's people.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Exists,
    Uuid,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from people_sync.domain.planning_center import RemoteHousehold, RemotePerson, Unread, email_keys, to_match
from people_sync.storage.erased import to_be_stored
from people_sync.storage.sync_tables import Remote, Shown, Sighting
from people_sync.storage.tables import Link
from synckit.among import among
from synckit.staleness import Reading

Owner = Mapping[str, str]
"""`organization_id` and `pco_organization_id`."""


ITS_LINK: Final[ColumnElement[bool]] = (
    (Link.organization_id == Remote.organization_id)
    & (Link.pco_organization_id == Remote.pco_organization_id)
    & (Link.kind == Remote.kind)
    & (Link.pco_id == Remote.pco_id)
)
"""Joins a remote record with its link."""


def row_of(
    owner: Owner, kind: str, one: RemotePerson | RemoteHousehold | Unread, fingerprint: bytes | None = None
) -> dict[str, Any]:
    """A mirror row for a person or household, or for the reason why the answer is incomplete.

    `fingerprint`: of the answer, if it came in a page.
    """
    if isinstance(one, Unread):
        known = one.person.to_json() if one.person else None
        said = {"name": one.name, "sentence": one.sentence, "why": one.why, "person": known}
        row = _row(kind, one.pco_id, None, None, None) | {"unread": said}
        return row | _found_by(owner, one.person) if one.person else row
    row = _row(kind, one.pco_id, one.to_json(), one.hash, fingerprint) | {"times": one.times}
    return row | _found_by(owner, one) if isinstance(one, RemotePerson) else row


def _found_by(owner: Owner, person: RemotePerson) -> dict[str, Any]:
    emails, names = email_keys(person), sorted(to_match(person).name_keys())
    keys = [lookup_key(owner, "email", one) for one in emails] + [lookup_key(owner, "name", one) for one in names]
    return {"login": person.login, "email_keys": emails, "name_keys": names, "keys": sorted(set(keys))}


def _row(
    kind: str, pco_id: str, snapshot: dict[str, Any] | None, remote_hash: bytes | None, fingerprint: bytes | None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "pco_id": pco_id,
        "snapshot": snapshot,
        "remote_hash": hexadecimal(remote_hash),
        "fingerprint": hexadecimal(_seal(fingerprint, remote_hash)),
        "email_keys": (),
        "name_keys": (),
        "keys": (),
        "login": None,
        "times": None,
        "unread": None,
    }


def _seal(fingerprint: bytes | None, remote_hash: bytes | None) -> bytes | None:
    """Binds the form of an answer to the content read from it; a different read in between breaks the seal."""
    if fingerprint is None or remote_hash is None:
        return None
    return blake2b(fingerprint + remote_hash, digest_size=16).digest()


def hexadecimal(value: bytes | None) -> str | None:
    """A bytea in PostgreSQL's notation inside JSON."""
    return None if value is None else f"\\x{value.hex()}"


def lookup_key(owner: Owner, what: str, value: str) -> int:
    """Lookup key of an email or name of one church, as a signed 64-bit number."""
    content = "\0".join((owner["organization_id"], owner["pco_organization_id"], what, value))
    return int.from_bytes(blake2b(content.encode(), digest_size=8).digest(), "big", signed=True)


_LOCK: Final = text(
    """
    SELECT FROM remote JOIN jsonb_to_recordset(:rows) AS page (kind text, pco_id text) USING (kind, pco_id)
    WHERE organization_id = :organization_id AND pco_organization_id = :pco_organization_id
    ORDER BY kind, pco_id FOR UPDATE OF remote
    """
).bindparams(bindparam("rows", type_=JSONB))
"""Locks what is known of a page, in one order everywhere, so that the next statement sees the last of it."""

_PUT: Final = text(
    """
    WITH page AS (
        SELECT * FROM jsonb_to_recordset(:rows) AS page (
            kind text, pco_id text, snapshot jsonb, remote_hash bytea, fingerprint bytea, email_keys text[],
            name_keys text[], keys bigint[], login boolean, times jsonb, unread jsonb
        )
    ),
    earlier AS (
        UPDATE remote SET again = true, run_id = coalesce(:run_id, remote.run_id)
        FROM page
        WHERE remote.organization_id = :organization_id AND remote.pco_organization_id = :pco_organization_id
            AND remote.kind = page.kind AND remote.pco_id = page.pco_id
            AND remote.read_at > :conclusive AND remote.read_at <= :read_at AND EXISTS (
                SELECT FROM jsonb_each_text(remote.times) AS was JOIN jsonb_each_text(page.times) AS shown USING (key)
                WHERE shown.value::timestamptz < was.value::timestamptz
            )
        RETURNING page.kind, page.pco_id
    )
    INSERT INTO remote AS known (
        organization_id, pco_organization_id, kind, pco_id, snapshot, remote_hash, fingerprint, email_keys, name_keys,
        keys, login, times, read_at, again, unread, run_id
    )
    SELECT :organization_id, :pco_organization_id, kind, pco_id, snapshot, remote_hash, fingerprint, email_keys,
        name_keys, keys, login, times, :read_at, snapshot IS NULL, unread, :run_id
    FROM page WHERE (kind, pco_id) NOT IN (SELECT kind, pco_id FROM earlier)
    ON CONFLICT (organization_id, pco_organization_id, kind, pco_id) DO UPDATE SET
        snapshot = coalesce(excluded.snapshot, known.snapshot),
        remote_hash = coalesce(excluded.remote_hash, known.remote_hash),
        fingerprint = excluded.fingerprint,
        login = coalesce(excluded.login, known.login),
        times = coalesce(excluded.times, known.times),
        email_keys = CASE WHEN excluded.snapshot IS NULL
            THEN ARRAY(SELECT unnest(known.email_keys) UNION SELECT unnest(excluded.email_keys))
            ELSE excluded.email_keys END,
        name_keys = CASE WHEN excluded.snapshot IS NULL
            THEN ARRAY(SELECT unnest(known.name_keys) UNION SELECT unnest(excluded.name_keys))
            ELSE excluded.name_keys END,
        keys = CASE WHEN excluded.snapshot IS NULL
            THEN ARRAY(SELECT unnest(known.keys) UNION SELECT unnest(excluded.keys))
            ELSE excluded.keys END,
        read_at = excluded.read_at, again = excluded.again, unread = excluded.unread,
        run_id = coalesce(excluded.run_id, known.run_id)
    WHERE known.read_at <= excluded.read_at AND NOT (known.read_at > :conclusive AND EXISTS (
        SELECT FROM jsonb_each_text(known.times) AS was JOIN jsonb_each_text(excluded.times) AS shown USING (key)
        WHERE shown.value::timestamptz < was.value::timestamptz
    ))
    """
).bindparams(
    bindparam("run_id", type_=Uuid),
    bindparam("rows", type_=JSONB),
    bindparam("read_at", type_=DateTime(timezone=True)),
    bindparam("conclusive", type_=DateTime(timezone=True)),
)
"""Stores a page in one statement, since a statement per row costs more than the read. The last read wins, unless it
shows an earlier state: by Planning Center's own times, and within the horizon of the read before.
"""


async def put(
    session: AsyncSession, owner: Owner, rows: list[dict[str, Any]], reading: Reading, run_id: UUID | None
) -> None:
    """Store records of a read. `run_id`: the run that must process them.

    An incomplete read, and one that shows an earlier state than the read before, keeps the former values and marks the
    record for another read; lookups find the record by either read. Erased people are not stored.
    """
    if rows := await to_be_stored(session, owner, rows):
        await session.execute(
            _LOCK, {**owner, "rows": [{"kind": row["kind"], "pco_id": row["pco_id"]} for row in rows]}
        )
        at = {"read_at": reading.read_at, "conclusive": reading.read_at - reading.horizon}
        await session.execute(_PUT, {**owner, "run_id": run_id, "rows": rows, **at})


async def met(session: AsyncSession, run_id: UUID, kind: str, pco_ids: Collection[str]) -> None:
    """Note that a run met these records, changed or not."""
    if pco_ids:
        session.add(Sighting(run_id=run_id, kind=kind, pco_ids=list(pco_ids)))


def sighted(run_id: UUID, kind: str, pco_id: Any) -> Exists:
    """Whether a run met the record of the enclosing statement. Hashed once per statement for all pages."""
    seen = (
        select(func.unnest(Sighting.pco_ids).label("pco_id"))
        .where(Sighting.run_id == run_id, Sighting.kind == kind)
        .subquery()
    )
    return exists().where(seen.c.pco_id == pco_id)


@dataclass(frozen=True, slots=True)
class Compared:
    """Hashes of a record at its last comparison."""

    remote_hash: bytes | None
    seal: bytes | None
    """Seal of the answer that the record was read from."""

    def was_read_from(self, fingerprint: bytes | None) -> bool:
        """Whether an answer with this fingerprint has the same content."""
        return fingerprint is not None and self.seal == _seal(fingerprint, self.remote_hash)


async def compared(
    session: AsyncSession, owner: Owner, people: Iterable[str], households: Iterable[str]
) -> dict[tuple[str, str], Compared]:
    """Completely read records that are unchanged since their last comparison, by kind and id."""
    found = await session.execute(
        select(Link.kind, Link.pco_id, Link.remote_hash, Remote.fingerprint)
        .join(Remote, ITS_LINK)
        .where(
            Remote.remote_hash == Link.remote_hash,
            ~Remote.again,
            Link.missing_since.is_(None),
            Link.organization_id == owner["organization_id"],
            Link.pco_organization_id == owner["pco_organization_id"],
            Link.state == "linked",
            or_(
                and_(Link.kind == MEMBER, among(Link.pco_id, people)),
                and_(Link.kind == FAMILY, among(Link.pco_id, households)),
            ),
        )
    )
    return {(kind, pco_id): Compared(*values) for kind, pco_id, *values in found}


_NOTE_SAME: Final = text(
    """
    UPDATE remote SET fingerprint = page.fingerprint, login = coalesce(page.login, remote.login)
    FROM jsonb_to_recordset(:rows) AS page (kind text, pco_id text, fingerprint bytea, login boolean)
    WHERE remote.organization_id = :organization_id AND remote.pco_organization_id = :pco_organization_id
        AND remote.kind = page.kind AND remote.pco_id = page.pco_id
    """
).bindparams(bindparam("rows", type_=JSONB))


async def note_same(
    session: AsyncSession, owner: Owner, records: Iterable[tuple[RemotePerson | RemoteHousehold, bytes | None]]
) -> None:
    """Store the new form of records whose compared content is unchanged, and their login, which is not compared."""
    rows = [
        {
            "kind": MEMBER if isinstance(one, RemotePerson) else FAMILY,
            "pco_id": one.pco_id,
            "fingerprint": hexadecimal(_seal(fingerprint, one.hash)),
            "login": one.login if isinstance(one, RemotePerson) else None,
        }
        for one, fingerprint in records
    ]
    if rows:
        await session.execute(_NOTE_SAME, {**owner, "rows": rows})


def has_key(owner: Owner, what: str, values: Collection[str]) -> ColumnElement[bool]:
    """Whether the record has one of these emails or names."""
    overlap: ColumnElement[bool] = Remote.keys.overlap(
        literal([lookup_key(owner, what, one) for one in values], ARRAY(BigInteger))
    )
    return overlap


async def settled(session: AsyncSession, owner: Owner, kind: str, pco_id: str) -> None:
    """Drop the values if both sides agree on them and no run has to process them."""
    agreed = exists().where(ITS_LINK, Link.remote_hash == Remote.remote_hash)
    await session.flush()
    await session.execute(
        _of(update(Remote), owner, kind, [pco_id]).where(Remote.run_id.is_(None), agreed).values(snapshot=None)
    )


async def look_again(session: AsyncSession, owner: Owner, kind: str, pco_ids: Collection[str]) -> None:
    """Make the next run read these undecided records again, changed or not."""
    if pco_ids:
        await session.execute(_of(update(Remote), owner, kind, pco_ids).values(again=True))


async def not_shown(session: AsyncSession, owner: Owner, kind: str, pco_id: str, long_ago: datetime) -> None:
    """Process a 404: the run has no decision to make about this record.

    A stranger read before `long_ago` is deleted from the mirror; one read later may only not show yet.
    """
    of_one = _of(delete(Remote), owner, kind, [pco_id])
    await session.execute(of_one.where(Remote.read_at < long_ago, ~exists().where(ITS_LINK)))
    await session.execute(_of(update(Remote), owner, kind, [pco_id]).values(run_id=None))


async def forget(session: AsyncSession, owner: Owner, kind: str, pco_ids: Collection[str]) -> None:
    """Delete records that are no longer in Planning Center."""
    if pco_ids:
        await session.execute(_of(delete(Remote), owner, kind, pco_ids))


def _of(statement: Any, owner: Owner, kind: str, pco_ids: Collection[str]) -> Any:
    return statement.where(
        Remote.organization_id == owner["organization_id"],
        Remote.pco_organization_id == owner["pco_organization_id"],
        Remote.kind == kind,
        among(Remote.pco_id, pco_ids),
    ).execution_options(synchronize_session=False)


async def forget_strangers_not_met(session: AsyncSession, owner: Owner, run_id: UUID, since: datetime) -> None:
    """After a complete pull, delete records that are neither linked nor met."""
    for kind in (MEMBER, FAMILY):
        linked = exists().where(ITS_LINK)
        await session.execute(
            delete(Remote)
            .where(
                Remote.organization_id == owner["organization_id"],
                Remote.pco_organization_id == owner["pco_organization_id"],
                Remote.kind == kind,
                Remote.read_at < since,
                ~linked,
                ~sighted(run_id, kind, Remote.pco_id),
            )
            .execution_options(synchronize_session=False)
        )


async def let_go(session: AsyncSession, run_id: UUID) -> None:
    """Drop a run's sightings, and the values that both sides agree on, which the link holds."""
    await session.execute(delete(Sighting).where(Sighting.run_id == run_id))
    await session.execute(delete(Shown).where(Shown.run_id == run_id))
    agreed = exists().where(ITS_LINK, Link.remote_hash == Remote.remote_hash)
    await session.execute(
        update(Remote)
        .where(Remote.run_id == run_id)
        .values(snapshot=case((agreed, null()), else_=Remote.snapshot), run_id=None)
        .execution_options(synchronize_session=False)
    )
