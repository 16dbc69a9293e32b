"""What held matches keep from being written."""

from collections.abc import Mapping

from sqlalchemy import Exists, Text, cast, exists, func, select

from people_sync.storage.sync_tables import HeldMatch
from people_sync.storage.tables import Member


def waits_for_an_answer(owner: Mapping[str, str]) -> Exists:
    """Whether a member may be somebody of a held match: neither overwritten nor created there meanwhile."""
    # As a set of its own, so that it is hashed: there can be as many held matches as members.
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
