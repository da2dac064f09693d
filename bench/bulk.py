"""Posts journal entries in bulk: `POST /v1/commands`, whole answers read and every line of them checked.

    python -m bench.bulk '{"port": …, "token": …, "lines": 20000, "bodies": 1}'

With several bodies the requests run at the same time, each on its own connection. The clock runs from the
first byte sent to the last byte of the last answer.
"""

import asyncio
import sys
import time
from typing import Any, Final

import orjson
import uvloop

from bench import entries

BODY_BYTES_MAX: Final = 10 * 1024 * 1024
_POSTED: Final = b'"status":201,'


class NotPosted(Exception):
    """A line was answered with something else than success."""


async def post(port: int, token: str, lines: int, bodies: int) -> dict[str, Any]:
    """Send the bodies at once, and tell how fast all their entries were posted.

    Raises:
        NotPosted: an entry was not.
    """
    made = [_request(token, _body(lines)) for _ in range(bodies)]
    # Connections first: setting them up is not what is measured.
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in made]
    began = time.perf_counter()
    answers = await asyncio.gather(
        *(_exchange(*stream, request) for stream, request in zip(streams, made, strict=True))
    )
    seconds = time.perf_counter() - began
    for answer in answers:
        if answer.count(_POSTED) != lines:
            raise NotPosted(answer[:1000].decode(errors="replace"))
    return {
        "lines": lines,
        "bodies": bodies,
        "body_bytes": len(made[0]),
        "seconds": seconds,
        "per_s": lines * bodies / seconds,
    }


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    writer.write(request)
    answer = await reader.read(-1)
    writer.close()
    return answer


def _body(lines: int) -> bytes:
    body = b"".join(entries.bulk_line(n) for n in range(lines))
    if len(body) > BODY_BYTES_MAX:
        raise ValueError(f"{lines} lines make {len(body)} bytes, above the API's limit")
    return body


def _request(token: str, body: bytes) -> bytes:
    head = (
        f"POST {entries.BULK_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/x-ndjson\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    """Post as the one argument says."""
    print(orjson.dumps(uvloop.run(post(**orjson.loads(sys.argv[1])))).decode())


if __name__ == "__main__":
    main()
