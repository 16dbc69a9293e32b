"""State and sentence of a card of the Integrations page."""

from collections.abc import Mapping
from typing import Final

from contracts.events.auth_connection_v1 import ConnectionState
from contracts.http.auth import CardState, Product

REASONS: Final[Mapping[str, str]] = {
    "refused": "Planning Center no longer accepts our sign-in. Nothing was lost; changes wait. "
    "Ask an administrator to reconnect.",
    "lost": "Renewing our sign-in at Planning Center was interrupted, and Planning Center no longer accepts the old "
    "one. Nothing was lost; changes wait. Ask an administrator to reconnect.",
    "replaced": "Planning Center ended this sign-in when the other product was connected. Nothing was lost; changes "
    "wait. Ask an administrator to reconnect: Planning Center will then ask for both products at once.",
}
"""Why a reconnect is required, by the slug that ReconnectRequired carries."""


def card_state(product: Product, own: ConnectionState | None, other: ConnectionState | None) -> CardState:
    """The state of a product's card, from its own connection and the other product's (None: never connected)."""
    if own is not None and own != "disconnected":
        return own
    if product == "calendar" and other in {"connected", "reconnect_required"}:
        return "needs_authorization"
    return "not_connected"


def reason_sentence(slug: str | None) -> str | None:
    """The card's sentence for a slug of `REASONS`."""
    return REASONS[slug] if slug else None
