"""Errors of a sync, in addition to servicekit's and pco_client's.

PermanentError
└── NotConnected    the organization has no usable connection: a run waits for a reconnect
Exception
├── NotYet          a record is postponed
└── Wait            a run is postponed
"""

from datetime import datetime

from servicekit.errors import PermanentError


class NotConnected(PermanentError):
    """There is no usable grant: never connected, closing, disconnected, or a reconnect is required."""

    def __init__(self, product: str) -> None:
        super().__init__(f"Planning Center {product.capitalize()} is not connected.")


class NotYet(Exception):
    """The record, or the rest of it, is postponed to `until`. `so_far`: the outcome of what was already done."""

    def __init__(self, until: datetime, so_far: str | None = None) -> None:
        super().__init__(f"not before {until:%H:%M:%S}")
        self.until, self.so_far = until, so_far


class IntentGone(Exception):
    """The intent of a creation was deleted while its request was under way, because the record has a counterpart."""


class Wait(Exception):
    """The run is postponed to `until`. Its worker gives back the job and the slot."""

    def __init__(self, until: datetime, sentence: str) -> None:
        super().__init__(sentence)
        self.until = until
        self.sentence = sentence
