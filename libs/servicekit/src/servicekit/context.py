"""The flow of the current work: bound from a request or a message, written into every event and log line."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from structlog.contextvars import bound_contextvars

from servicekit.ids import uuid7


@dataclass(frozen=True, slots=True)
class Flow:
    """Correlation id: shared by all that follows from one cause. Causation id: the message that caused this work."""

    correlation_id: str
    causation_id: str | None = None


_flow: ContextVar[Flow | None] = ContextVar("flow", default=None)


def current_flow() -> Flow:
    """The bound flow, else a new one."""
    return _flow.get() or Flow(str(uuid7()))


@contextmanager
def flow(correlation_id: str | None = None, causation_id: str | None = None) -> Iterator[Flow]:
    """Bind a flow for the work inside."""
    bound = Flow(correlation_id or str(uuid7()), causation_id)
    token = _flow.set(bound)
    try:
        with bound_contextvars(correlation_id=bound.correlation_id):
            yield bound
    finally:
        _flow.reset(token)
