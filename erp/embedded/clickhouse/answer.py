"""The answer to one request: held back at first, so that an early fault has its own status, then streamed."""

import json
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from erp.embedded.clickhouse import encodings
from erp.embedded.clickhouse.engine import Tally
from erp.embedded.clickhouse.faults import Fault
from erp.embedded.clickhouse.request import Request

Send = Callable[[dict[str, Any]], Awaitable[None]]

# An answer that is held back whole goes from memory to a file when it gets larger than this.
_SPOOL_BYTES = 16 << 20
_PIECE_BYTES = 1 << 20
# Below this, packing costs more than it saves.
_PACK_BYTES_MIN = 4096

_CONTENT_TYPES = {
    "JSON": "application/json",
    "JSONCompact": "application/json",
    "JSONStrings": "application/json",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TSVWithNames": "text/tab-separated-values; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
    "Parquet": "application/octet-stream",
}


class Answer:
    """What one client is told. Ends with exactly one `finish` or `fail`."""

    def __init__(self, send: Send, server: str, request: Request) -> None:
        self._send = send
        self._server = server
        self._request = request
        self._held = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115  # closed by `close`
        self._encoder: encodings.Encoder | None = None
        self._tag = secrets.token_hex(8)
        self.format = request.default_format

    async def write(self, data: bytes) -> None:
        """Take more of the body; returns when there is room for the next piece."""
        if self._encoder is None:
            self._held.write(data)
            if self._request.hold_all or self._held.tell() <= self._request.hold_bytes:
                return
            await self._begin(HTTPStatus.OK, Tally())
            await self._release()
        else:
            await self._body(self._encoder.encode(data))

    async def finish(self, tally: Tally) -> None:
        """The statement has come to its end."""
        if self._encoder is None:
            await self._begin(HTTPStatus.OK, tally)
            await self._release()
        await self._end()

    async def fail(self, fault: Fault) -> None:
        """It has not: a status and the sentence; behind the rows, where some are on their way."""
        text = f"{fault}\n".encode()
        if self._encoder is None:
            self._held.seek(0)
            self._held.truncate()
            self._held.write(text)
            await self._begin(fault.status, Tally(), fault)
            await self._release()
        else:
            tag = self._tag.encode()
            marked = b"\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n" % (tag, text, len(text), tag)
            await self._body(self._encoder.encode(marked))
        await self._end()

    def close(self) -> None:
        """Let go of what was held back."""
        self._held.close()

    async def _begin(self, status: HTTPStatus, tally: Tally, fault: Fault | None = None) -> None:
        size = self._held.tell()
        worth = size >= _PACK_BYTES_MIN and fault is None
        encoding = encodings.chosen(self._request.accept_encoding) if worth else ""
        blocks = self._request.block_answer and fault is None
        self._encoder = encodings.encoder(encoding, blocks=blocks)
        headers = {
            "content-type": _CONTENT_TYPES.get(self.format, "text/plain; charset=UTF-8"),
            "x-clickhouse-server-display-name": self._server,
            "x-clickhouse-query-id": self._request.query_id,
            "x-clickhouse-format": self.format,
            "x-clickhouse-timezone": self._request.settings.get("session_timezone") or "UTC",
            "x-clickhouse-exception-tag": self._tag,
            "x-clickhouse-summary": _summary(tally),
        }
        if fault is not None:
            headers["x-clickhouse-exception-code"] = str(fault.code)
            headers["content-type"] = "text/plain; charset=UTF-8"
        if encoding:
            headers["content-encoding"] = encoding
        raw = [(name.encode(), _header(value)) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": int(status), "headers": raw})

    async def _release(self) -> None:
        assert self._encoder is not None
        self._held.seek(0)
        while piece := self._held.read(_PIECE_BYTES):
            await self._body(self._encoder.encode(piece))
        self._held.seek(0)
        self._held.truncate()

    async def _body(self, data: bytes) -> None:
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _end(self) -> None:
        assert self._encoder is not None
        await self._send({"type": "http.response.body", "body": self._encoder.finish(), "more_body": False})


def _summary(tally: Tally) -> str:
    """As ClickHouse writes it: every number in quotes."""
    numbers = {
        "read_rows": tally.read_rows,
        "read_bytes": tally.read_bytes,
        "written_rows": tally.written_rows,
        "written_bytes": tally.written_bytes,
        "total_rows_to_read": tally.read_rows,
        "result_rows": tally.result_rows or tally.written_rows,
        "result_bytes": 0,
        "elapsed_ns": tally.elapsed_ns,
    }
    return json.dumps({name: str(number) for name, number in numbers.items()})


def _header(value: str) -> bytes:
    """A value that cannot end its line, whatever the client has sent."""
    printable = value if value.isprintable() else "".join(filter(str.isprintable, value))
    return printable.encode("latin-1", "replace")
