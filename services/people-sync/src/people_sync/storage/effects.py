"""Effects as rows."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

_INSERT: Final = text(
    """
    INSERT INTO effect (
        organization_id, cause, cause_id, kind, record_id, side, field, before, after, by, by_user_id, by_name, rule, at
    )
    SELECT organization_id, cause, cause_id, kind, record_id, side, field,
        coalesce(before, 'null'), coalesce(after, 'null'), by, by_user_id, by_name, rule, at
    FROM jsonb_to_recordset(:rows) AS new (
        organization_id text, cause text, cause_id uuid, kind text, record_id uuid, side text, field text, before jsonb,
        after jsonb, by text, by_user_id text, by_name text, rule text, at timestamptz
    )
    """
).bindparams(bindparam("rows", type_=JSONB))
"""In one statement, whatever their number."""


async def insert_effects(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of `Effect` as `usecases.record.effects.noted` makes them."""
    if rows:
        await session.execute(_INSERT, {"rows": rows})
