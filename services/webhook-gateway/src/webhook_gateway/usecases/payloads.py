"""Contents of deliveries: shown with masks, looked at with a reason, and erased."""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, delete, false, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.events.webhooks_care_v1 import PersonErased
from contracts.http.webhooks import DeliveryPayload, LookAtPayload
from contracts.identity import UserIdentity
from servicekit.ids import uuid7
from webhook_gateway.domain.masking import show
from webhook_gateway.storage.log import readable
from webhook_gateway.storage.tables import Delivery, PayloadView, WebhookBody
from webhook_gateway.usecases.log import found

_PERSON: Final = "Person"
_BATCH: Final = 1_000
_ERASED: Final = "What became of it is no longer told, because somebody in this message was erased here."
_ERASED_NOTE: Final = "(erased)"
_HOUSEHOLDS: Final = tuple(f"people.v2.events.household.{change}" for change in ("created", "updated", "destroyed"))
"""Events whose messages name people without having one of their own."""


async def masked(session: AsyncSession, organization_id: str, number: str, today: date) -> DeliveryPayload:
    """The contents with all personal values hidden. NotFound (404)."""
    return await _shown(session, await found(session, organization_id, number), today, revealed=False)


async def look(
    session: AsyncSession, user: UserIdentity, number: str, body: LookAtPayload, today: date
) -> DeliveryPayload:
    """The contents with the values of adults; the look is kept with its reason. NotFound (404)."""
    row = await found(session, user.organization_id, number)
    session.add(
        PayloadView(
            id=uuid7(),
            organization_id=user.organization_id,
            delivery_number=row.id,
            user_id=user.user_id,
            user_name=user.name,
            reason=body.reason,
            seen_at=func.clock_timestamp(),
        )
    )
    return await _shown(session, row, today, revealed=True)


async def _shown(session: AsyncSession, row: Delivery, today: date, *, revealed: bool) -> DeliveryPayload:
    stored = await session.scalar(
        select(WebhookBody.body).where(
            WebhookBody.id == row.body_id, WebhookBody.organization_id == row.organization_id
        )
    )
    document = show(stored, row.position, revealed=revealed, today=today) if stored is not None else None
    if stored is None:
        sentence = "The contents are no longer kept: their time is over, or somebody in them was erased here."
    elif document is None:
        sentence = f"The message has {len(stored):,} bytes and cannot be read, so nothing of it is shown."
    elif revealed:
        sentence = (
            "Values of children, and of anybody whose age the message does not tell, stay hidden, empty ones too."
        )
    else:
        sentence = "Names, addresses and all other personal values are hidden, empty ones too."
    return DeliveryPayload(number=row.id, document=document, masked=not revealed, sentence=sentence)


async def erase(session: AsyncSession, fact: PersonErased) -> None:
    """Delete the contents of all deliveries about a person, or of a single one, and the reasons of those who looked.

    The rows stay in the log. What became of them, and notes of whoever archived them, may name people in words; so
    these go too, unless the fact is about a single delivery, which was not applied.
    """
    one = fact.delivery_number is not None
    # In the order of the numbers, as everywhere in the log.
    touched = (await session.execute((_single(fact) if one else _about(fact)).order_by("id"))).all()
    for start in range(0, len(touched), _BATCH):
        part = touched[start : start + _BATCH]
        numbers = [row.id for row in part]
        await session.execute(delete(WebhookBody).where(WebhookBody.id.in_({row.body_id for row in part})))
        looks = update(PayloadView).where(
            PayloadView.organization_id == fact.organization_id, PayloadView.delivery_number.in_(numbers)
        )
        await session.execute(looks.values(reason=""))
        if not one:
            await _without_words(session, numbers)


def _single(fact: PersonErased) -> Select[int, UUID]:
    return select(Delivery.id, Delivery.body_id).where(
        Delivery.organization_id == fact.organization_id, Delivery.id == fact.delivery_number
    )


def _about(fact: PersonErased) -> Select[int, UUID]:
    """All deliveries that name the person. This reads the stored contents of all households of the church."""
    ids = sorted(set(fact.pco_person_ids))
    of_organization = Delivery.organization_id == fact.organization_id
    about = select(Delivery.id, Delivery.body_id).where(
        of_organization,
        or_(
            (Delivery.resource_id.in_(ids)) & (Delivery.resource_type == _PERSON),
            Delivery.person_id.in_(ids),
            Delivery.merged_person_id.in_(ids),
        ),
    )
    # A household's message names its primary contact. The payload is JSON within JSON, so its quotes are escaped. Only
    # in one that came as an object they are plain, as those of the message around it.
    escaped = or_(false(), *(_holds(rf"\"{one}\"") for one in ids))
    plain = or_(false(), *(_holds(f'"{one}"') for one in ids)) & ~_holds(r"\"data\"")
    named = escaped | plain
    households = (
        select(Delivery.id, Delivery.body_id)
        .join(WebhookBody, WebhookBody.id == Delivery.body_id)
        .where(of_organization, Delivery.name.in_(_HOUSEHOLDS), named)
    )
    every = about.union(households).subquery()
    return select(every.c.id, every.c.body_id)


def _holds(text: str) -> ColumnElement[bool]:
    """Whether a message has this text."""
    found: ColumnElement[bool] = func.pg_catalog.position(WebhookBody.body, text.encode()) > 0
    return found


async def _without_words(session: AsyncSession, numbers: Sequence[int]) -> None:
    """Take out what says in words what became of deliveries. Why one cannot be read is said in words without names."""
    told = Delivery.sentence.is_not(None) & readable()
    these = select(Delivery.id).where(Delivery.id.in_(numbers), told | Delivery.archived_note.is_not(None))
    held = these.order_by(Delivery.id).with_for_update().cte("held")
    await session.execute(
        update(Delivery)
        .where(Delivery.id.in_(select(held.c.id)))
        .values(
            sentence=case((told, _ERASED), else_=Delivery.sentence),
            archived_note=case((Delivery.archived_note.is_not(None), _ERASED_NOTE)),
        )
        .execution_options(synchronize_session=False)
    )
