"""Access leases: auth-service lends a token, which this process keeps in memory only."""

import httpx

from contracts.http.auth import LEASE_PATH, AccessLease, LeaseRequest
from contracts.values import AUTH_SERVICE
from pco_client.client import Lease, Secret
from pco_client.errors import LeaseUnavailable
from servicekit.http.auth import sign_service
from synckit.errors import NotConnected
from synckit.settings import SyncSettings


class Leases:
    """The lease source of one organization and product (`pco_client.client.LeaseSource`)."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        settings: SyncSettings,
        product: str,
        organization_id: str,
        pco_organization_id: str,
        connection_generation: int | None = None,
    ) -> None:
        """connection_generation: only tokens of this generation of the connection are taken; None for any."""
        self._http = http
        self._settings = settings
        self._product = product
        self._organization_id = organization_id
        self._pco_organization_id = pco_organization_id
        self._connection_generation = connection_generation

    async def lease(self, failed_generation: int | None) -> Lease:
        """NotConnected if there is no grant, or only one of another generation, or of another Planning Center
        organization, whose records are not those of the links in use. LeaseUnavailable if auth-service does not answer.
        """
        request = LeaseRequest(
            organization_id=self._organization_id, product=self._product, failed_generation=failed_generation
        )
        try:
            answer = await self._http.post(
                f"{self._settings.auth_service_url}{LEASE_PATH}",
                json=request.model_dump(),
                headers={"Authorization": f"Bearer {sign_service(self._settings, AUTH_SERVICE)}"},
            )
        except httpx.TransportError as error:
            raise LeaseUnavailable("auth-service cannot be reached") from error
        if answer.status_code in {404, 409}:
            raise NotConnected(self._product)
        if answer.status_code != 200:
            raise LeaseUnavailable(f"auth-service answered {answer.status_code}")
        granted = AccessLease.model_validate_json(answer.content)
        if granted.pco_organization_id != self._pco_organization_id:
            raise NotConnected(self._product)
        if self._connection_generation not in {None, granted.connection_generation}:
            raise NotConnected(self._product)
        return Lease(
            token=Secret(granted.access_token),
            expires_at=granted.expires_at,
            generation=granted.token_generation,
            pco_user_id=f"{granted.pco_organization_id}/{granted.pco_person_id}",
        )
