"""The person in the claims of a verified token."""

from collections.abc import Mapping
from typing import Any, get_args

from contracts.identity import Role, UserIdentity

ROLES: tuple[Role, ...] = get_args(Role)


def identity_of(claims: Mapping[str, Any]) -> UserIdentity:
    """The person in the claims. ValueError names the first missing or malformed claim.

    Unknown roles are dropped: the platform may have more roles than this product.
    """
    for name in ("sub", "organization_id"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise ValueError(name)
    roles = claims.get("roles")
    return UserIdentity(
        user_id=claims["sub"],
        name=_text(claims.get("name")) or claims["sub"],
        email=_text(claims.get("email")) or None,
        organization_id=claims["organization_id"],
        organization_name=_text(claims.get("organization_name")) or claims["organization_id"],
        roles=tuple(role for role in ROLES if isinstance(roles, list) and role in roles),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
