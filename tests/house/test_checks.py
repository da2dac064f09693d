"""Whether a broker gives a sign of life."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from erp.checks import ask_kafka
from erp.embedded.kafka import EmbeddedKafka
from eventstore.publisher import KafkaOptions


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[str]:
    """A server that is no broker: it says this, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(14)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_broker_is_asked_and_nothing_else_passes_for_one(home: Path) -> None:
    """One of several is enough."""
    with EmbeddedKafka(home) as broker:
        await ask_kafka(KafkaOptions(bootstrap=lambda: broker.bootstrap))
        async with listening(b"") as silent, listening(b"HTTP/1.1 400 Bad Request") as another:
            await ask_kafka(KafkaOptions(bootstrap=lambda: f"{silent},{broker.bootstrap}"))
            with pytest.raises(ConnectionError, match="hangs up"):
                await ask_kafka(KafkaOptions(bootstrap=lambda: silent))
            with pytest.raises(ConnectionError, match="does not speak"):
                await ask_kafka(KafkaOptions(bootstrap=lambda: another))
        gone = broker.bootstrap
    with pytest.raises(OSError, match=r".+"):
        await ask_kafka(KafkaOptions(bootstrap=lambda: gone))
