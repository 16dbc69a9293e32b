"""The service's own errors.

servicekit.errors.ServiceError
└── OwnerTooSlow 504     the owner of a part had the request and did not answer in time
"""

from http import HTTPStatus

from servicekit.errors import ServiceError


class OwnerTooSlow(ServiceError):
    """504: `detail` says whether the call may have changed data."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    slug = "owner-too-slow"
