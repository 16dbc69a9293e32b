"""Outcomes of deliveries, as the owners of the records report them."""

from collections.abc import Iterable, Sequence

from sqlalchemy import BigInteger, DateTime, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.webhooks_outcome_v1 import WebhookApplied

_COLUMNS = ("organization_id", "outcome", "by", "sentence", "record_kind", "record_id")

_NEWER = """(
    delivery.applied_at IS NULL OR delivery.applied_at < told.applied_at
    OR (delivery.state = 'waiting' AND delivery.applied_at <> told.applied_at)
)"""

# Rows are locked in the order of their numbers, so that two of these cannot deadlock. An outcome of an earlier try
# comes late or again without effect. But a delivery that was sent again must not wait for ever because the process that
# answers now has a slower clock than the one that answered before.
_NOTE = text(
    f"""
    WITH told AS (
        SELECT * FROM unnest(:numbers, :applied, :organization_id, :outcome, :by, :sentence, :record_kind, :record_id)
        AS told (number, applied_at, organization_id, outcome, by, sentence, record_kind, record_id)
    ), held AS (
        SELECT delivery.id FROM delivery JOIN told ON told.number = delivery.id
        WHERE delivery.organization_id = told.organization_id
        AND {_NEWER}
        ORDER BY delivery.id FOR UPDATE OF delivery
    )
    UPDATE delivery SET
        state = CASE told.outcome WHEN 'failed' THEN 'failed' ELSE 'applied' END,
        applied_at = told.applied_at, outcome = told.outcome, outcome_by = told.by, sentence = told.sentence,
        record_kind = told.record_kind, record_id = told.record_id, archived_by = NULL, archived_note = NULL
    FROM told JOIN held ON held.id = told.number
    WHERE delivery.id = held.id AND {_NEWER}
    """  # noqa: S608 - a condition of ours
).bindparams(
    bindparam("numbers", type_=ARRAY(BigInteger)),
    bindparam("applied", type_=ARRAY(DateTime(timezone=True))),
    *(bindparam(name, type_=ARRAY(Text)) for name in _COLUMNS),
)


async def note(session: AsyncSession, facts: Sequence[WebhookApplied]) -> None:
    """Note outcomes in the delivery log, all with one statement."""
    told = newest(facts)
    columns = {name: [getattr(fact, name) for fact in told] for name in _COLUMNS}
    numbers = [fact.version for fact in told]
    await session.execute(_NOTE, {"numbers": numbers, "applied": [fact.applied_at for fact in told], **columns})


def newest(facts: Iterable[WebhookApplied]) -> list[WebhookApplied]:
    """The newest outcome of each delivery."""
    found: dict[int, WebhookApplied] = {}
    for fact in facts:
        known = found.get(fact.version)
        if known is None or known.applied_at < fact.applied_at:
            found[fact.version] = fact
    return list(found.values())
