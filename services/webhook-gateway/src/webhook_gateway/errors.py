"""The service's own errors.

servicekit.errors.ServiceError
├── NotSigned 401        a delivery whose signature is missing or wrong
├── AddressRetired 410   a delivery to the address of a connection that has ended
└── OwnerTooSlow 504     the owner of a part had the request and did not answer in time
"""

from http import HTTPStatus

from servicekit.errors import ServiceError


class NotSigned(ServiceError):
    """401: the signature proves nothing."""

    status = HTTPStatus.UNAUTHORIZED
    slug = "signature-mismatch"

    def __init__(self) -> None:
        super().__init__(
            "The signature does not belong to this body and address. Nothing was stored. Send the delivery again as it "
            "is, signed with the subscription's secret.",
            # RFC 9110 wants a challenge in every 401.
            headers={"WWW-Authenticate": "X-PCO-Webhooks-Authenticity"},
        )


class AddressRetired(ServiceError):
    """410: Planning Center deactivates a subscription at the first one, so only a retired key may cause it."""

    status = HTTPStatus.GONE
    slug = "address-retired"

    def __init__(self) -> None:
        super().__init__("The connection of this address has ended. Nothing was stored. Stop sending to it.")


class OwnerTooSlow(ServiceError):
    """504: `detail` says whether the call may have changed data."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    slug = "owner-too-slow"
