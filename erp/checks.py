"""Signs of life of what the API stands on, for readiness."""

import asyncio
import struct
from contextlib import suppress
from typing import Final

from eventstore.publisher import KafkaOptions

_CORRELATION: Final = 1
# ApiVersions, version 0, without a client id: what every Kafka answers, also before anybody has logged in.
_API_VERSIONS: Final = struct.pack(">ihhih", 10, 18, 0, _CORRELATION, -1)
_ANSWER: Final = struct.Struct(">ii")


async def ask_kafka(options: KafkaOptions) -> None:
    """Return if one of the bootstrap servers speaks Kafka.

    Raises:
        OSError: none of them does, or where they are is not known.
    """
    failures: list[OSError] = []
    for server in options.bootstrap().split(","):
        host, _, port = server.rpartition(":")
        try:
            await _ask(host.strip("[]"), int(port), options)
        except OSError as error:
            failures.append(error)
        else:
            return
    raise failures[-1]


async def _ask(host: str, port: int, options: KafkaOptions) -> None:
    encrypted = options.ssl_context if options.security_protocol.endswith("SSL") else None
    reader, writer = await asyncio.open_connection(host, port, ssl=encrypted)
    try:
        writer.write(_API_VERSIONS)
        try:
            _, correlation = _ANSWER.unpack(await reader.readexactly(_ANSWER.size))
        except asyncio.IncompleteReadError:
            raise ConnectionError(f"{host}:{port} hangs up") from None
        if correlation != _CORRELATION:
            raise ConnectionError(f"{host}:{port} does not speak Kafka")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
