"""Held matches by filters, and the members they keep from being written."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Exists,
    Text,
    Uuid,
    any_,
    cast,
    exists,
    false,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from contracts.http.people import HeldBulkInput, HeldQuery
from people_sync.domain.held import REASONS
from people_sync.storage.joined import asked_about
from people_sync.storage.sync_tables import HeldMatch
from people_sync.storage.tables import Family, FamilyMember, Member
from servicekit.errors import NotFound

WAITING: Final = ("open", "later")
"""States that wait for an answer."""


def fitting(query: HeldQuery | HeldBulkInput) -> list[ColumnElement[bool]]:
    """All filters but the state. NotFound (404) for a family's id that cannot be one."""
    found: list[ColumnElement[bool]] = []
    if query.reason is not None:
        said = func.jsonb_array_elements_text(HeldMatch.reasons).table_valued("sentence").render_derived(name="said")
        found.append(exists().select_from(said).where(said.c.sentence.like(any_(_texts(REASONS[query.reason])))))
    if query.single is not None:
        found.append(ONE_CANDIDATE if query.single else ~ONE_CANDIDATE)
    if query.family_id is not None:
        try:
            family_id = UUID(query.family_id)
        except ValueError as error:
            raise NotFound("There is no such family.") from error
        members = (
            select(cast(FamilyMember.member_id, Text))
            .join(Family, Family.id == FamilyMember.family_id)
            .where(Family.id == family_id, Family.organization_id == HeldMatch.organization_id)
        )
        found.append(HeldMatch.candidate_ids.op("&&", is_comparison=True)(func.array(members.scalar_subquery())))
    if isinstance(query, HeldQuery) and query.pco_id is not None:
        found.append(HeldMatch.pco_id == query.pco_id)
    if isinstance(query, HeldQuery) and query.member_id is not None:
        found.append(HeldMatch.candidate_ids.contains([query.member_id]))
    if query.older_than_days is not None:
        found.append(HeldMatch.created_at < func.now() - func.make_interval(0, 0, 0, query.older_than_days))
    return found


ONE_CANDIDATE: Final[ColumnElement[bool]] = (func.cardinality(HeldMatch.candidate_ids) == 1) & (HeldMatch.more == 0)
"""Whether exactly one member may be the person."""


def members_asked_about(organization_id: str, pco_organization_id: str) -> CompoundSelect[Any]:
    """Ids of members with an open question: a held match, or a merged pair."""
    candidates = select(cast(func.unnest(HeldMatch.candidate_ids), Uuid).label("id")).where(
        HeldMatch.organization_id == organization_id,
        HeldMatch.pco_organization_id == pco_organization_id,
        HeldMatch.state.in_(WAITING),
    )
    return candidates.union(*asked_about(organization_id))


def wanted_by_nobody_else(owner: Mapping[str, str]) -> ColumnElement[bool]:
    """Whether the first candidate is candidate of no other held match: of two namesakes there, neither may take it."""
    of_others = func.unnest(HeldMatch.candidate_ids).table_valued("member_id").render_derived(name="candidate")
    once = (
        select(of_others.c.member_id)
        .select_from(HeldMatch)
        .join(of_others, text("true"))
        .where(
            HeldMatch.organization_id == owner["organization_id"],
            HeldMatch.pco_organization_id == owner["pco_organization_id"],
            HeldMatch.state.in_(WAITING),
        )
        .group_by(of_others.c.member_id)
        .having(func.count() == 1)
    )
    # A value, so that PostgreSQL hashes the set once; a join would compute it for each row.
    return func.coalesce(HeldMatch.candidate_ids[1].in_(once), false())


def _texts(values: tuple[str, ...]) -> Any:
    return literal(list(values), ARRAY(Text))


def waits_for_an_answer(owner: Mapping[str, str]) -> Exists:
    """Whether a member is candidate of a held match, and so neither overwritten nor created there."""
    # A subquery, which PostgreSQL hashes: there can be as many held matches as members.
    candidates = (
        select(func.unnest(HeldMatch.candidate_ids).label("member_id"))
        .where(
            HeldMatch.organization_id == owner["organization_id"],
            HeldMatch.pco_organization_id == owner["pco_organization_id"],
            HeldMatch.state.in_(["open", "later"]),
        )
        .subquery()
    )
    return exists().where(candidates.c.member_id == cast(Member.id, Text))
