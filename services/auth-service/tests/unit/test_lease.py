"""Allowed leases, and renewal ahead of expiry."""

from datetime import UTC, datetime, timedelta

import pytest

from auth_service.domain.lease import LeaseRefusal, lease_refusal, must_refresh, should_refresh
from contracts.events.auth_connection_v1 import ConnectionState
from contracts.values import PEOPLE_SYNC, WEBHOOK_GATEWAY

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "worker", "gateway"),
    [
        (None, LeaseRefusal.NOT_CONNECTED, LeaseRefusal.NOT_CONNECTED),
        ("disconnected", LeaseRefusal.NOT_CONNECTED, LeaseRefusal.NOT_CONNECTED),
        ("connected", None, None),
        ("reconnect_required", LeaseRefusal.RECONNECT_REQUIRED, LeaseRefusal.RECONNECT_REQUIRED),
        ("closing", LeaseRefusal.CLOSING, None),
    ],
)
def test_state(state: ConnectionState | None, worker: LeaseRefusal | None, gateway: LeaseRefusal | None) -> None:
    assert lease_refusal(PEOPLE_SYNC, "people", state) is worker
    assert lease_refusal(WEBHOOK_GATEWAY, "people", state) is gateway
    assert lease_refusal(PEOPLE_SYNC, "calendar", state) is LeaseRefusal.NOT_ALLOWED


def test_only_the_token_we_hold_can_have_failed() -> None:
    assert must_refresh(5, failed_generation=5)
    assert not must_refresh(5, failed_generation=4)
    assert not must_refresh(5, failed_generation=None)


def test_margin() -> None:
    margin = timedelta(minutes=5)
    assert should_refresh(NOW + timedelta(minutes=4), NOW, margin)
    assert not should_refresh(NOW + timedelta(minutes=5), NOW, margin)
