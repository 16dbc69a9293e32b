"""Effects as rows."""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB, distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from people_sync.storage.tables import Effect
from synckit.among import among

_INSERT: Final = text(
    """
    INSERT INTO effect (
        organization_id, cause, cause_id, kind, record_id, side, field, before, after, by, by_user_id, by_name, rule, at
    )
    SELECT new.organization_id, decision.cause, decision.cause_id, new.kind, new.record_id, side, field,
        coalesce(before, 'null'), coalesce(after, 'null'),
        decision.by, decision.by_user_id, decision.by_name, decision.rule, at
    FROM jsonb_to_recordset(:rows) AS new (
        organization_id text, cause text, cause_id uuid, kind text, record_id uuid, side text, field text, before jsonb,
        after jsonb, by text, by_user_id text, by_name text, rule text, at timestamptz
    )
    LEFT JOIN conflict ON new.side = 'there' AND conflict.state = 'open'
        AND conflict.organization_id = new.organization_id AND conflict.record_id = new.record_id
        AND conflict.decision -> 'sends' -> new.field = coalesce(new.after, 'null')
    CROSS JOIN LATERAL (
        SELECT new.cause, new.cause_id, new.by, new.by_user_id, new.by_name, new.rule WHERE conflict.id IS NULL
        UNION ALL
        SELECT 'decision', (conflict.decision ->> 'id')::uuid, 'person', conflict.decision ->> 'by_user_id',
            conflict.decision ->> 'by_name', 'decided'
        WHERE conflict.id IS NOT NULL AND conflict.decision ->> 'rule_id' IS NULL
        UNION ALL
        SELECT 'rule', (conflict.decision ->> 'rule_id')::uuid, 'rule', conflict.decision ->> 'by_user_id',
            NULL, conflict.decision ->> 'by_name'
        WHERE conflict.decision ->> 'rule_id' IS NOT NULL
    ) AS decision (cause, cause_id, by, by_user_id, by_name, rule)
    """
).bindparams(bindparam("rows", type_=JSONB))
"""Insert effects by one statement. Writes to Planning Center by a decision are attributed to it, or to its rule."""


async def insert_effects(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows made by `usecases.record.effects.noted`."""
    if rows:
        await session.execute(_INSERT, {"rows": rows})


async def last_changed_here(session: AsyncSession, records: Collection[UUID]) -> dict[tuple[UUID, str], str]:
    """The time (ISO 8601) of the last change here, by record and field; a field that never changed is absent."""
    newest = (
        select(Effect.record_id, Effect.field, Effect.at)
        .ext(distinct_on(Effect.record_id, Effect.field))
        .where(among(Effect.record_id, records), Effect.side == "here", Effect.before != Effect.after)
        .order_by(Effect.record_id, Effect.field, Effect.id.desc())
    )
    return {(record_id, field): at.isoformat() for record_id, field, at in await session.execute(newest)}
