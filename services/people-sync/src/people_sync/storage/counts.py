"""Numbers of a church, in one statement. Linked records are counted by indexes: all links by one, minus the few ended
ones by another.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, Text, column, func, literal_column, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncSession

_LINKS: Final = text(
    """
    WITH deleted AS (
        SELECT 'member' AS kind, id FROM member WHERE organization_id = :organization AND deleted_at IS NOT NULL
        UNION ALL
        SELECT 'family', id FROM family WHERE organization_id = :organization AND deleted_at IS NOT NULL
    )
    SELECT 'member' AS kind, '' AS state, count(*) AS number FROM link
        WHERE organization_id = :organization AND pco_organization_id = :pco AND kind = 'member'
    UNION ALL
    SELECT 'family', '', count(*) FROM link
        WHERE organization_id = :organization AND pco_organization_id = :pco AND kind = 'family'
    UNION ALL
    SELECT kind, state, count(*) FROM link
        WHERE organization_id = :organization AND pco_organization_id = :pco AND state IN ('gone', 'missing')
        GROUP BY kind, state
    UNION ALL
    SELECT link.kind, part.state, -count(*)
    FROM deleted
        JOIN link ON link.organization_id = :organization AND link.pco_organization_id = :pco
            AND link.kind = deleted.kind AND link.record_id = deleted.id
        CROSS JOIN LATERAL (VALUES (''), (link.state)) AS part (state)
    WHERE part.state IN ('', 'gone', 'missing')
    GROUP BY link.kind, part.state
    """
).columns(column("kind", Text), column("state", Text), column("number"))


class Links(NamedTuple):
    """Links of records that are not deleted, of one kind."""

    all: int = 0
    gone: int = 0
    missing: int = 0


async def links(session: AsyncSession, owner: Mapping[str, str]) -> dict[str, Links]:
    """Count by kind. `owner`: `organization_id` and `pco_organization_id`."""
    return (await links_and(session, owner))[0]


async def links_and(
    session: AsyncSession, owner: Mapping[str, str], **others: Select[Any]
) -> tuple[dict[str, Links], dict[str, int]]:
    """`links`, and the number of rows of each of the `others`, by its name."""
    rows = [
        select(literal_column("''", Text), literal_column(f"'{name}'", Text), func.count()).select_from(
            other.subquery()
        )
        for name, other in others.items()
    ]
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    values = {"organization": owner["organization_id"], "pco": owner["pco_organization_id"]}
    for kind, state, number in await session.execute(union_all(select(_LINKS.subquery()), *rows), values):
        found[kind][state or "all"] += number
    numbers = found.pop("", {})
    return {kind: Links(**counted) for kind, counted in found.items()}, numbers
