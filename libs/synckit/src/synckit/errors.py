"""What can go wrong in a sync beside servicekit's and pco_client's errors.

PermanentError
└── NotConnected    the organization has no usable connection: a run waits for a reconnect
Exception
├── NotYet          nothing can be decided about a record now: it is looked at again
└── Wait            a run can do nothing before an instant
"""

from datetime import datetime

from servicekit.errors import PermanentError


class NotConnected(PermanentError):
    """No grant to work with: never connected, closing, disconnected, or a reconnect is required."""

    def __init__(self, product: str) -> None:
        super().__init__(f"Planning Center {product.capitalize()} is not connected.")


class NotYet(Exception):
    """Nothing can be decided about a record, or the rest of it, before `until`. `so_far`: what was done already."""

    def __init__(self, until: datetime, so_far: str | None = None) -> None:
        super().__init__(f"not before {until:%H:%M:%S}")
        self.until, self.so_far = until, so_far


class Wait(Exception):
    """The run can do nothing before `until`. Whoever carries it out gives the job back, and with it the slot."""

    def __init__(self, until: datetime, sentence: str) -> None:
        super().__init__(sentence)
        self.until = until
        self.sentence = sentence
