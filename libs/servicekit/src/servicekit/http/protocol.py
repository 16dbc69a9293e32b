"""HTTP/1.1 as uvicorn speaks it with h11, with an end to waiting for a caller."""

import asyncio
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEAD: Final = 64 * 1024
"""Bytes of a head, of the trailers, and of a chunk's line with its extensions: h11 holds no more of any of them."""


def serving(*, trusted_proxies: str = "") -> dict[str, Any]:
    """Arguments of `uvicorn.Config` for a port that anybody may reach."""
    return {
        "http": Door,
        "h11_max_incomplete_event_size": LONGEST_HEAD,
        # uvicorn's own default believes everybody who connects from this machine.
        "proxy_headers": bool(trusted_proxies),
        "forwarded_allow_ips": trusted_proxies,
        "log_config": None,
        "access_log": False,
        "server_header": False,
    }


class Door(H11Protocol):
    """Ends a connection whose caller keeps us waiting: for a head, for the rest of a body that is answered already, or
    for our answer to be taken.

    uvicorn bounds the silence after an answer alone. The time for a body that is wanted is bounded where it is read.
    """

    patience: ClassVar[float] = 20.0
    """Seconds without progress. A connection is looked at four times in it, so it may take a quarter longer."""
    slowest: ClassVar[int] = 1024
    """Bytes per second of an answer that are progress: whoever takes less would hold our memory for ever."""

    _timer: asyncio.TimerHandle | None = None
    _since = 0.0
    _unsent = 0
    _drained = False
    _owed: tuple[object, object] = (None, None)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Called once."""
        super().connection_made(transport)
        self._since, self._owed = self.loop.time(), (self.conn.their_state, None)
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Called when the caller has taken most of what waited for them."""
        self._drained = True
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Called when an answer is sent, whether or not its request was read to the end."""
        self.cycle.body = bytearray()  # of no use any more, and the connection may stay
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Called for what is no HTTP, which may also come behind an answer."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _look_again(self) -> None:
        self._timer = self.loop.call_later(self.patience / 4, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if self._goes_on():
            self._since = now
        elif now - self._since >= self.patience:
            # close() would wait until the caller has taken what is there for them.
            self.transport.abort()
            return
        self._look_again()

    def _goes_on(self) -> bool:
        """Whether the caller has done something since the last look, or has nothing to do."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        drained, owed, owed_before = self._drained, (self.conn.their_state, self.cycle), self._owed
        self._unsent, self._drained, self._owed = unsent, False, owed
        if unsent:
            return drained or not before or unsent <= before - self.slowest * self.patience / 4
        if self.cycle is not None and not self.cycle.response_complete:
            return True
        return owed != owed_before
