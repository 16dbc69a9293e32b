"""Both cards of the Integrations page."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from auth_service.domain.card import card_state, reason_sentence
from auth_service.storage import queries
from auth_service.storage.tables import Connection
from contracts.http.auth import ConnectionCard, Connections, Product


def other_product(product: Product) -> Product:
    """The other product."""
    return "calendar" if product == "people" else "people"


async def cards(session: AsyncSession, organization_id: str) -> Connections:
    """Both cards of an organization."""
    church = await queries.church(session, organization_id)
    return Connections(people=card(church, "people"), calendar=card(church, "calendar"))


def card(church: queries.Church, product: Product) -> ConnectionCard:
    """One card. Without a connection it still names the Planning Center organization of the kept links."""
    own = church.connections.get(product)
    other = church.connections.get(other_product(product))
    state = card_state(product, _state(own), _state(other))
    if own is None or own.state == "disconnected":
        name = church.binding.pco_organization_name if church.binding else None
        return ConnectionCard(
            product=product, state=state, generation=own.generation if own else 0, pco_organization_name=name
        )
    return ConnectionCard(
        product=product,
        state=state,
        generation=own.generation,
        pco_organization_name=own.pco_organization_name,
        pco_person_name=own.pco_person_name,
        connected_at=own.connected_at,
        connected_by_name=own.connected_by_name,
        reason=reason_sentence(own.reason),
        shares_grant=own.grant_id is not None and other is not None and own.grant_id == other.grant_id,
    )


def _state(connection: Connection | None) -> Any:
    return connection.state if connection else None
