"""Who a verified token of the platform's identity provider speaks of."""

from collections.abc import Mapping
from typing import Any, get_args

from contracts.identity import Role, UserIdentity

ROLES: tuple[Role, ...] = get_args(Role)


def identity_of(claims: Mapping[str, Any]) -> UserIdentity:
    """The person in the claims. ValueError names the first claim that is missing or not what it should be.

    Roles that this product does not know are left out: the platform may have more of them.
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
