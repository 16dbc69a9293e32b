"""What can go wrong in a sync beside servicekit's and pco_client's errors.

PermanentError
└── NotConnected    the organization has no usable connection: a run waits for a reconnect
"""

from servicekit.errors import PermanentError


class NotConnected(PermanentError):
    """No grant to work with: never connected, closing, disconnected, or a reconnect is required."""

    def __init__(self, product: str) -> None:
        super().__init__(f"Planning Center {product.capitalize()} is not connected.")
