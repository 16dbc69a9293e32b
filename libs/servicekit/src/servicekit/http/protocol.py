"""uvicorn's HTTP/1.1 with h11, plus time limits for slow callers."""

import asyncio
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LONGEST_HEAD: Final = 64 * 1024
"""Maximum bytes that h11 buffers of a head, of the trailers, and of a chunk's line with its extensions."""


def serving(*, trusted_proxies: str = "") -> dict[str, Any]:
    """Arguments of `uvicorn.Config` for a public port."""
    return {
        "http": Door,
        "h11_max_incomplete_event_size": LONGEST_HEAD,
        # uvicorn's default trusts every client on this machine.
        "proxy_headers": bool(trusted_proxies),
        "forwarded_allow_ips": trusted_proxies,
        "log_config": None,
        "access_log": False,
        "server_header": False,
    }


class Door(H11Protocol):
    """Closes a connection whose caller is too slow: with a head, with the rest of an already answered body, or with
    reading our answer.

    uvicorn itself only limits the idle time after an answer. `Intake` limits the time for a body that is being read.
    """

    patience: ClassVar[float] = 20.0
    """Maximum seconds without progress. Four checks fall into this time, so a connection may last a quarter longer."""
    slowest: ClassVar[int] = 1024
    """Minimum bytes per second at which a caller must read an answer, or it would hold our memory for ever."""

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
        """Called when the caller has read most of the buffered answer."""
        self._drained = True
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Called when an answer was sent, whether or not its request was read completely."""
        self.cycle.body = bytearray()  # no longer needed, while the connection may stay open
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Called for bytes that are not HTTP, which may also follow an answer."""
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
            # close() would wait until the caller has read the buffered answer.
            self.transport.abort()
            return
        self._look_again()

    def _goes_on(self) -> bool:
        """Whether the caller has made progress since the last check, or is not expected to."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        drained, owed, owed_before = self._drained, (self.conn.their_state, self.cycle), self._owed
        self._unsent, self._drained, self._owed = unsent, False, owed
        if unsent:
            return drained or not before or unsent <= before - self.slowest * self.patience / 4
        if self.cycle is not None and not self.cycle.response_complete:
            return True
        return owed != owed_before
