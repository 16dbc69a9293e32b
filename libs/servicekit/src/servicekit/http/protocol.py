"""uvicorn's HTTP/1.1, plus time limits for slow callers: with h11, and with httptools for what must be quick."""

import asyncio
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD: Final = 64 * 1024
"""Maximum bytes that h11 buffers of a head, of the trailers, and of a chunk's line with its extensions."""


def serving(door: "type[Door | QuickDoor] | None" = None, *, trusted_proxies: str = "") -> dict[str, Any]:
    """Arguments of `uvicorn.Config` for a public port."""
    return {
        "http": door or Door,
        "h11_max_incomplete_event_size": LONGEST_HEAD,
        # uvicorn's default trusts every client on this machine.
        "proxy_headers": bool(trusted_proxies),
        "forwarded_allow_ips": trusted_proxies,
        "log_config": None,
        "access_log": False,
        "server_header": False,
    }


class _Patience(asyncio.Protocol):
    """Closes a connection whose caller is too slow: with a head, with the rest of an already answered body, or with
    reading our answer.

    uvicorn itself only limits the idle time after an answer. `Intake` limits the time for a body that is being read.
    """

    patience: ClassVar[float] = 20.0
    """Maximum seconds without progress. Four checks fall into this time, so a connection may last a quarter longer."""
    slowest: ClassVar[int] = 1024
    """Minimum bytes per second at which a caller must read an answer, or it would hold our memory for ever."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    cycle: Any
    _timer: asyncio.TimerHandle | None = None
    _since = 0.0
    _unsent = 0
    _drained = False
    _owed: tuple[object, object] = (None, None)

    def _progress(self) -> object:
        """Something that differs once the caller has sent a head, or the end of a request."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Called once."""
        super().connection_made(transport)
        self._since, self._owed = self.loop.time(), (self._progress(), None)
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
        drained, owed, owed_before = self._drained, (self._progress(), self.cycle), self._owed
        self._unsent, self._drained, self._owed = unsent, False, owed
        if unsent:
            return drained or not before or unsent <= before - self.slowest * self.patience / 4
        if self.cycle is not None and not self.cycle.response_complete:
            return True
        return owed != owed_before


class Door(_Patience, H11Protocol):
    """With h11, which holds callers to the letter of HTTP."""

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

    def _progress(self) -> object:
        return self.conn.their_state


class QuickDoor(_Patience, HttpToolsProtocol):
    """With httptools: less than half of h11's processor time per request. It bounds no head, which is done here."""

    _steps = 0
    _unread = 0
    """Bytes since the last complete head, part of a body, or end of a request."""
    _entire = True
    """The newest request has come completely."""

    def data_received(self, data: bytes) -> None:
        """Called for what the caller has sent."""
        self._unread += len(data)
        super().data_received(data)
        if self._unread > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")

    def on_headers_complete(self) -> None:
        """Called by the parser, as the following ones are."""
        self._step(entire=False)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called for each part."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called at the end of a request."""
        self._step(entire=True)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer was sent, whether or not its request was read completely."""
        if self.cycle.response_complete:  # else it is the next one, which came early
            self.cycle.body = b""
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Called for bytes that are not HTTP, which may also follow an answer."""
        if self.cycle is None or not self.cycle.response_started or (self.cycle.response_complete and self._entire):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def _progress(self) -> object:
        return self._steps

    def _step(self, *, entire: bool) -> None:
        self._steps += 1
        self._unread = 0
        self._entire = entire
