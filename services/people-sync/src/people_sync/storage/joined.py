"""Two members of one person: pairs that await an answer, and joined members."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, exists, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from contracts.values import MEMBER
from people_sync.storage.sync_tables import Joined, KeptOut
from people_sync.storage.tables import Connection, Link, Member
from synckit.among import among


@dataclass(frozen=True, slots=True)
class Pair:
    """Two living members whose people were merged in Planning Center."""

    ended: Link
    """The ended link of `joins`, whose own person was merged away."""
    pco_id: str
    """Id of the person who was kept."""
    stays: Member
    joins: Member


ENDED: Final = aliased(Link, name="ended_link")
"""The ended link in `pairs`."""
_KEPT: Final = aliased(Link, name="kept_link")
_STAYS: Final = aliased(Member, name="stays")
_JOINS: Final = aliased(Member, name="joins")
OLDEST: Final = (_JOINS.created_at, _JOINS.id)
"""The order of pairs: what is told of it holds also once a pair is answered, and nothing of other churches."""


def pairs(organization_id: str) -> Select[Any]:
    """Pairs of the currently or last connected Planning Center organization, as rows for `pair`."""
    # A scalar subquery, since joining the links with each other would scan them all.
    connected = (
        select(Connection.pco_organization_id).where(Connection.organization_id == organization_id).scalar_subquery()
    )
    statement: Select[Any] = (
        select(ENDED)
        .add_columns(_KEPT.pco_id, _STAYS, _JOINS)
        .select_from(ENDED)
        .join(_KEPT, _KEPT.pco_id == ENDED.merged_into)
        .join(_STAYS, _STAYS.id == _KEPT.record_id)
        .join(_JOINS, _JOINS.id == ENDED.record_id)
        .where(
            *(link.organization_id == organization_id for link in (ENDED, _KEPT)),
            *(link.pco_organization_id == connected for link in (ENDED, _KEPT)),
            *(link.kind == MEMBER for link in (ENDED, _KEPT)),
            ENDED.merged_into.is_not(None),
            ENDED.state == "gone",
            _KEPT.state != "gone",
            _STAYS.deleted_at.is_(None),
            _JOINS.deleted_at.is_(None),
            # Members kept out of the sync raise no question.
            ~exists().where(
                KeptOut.organization_id == organization_id,
                KeptOut.kind == MEMBER,
                or_(KeptOut.record_id == _STAYS.id, KeptOut.record_id == _JOINS.id),
            ),
        )
    )
    return statement


def pair(row: Any) -> Pair:
    """Convert a row of `pairs`."""
    ended, pco_id, stays, joins = row
    return Pair(ended, pco_id, stays, joins)


def asked_about(organization_id: str) -> tuple[Select[Any], Select[Any]]:
    """Selects of the member ids of pairs that wait for an answer: those who stay, and those who would be joined."""
    waiting = pairs(organization_id).where(~ENDED.kept_two)
    return waiting.with_only_columns(_STAYS.id), waiting.with_only_columns(_JOINS.id)


def of_member(member_id: UUID) -> Any:
    """Whether a pair includes this member."""
    return or_(_STAYS.id == member_id, _JOINS.id == member_id)


async def joined_into(session: AsyncSession, organization_id: str, member_id: UUID) -> UUID | None:
    """The member that this one was finally joined to."""
    into: UUID | None = await session.scalar(
        select(Joined.into_id).filter_by(organization_id=organization_id, member_id=member_id)
    )
    return into


async def joined_to(session: AsyncSession, organization_id: str, member_id: UUID) -> list[UUID]:
    """Ids of the members joined to this one."""
    found = select(Joined.member_id).filter_by(organization_id=organization_id, into_id=member_id)
    return list(await session.scalars(found.order_by(Joined.member_id)))


async def led_by_external_id(
    session: AsyncSession, organization_id: str, external_ids: Collection[str]
) -> dict[str, UUID]:
    """Platform ids of joined members, each with the member it leads to."""
    rows = await session.execute(
        select(Joined.external_id, Joined.into_id)
        .filter_by(organization_id=organization_id)
        .where(among(Joined.external_id, external_ids))
    )
    return {external_id: into_id for external_id, into_id in rows if external_id is not None}
