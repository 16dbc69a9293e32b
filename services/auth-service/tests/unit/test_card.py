"""The state of a card, for every pair of connections."""

import pytest

from auth_service.domain.card import REASONS, card_state, reason_sentence
from contracts.events.auth_connection_v1 import ConnectionState


@pytest.mark.parametrize(
    ("own", "other", "people", "calendar"),
    [
        (None, None, "not_connected", "not_connected"),
        (None, "connected", "not_connected", "needs_authorization"),
        (None, "reconnect_required", "not_connected", "needs_authorization"),
        (None, "closing", "not_connected", "not_connected"),
        (None, "disconnected", "not_connected", "not_connected"),
        ("disconnected", None, "not_connected", "not_connected"),
        ("disconnected", "connected", "not_connected", "needs_authorization"),
        ("connected", None, "connected", "connected"),
        ("reconnect_required", "connected", "reconnect_required", "reconnect_required"),
        ("closing", "connected", "closing", "closing"),
    ],
)
def test_card_state(own: ConnectionState | None, other: ConnectionState | None, people: str, calendar: str) -> None:
    assert card_state("people", own, other) == people
    assert card_state("calendar", own, other) == calendar


def test_every_reason_says_cause_state_and_advice() -> None:
    for sentence in REASONS.values():
        assert "Nothing was lost" in sentence
        assert "Ask an administrator to reconnect" in sentence
    assert reason_sentence(None) is None
