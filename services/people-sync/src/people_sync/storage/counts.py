"""Number of linked records, counted by indexes: all links by one, minus the few ended ones by another."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_COUNTS: Final = text(
    """
    WITH deleted AS (
        SELECT 'member' AS kind, id FROM member WHERE organization_id = :organization AND deleted_at IS NOT NULL
        UNION ALL
        SELECT 'family', id FROM family WHERE organization_id = :organization AND deleted_at IS NOT NULL
    )
    SELECT 'member' AS kind, '' AS state, count(*) FROM link
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
)


class Links(NamedTuple):
    """Links of records that are not deleted, of one kind."""

    all: int = 0
    gone: int = 0
    missing: int = 0


async def links(session: AsyncSession, owner: Mapping[str, str]) -> dict[str, Links]:
    """Count by kind. `owner`: `organization_id` and `pco_organization_id`."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    values = {"organization": owner["organization_id"], "pco": owner["pco_organization_id"]}
    for kind, state, number in await session.execute(_COUNTS, values):
        found[kind][state or "all"] += number
    return {kind: Links(**numbers) for kind, numbers in found.items()}
