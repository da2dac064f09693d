"""`erp relay`: publish the log to Kafka and sign tree heads; any number may run, one is active."""

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from erp.cli.database import database
from erp.settings import Settings, load_settings

if TYPE_CHECKING:
    from eventstore.relay import Relay


@click.command()
@click.option("--from-start", is_flag=True, help="Forget what was published, and publish the whole log anew.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics there.")
@click.option("--lifeline", type=int, hidden=True, help="A pipe; its end is ours.")
def relay(*, from_start: bool, metrics_port: int | None, lifeline: int | None) -> None:
    """Publish the log to Kafka in commit order, and fold it into the Merkle tree."""
    import uvloop

    from erp.bootstrap import create_relay
    from erp.embedded.lifeline import end_with_pipe
    from erp.metrics import serve_metrics
    from erp.relay_metrics import RelayMetrics

    settings = load_settings()
    _say_little()
    if lifeline is not None:
        end_with_pipe(lifeline)
    with database(settings), _kafka(settings), _kept_up(settings, supervised=lifeline is not None):
        made = create_relay(settings, from_start=from_start)
        port = metrics_port or settings.relay.metrics_port
        if port is not None:
            serve_metrics(RelayMetrics(made.status), settings.http.host, port)
        uvloop.run(_run(made))


async def _run(relay: "Relay") -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, relay.stop)
    await relay.run()


def _say_little() -> None:
    """One line for what changes. A broker that is gone makes the client say so ten times a second."""
    logging.basicConfig(level=logging.INFO, format="erp relay: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@contextmanager
def _kafka(settings: Settings) -> Iterator[None]:
    """An embedded system's broker, attached to or started."""
    from erp.bootstrap import kafka_topics, runs_kafka
    from erp.embedded.kafka import EmbeddedKafka

    if not runs_kafka(settings):
        yield
        return
    with EmbeddedKafka(settings.home, kafka_topics(settings)):
        yield


@contextmanager
def _kept_up(settings: Settings, *, supervised: bool) -> Iterator[None]:
    """Without a supervisor embedded servers that die are started again from here."""
    from erp.bootstrap import kafka_topics, runs_kafka
    from erp.embedded.kafka import EmbeddedKafka
    from erp.embedded.postgres import EmbeddedPostgres
    from erp.embedded.server import kept_up

    with ExitStack() as stack:
        if settings.embedded and not supervised:
            stack.enter_context(kept_up(EmbeddedPostgres(settings.home)))
        if runs_kafka(settings) and not supervised:
            stack.enter_context(kept_up(EmbeddedKafka(settings.home, kafka_topics(settings))))
        yield
