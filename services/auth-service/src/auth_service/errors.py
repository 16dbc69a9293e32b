"""What can go wrong in auth-service.

ServiceError (servicekit)
├── AuthorizationRefused (Conflict 409)   a consent that is not taken; `type` says why, nothing was stored
├── StateForbids (Conflict 409)           the connection's state does not allow it now
└── VendorAway (Unavailable 503)          Planning Center did not answer; nothing is known to be refused
PlanningCenterError                       what the vendor's OAuth endpoints did to us
├── GrantRefused                          the code or refresh token is dead: only a new consent helps
└── PlanningCenterAway                    no answer, a broken one, or refused for another reason: ask again later
"""

from servicekit.errors import Conflict, Unavailable


class AuthorizationRefused(Conflict):
    """A consent that is not taken. Its sentence says that nothing was stored and what to do."""


class StateForbids(Conflict):
    """Not possible in the connection's present state."""


class VendorAway(Unavailable):
    """Planning Center cannot be reached; what is stored stays as it is."""


class PlanningCenterError(Exception):
    """Planning Center's OAuth endpoints did not give what was asked for."""


class GrantRefused(PlanningCenterError):
    """The authorization code or refresh token is not accepted (planningcenter/developers#1318, #1310)."""


class PlanningCenterAway(PlanningCenterError):
    """No answer in time, a broken answer, or one that says nothing about the grant. The grant may still be good."""
