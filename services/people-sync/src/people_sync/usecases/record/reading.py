"""Reads one record in Planning Center by a separate request, into the mirror."""

from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from contracts.values import FAMILY, MEMBER
from pco_client.errors import Forbidden, NotFound
from pco_client.jsonapi import Document
from pco_client.query import Query
from people_sync.domain.planning_center import RemoteHousehold, RemotePerson, Unread
from people_sync.planning_center import HOUSEHOLDS, INCLUDE, PEOPLE, household_of, person_of
from people_sync.storage import remote
from people_sync.usecases.record.creations import Later
from people_sync.usecases.record.refusals import PartRefused, refusal_of
from people_sync.usecases.record.writer import Writer
from synckit.errors import NotYet


@dataclass(frozen=True, slots=True)
class Read:
    """Planning Center's answer; `document` is None for a 404."""

    kind: str
    pco_id: str
    read_at: datetime
    document: Document | None


async def read(writer: Writer, kind: str, pco_id: str) -> Read:
    """Read one person, with contacts and households, or one household.

    Raises PartRefused if Planning Center refuses to show the record, which does not mean that it is gone.
    """
    read_at = writer.now()
    try:
        if kind == MEMBER:
            document = await writer.pco.get(f"{PEOPLE}/{pco_id}", Query(include=INCLUDE))
        else:
            document = await writer.pco.get(f"{HOUSEHOLDS}/{pco_id}")
    except NotFound:
        return Read(kind, pco_id, read_at, None)
    except Forbidden as error:
        raise PartRefused(await refusal_of(writer, kind, error)) from error
    return Read(kind, pco_id, read_at, document)


def raise_unread(writer: Writer, one: Unread, read_at: datetime) -> NoReturn:
    """Raise NotYet if a part of the record is missing; Later, with the reason, if a value is unreadable."""
    if one.why == "incomplete":
        raise NotYet(read_at + writer.resources.horizon)
    raise Later(one.sentence)


async def store(session: AsyncSession, writer: Writer, found: Read, *, run_id: UUID | None = None) -> Unread | None:
    """Store a read in the mirror. Gives the `Unread` record if the answer is incomplete.

    `run_id`: the run that must process the record.
    """
    document = found.document
    assert document is not None
    one: RemotePerson | RemoteHousehold | Unread
    one = household_of(document.data) if found.kind == FAMILY else person_of(document.data, document.included)
    row = remote.row_of(writer.owner, found.kind, one)
    await remote.put(session, writer.owner, [row], writer.reading(found.read_at), run_id)
    await remote.met(session, writer.cause.id, found.kind, [found.pco_id])
    return one if isinstance(one, Unread) else None
