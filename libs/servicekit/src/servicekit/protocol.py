"""HTTP/1.1 as uvicorn speaks it, with an end to what a caller may send before the body."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LONGEST_HEAD: Final = 64 * 1024


class BoundedHead(HttpToolsProtocol):
    """httptools collects a request line and headers of any length; a caller who is nobody could fill our memory."""

    _head = 0
    _in_head = False

    def on_message_begin(self) -> None:
        """Called by the parser."""
        self._head, self._in_head = 0, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Called with whatever came, up to a few hundred kilobytes."""
        begun_before = self._in_head
        super().data_received(data)
        if begun_before and self._in_head:
            self._head += len(data)
            if self._head > LONGEST_HEAD:
                self.send_400_response("The head of the request is too long.")
