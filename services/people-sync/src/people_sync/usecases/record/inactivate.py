"""Makes a person inactive in Planning Center whose member stays active here: an undo's option for people we added."""

from typing import Final
from uuid import UUID

from sqlalchemy import select

from contracts.values import MEMBER
from pco_client.jsonapi import write_body
from pco_client.query import Query
from people_sync.domain.planning_center import Unread
from people_sync.domain.sentences import LATER, LEFT_OUT, MADE_INACTIVE, OUTCOMES
from people_sync.domain.values import ACTIVE
from people_sync.domain.writes import person_believable_at
from people_sync.planning_center import INCLUDE, PEOPLE, person_of
from people_sync.storage.effects import insert_effects
from people_sync.storage.links import agree
from people_sync.storage.tables import Link, Member
from people_sync.storage.writes import Sent, announce, answered, writes_of
from people_sync.usecases.record.answers import Parts, locked_link, part
from people_sync.usecases.record.creations import Later
from people_sync.usecases.record.effects import noted
from people_sync.usecases.record.planned import LeftOut
from people_sync.usecases.record.reading import raise_unread
from people_sync.usecases.record.refusals import Part
from people_sync.usecases.record.writer import Writer
from synckit.errors import NotYet
from synckit.history import THERE, Actor

_FIELDS: Final = (ACTIVE,)


async def make_inactive(writer: Writer, member_id: UUID, pco_id: str | None, actor: Actor) -> str:
    """Make a linked member inactive there, on behalf of `actor`; gives the outcome. Raises as `write_person` does.

    `pco_id`: the person shown. LeftOut if the member is linked to another person by now, as after a merger.
    *Inactive* is stored as agreed before the request, so that no read takes it over here, even after a crash.
    """
    async with writer.job.sessions() as session:
        member = await session.get_one(Member, member_id)
        link = await session.scalar(select(Link).filter_by(**writer.owner, kind=MEMBER, record_id=member_id))
    if link is None or link.state != "linked" or member.deleted_at is not None:
        raise Later(OUTCOMES[LATER])
    _is_who_was_shown(link, pco_id)
    read_at = writer.now()
    document = await writer.pco.get(f"{PEOPLE}/{pco_id}", Query(include=INCLUDE))
    person = person_of(document.data, document.included)
    if isinstance(person, Unread):
        raise_unread(writer, person, read_at)
    async with writer.transaction() as session:
        link = await locked_link(session, writer, member)
        _is_who_was_shown(link, pco_id)
        writes = (await writes_of(session, [link.id])).get(link.id, [])
        reading = writer.reading(read_at)
        if until := person_believable_at(writes, person.values, reading, writer.country, active=person.active):
            raise NotYet(until)
        sent = any(write.field == ACTIVE and write.answered_at is None for write in writes)
        if not person.active and not sent:
            return LEFT_OUT
        if not sent:
            await announce(session, link.id, [Sent(ACTIVE, before=True, after=False)], writer.now())
        agree(link, {**link.agreed, ACTIVE: False}, writer.now())
    if person.active:
        outcome = Parts()
        async with part(writer, member, outcome, Part(None, _FIELDS)):
            body = write_body("Person", {"status": "inactive"}, identity=pco_id)
            await writer.pco.patch(f"{PEOPLE}/{pco_id}", body)
        outcome.refusals.raise_any()
    async with writer.transaction() as session:
        link = await locked_link(session, writer, member)
        await answered(session, link.id, _FIELDS, writer.now())
        agree(link, {**link.agreed, ACTIVE: False}, writer.now())
        link.remote_hash = None
        row = noted(writer, MEMBER, member.id, ACTIVE, before=True, after=False, side=THERE, by=actor.by, rule="undone")
        await insert_effects(session, [row | {"by_user_id": actor.user_id, "by_name": actor.name}])
    return MADE_INACTIVE


def _is_who_was_shown(link: Link, pco_id: str | None) -> None:
    if link.pco_id != pco_id:
        raise LeftOut
