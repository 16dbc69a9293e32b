"""Errors of auth-service.

ServiceError (servicekit)
├── AuthorizationRefused (Conflict 409)   the consent is refused; `type` says why, nothing was stored
├── StateForbids (Conflict 409)           the connection's state does not allow the call now
└── VendorAway (Unavailable 503)          Planning Center did not answer; the call may be repeated
PlanningCenterError                       errors of the vendor's OAuth endpoints
├── GrantRefused                          the code or refresh token is dead: only a new consent helps
└── PlanningCenterAway                    no answer, a broken one, or refused for another reason: ask again later
"""

from servicekit.errors import Conflict, Unavailable


class AuthorizationRefused(Conflict):
    """A refused consent. Its sentence says that nothing was stored and what to do."""


class StateForbids(Conflict):
    """The connection's present state does not allow the call."""


class VendorAway(Unavailable):
    """Planning Center cannot be reached; stored data is unchanged."""


class PlanningCenterError(Exception):
    """Planning Center's OAuth endpoints refused a request or gave no usable answer."""


class GrantRefused(PlanningCenterError):
    """The authorization code or refresh token is dead (planningcenter/developers#1318, #1310)."""


class PlanningCenterAway(PlanningCenterError):
    """No answer in time, a broken one, or one that says nothing about the grant, which may still be good."""
