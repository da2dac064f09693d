"""HTTP/1.1 on the wire, as uvicorn reads it, with three promises more.

A request's head is bounded: who sends one without end is refused before it fills the memory. And what is no
HTTP at all is told so by a problem answer (RFC 9457) like everything else, after the answers to the good
requests that came before it on the same connection: out of turn it would pass for the answer to one of them.

And a server that is told to end is not held up by answers that have no end of their own.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from api.app import DRAIN
from api.errors import Fault, problem
from api.events import ENDLESS

HEAD_BYTES_MAX: Final = 64 * 1024
"""More than any client of ours needs; what arrived in one read may go beyond it."""
_LAST_WORDS_S: Final = 0.5

_TOO_LARGE: Final = Fault(431, "head_too_large", f"The request's head is larger than {HEAD_BYTES_MAX} bytes.")
_MALFORMED: Final = Fault(400, "invalid_request", "This is not HTTP/1.1 (RFC 9112).")


class Wire(HttpToolsProtocol):
    """One connection."""

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Read on."""
        went_on = self._in_head
        super().data_received(data)
        # Bytes that came with the end of the message before are not counted: nor are they many.
        if went_on and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words for it
        """What came is no HTTP."""
        self._refuse(_MALFORMED)

    def shutdown(self) -> None:
        """The server was told to end."""
        drain = self.app_state.get(DRAIN)
        if drain is not None:
            drain()
        super().shutdown()
        self.loop.call_later(_LAST_WORDS_S, self._end_the_endless)

    def _end_the_endless(self) -> None:
        """Its client has stopped reading, and would keep us for as long as it likes."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and ENDLESS in cycle.scope:
            self.transport.abort()

    def _refuse(self, fault: Fault) -> None:
        self._in_head = False
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                # That request was whole: it is answered, and then the connection ends.
                cycle.keep_alive = False
                return
            if cycle.response_started:
                self.transport.close()
                return
        reply = problem(fault, "")
        headers = [
            *self.server_state.default_headers,
            *reply.headers,
            (b"content-length", b"%d" % len(reply.body)),
            (b"connection", b"close"),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[fault.status] + lines + b"\r\n" + reply.body)
        self.transport.close()
