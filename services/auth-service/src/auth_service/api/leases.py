"""The access lease, for our own services only; the gateway never routes it."""

from typing import Annotated

from fastapi import APIRouter, Depends

from auth_service.domain.lease import LEASE_RIGHTS
from auth_service.resources import Wired
from contracts.http.auth import LEASE_PATH, AccessLease, LeaseRequest
from servicekit.http.auth import service_identity

router = APIRouter(tags=["leases"])

Caller = Annotated[str, Depends(service_identity(LEASE_RIGHTS.keys()))]


@router.post(LEASE_PATH)
async def lease(request: LeaseRequest, caller: Caller, wired: Wired) -> AccessLease:
    """Lend a token. Opens its own transactions, since Planning Center may be asked between them."""
    return await wired.leases.lease(caller, request)
