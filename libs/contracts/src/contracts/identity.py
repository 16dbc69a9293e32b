"""Signed identities between services: JWTs (EdDSA, `kid` = the signing service's name).

User identity: `typ` = `user+jwt`, signed by webhook-gateway for one request, `aud` = the service asked, claims as in
`UserIdentity`.
Service identity: `typ` = `service+jwt`, signed by the service itself, `aud` = the service asked, `sub` = its name, no
other claim. `typ`, in the header, keeps a person whose id at the platform is a service's name from being that service.
"""

from typing import Final, Literal

from contracts.base import Model

Role = Literal["admin", "staff"]
IdentityType = Literal["user+jwt", "service+jwt"]

IDENTITY_LIFETIME_SECONDS: Final = 60
IDENTITY_ALGORITHM: Final = "EdDSA"


class UserIdentity(Model):
    """A signed-in person of one organization. Services take the organization from here and nowhere else."""

    user_id: str
    """The platform's id of the person."""
    name: str
    """Name of the person."""
    email: str | None = None
    """Email address, if the identity provider gives one."""
    organization_id: str
    """The platform's organization (church)."""
    organization_name: str
    """Name of the church."""
    roles: tuple[Role, ...]
    """Role of the person in this product."""

    @property
    def is_admin(self) -> bool:
        """Whether this person may connect, sync, resolve and disconnect."""
        return "admin" in self.roles
