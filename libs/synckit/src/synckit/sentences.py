"""Sentences about runs of all products."""

from typing import Final

ASKING: Final = "Asking Planning Center."
STOPPED: Final = "Stopped safely. What was done stays, and is not done twice. The next sync reads from the beginning."
WAITING_FOR_RECONNECT: Final = "Waiting for an administrator to reconnect Planning Center. Nothing is lost."
WAITING_FOR_VENDOR: Final = "Planning Center does not answer at the moment. The sync waits and goes on by itself."
NOT_UNDERSTOOD: Final = (
    "Planning Center answered in a way we do not understand, so nothing more was decided. "
    "What was done stays. Sync again; if it happens once more, tell the people who run this service."
)
NO_SUCH_SYNC: Final = "There is no such sync."
STARTING: Final = "A sync is just starting. Reload the page in a moment."
NOT_ASKED: Final = "This sync does not wait for an answer to this question. Reload the page to see where it stands."
PLAN_MOVED: Final = (
    "The plan has changed since it was shown to you, so nothing was started. Reload the page, look at the plan and "
    "answer again."
)
RECORD_IS_GONE: Final = "Not read: what was kept about this record here has been deleted."
"""The answer to a notice whose refresh is no more."""
AFTER_RECONNECT: Final = (
    "Nothing was read, because Planning Center must be reconnected first. Once an administrator has reconnected the "
    "same church, the record is read by itself."
)
"""The answer to a notice that came, or still waited, without a working authorization."""
_LIMIT: Final = "Planning Center allows"


def not_connected(product: str) -> str:
    """The answer to a start without a connection. `product`: as in `contracts.values`."""
    return (
        f"Planning Center {product.capitalize()} is not connected. Nothing was started. "
        "Connect it on the Integrations page, then sync."
    )


def abandoned(error: str | None) -> str:
    """The sentence for a run whose job ended without ending it. `error`: the job's."""
    return (
        "The sync ended unexpectedly. What was done stays. Sync again; if it happens once more, tell the people who "
        f"run this service. ({error or 'no reason is known'})"
    )


def waiting_for_limit(seconds: float, limit: int, period_seconds: float) -> str:
    """The sentence for a wait for the vendor's request limit."""
    return f"{_LIMIT} {limit} requests in {period_seconds:g} s; {max(1, round(seconds))} s to go."


def is_of_limit(waiting_for: str | None) -> bool:
    """Whether this sentence is from `waiting_for_limit`."""
    return waiting_for is not None and waiting_for.startswith(_LIMIT)
