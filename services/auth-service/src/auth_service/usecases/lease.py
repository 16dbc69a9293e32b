"""Access leases: tokens for services to hold in memory. No transaction is open during a request to Planning Center."""

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from auth_service.config import Settings
from auth_service.domain.lease import LeaseRefusal, lease_refusal, must_refresh, should_refresh
from auth_service.errors import PlanningCenterAway, StateForbids, VendorAway
from auth_service.storage import queries
from auth_service.storage.tables import Connection, OAuthGrant
from auth_service.usecases.refresh import Refresher
from contracts.events.auth_connection_v1 import ConnectionState
from contracts.http.auth import AccessLease, LeaseRequest
from servicekit.clock import Clock
from servicekit.db.sessions import Sessions
from servicekit.errors import Forbidden
from servicekit.vault import Vault

_SENTENCES = {
    LeaseRefusal.NOT_CONNECTED: "This organization is not connected to this product of Planning Center.",
    LeaseRefusal.RECONNECT_REQUIRED: "Planning Center no longer accepts this: wait for ConnectionAuthorized.",
    LeaseRefusal.CLOSING: "This connection is being disconnected. Stop working for it.",
}


@dataclass(frozen=True, slots=True)
class Leases:
    """Lends tokens."""

    _settings: Settings
    _sessions: Sessions
    _refresher: Refresher
    _vault: Vault
    _clock: Clock

    async def lease(self, caller: str, request: LeaseRequest) -> AccessLease:
        """Forbidden, StateForbids (`not-connected`, `reconnect-required`, `closing`) or VendorAway if there is none."""
        connection, grant = await self._read(caller, request)
        now = self._clock.now()
        forced = must_refresh(grant.token_generation, request.failed_generation)
        if forced or should_refresh(grant.expires_at, now, self._settings.refresh_margin):
            grant = await self._renewed(grant, forced=forced, now=now)
        return AccessLease(
            access_token=self._vault.open(grant.access_token),
            expires_at=grant.expires_at,
            token_generation=grant.token_generation,
            connection_generation=connection.generation,
            pco_organization_id=connection.pco_organization_id,
            pco_person_id=connection.pco_person_id,
        )

    async def _read(self, caller: str, request: LeaseRequest) -> tuple[Connection, OAuthGrant]:
        async with self._sessions.begin() as session:
            church = await queries.church(session, request.organization_id)
            connection = church.connections.get(request.product)
            state = cast("ConnectionState | None", connection.state if connection else None)
            refusal = lease_refusal(caller, request.product, state)
            if refusal is LeaseRefusal.NOT_ALLOWED:
                raise Forbidden(f"{caller} may not work with {request.product}.")
            if refusal is not None:
                raise _refused(refusal)
            assert connection is not None
            grant = await queries.grant(session, connection.grant_id) if connection.grant_id else None
            if grant is None or grant.ended_at:  # a closing connection whose grant is already dead
                raise _refused(LeaseRefusal.RECONNECT_REQUIRED)
            return connection, grant

    async def _renewed(self, grant: OAuthGrant, *, forced: bool, now: datetime) -> OAuthGrant:
        try:
            renewed = await self._refresher.refresh(grant.id, grant.token_generation)
        except PlanningCenterAway as error:
            if not forced and grant.expires_at > now:
                return grant  # a renewal ahead of expiry: the present token still works
            raise VendorAway(
                "Planning Center did not answer when the sign-in was renewed. It is tried again when you ask again.",
                retry_after=5,
            ) from error
        if renewed is None:
            raise _refused(LeaseRefusal.RECONNECT_REQUIRED)
        return renewed


def _refused(refusal: LeaseRefusal) -> StateForbids:
    return StateForbids(_SENTENCES[refusal], slug=refusal.value)
