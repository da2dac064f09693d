"""`erp worker`: bring what is in Kafka to where it is asked about; any number may run, and share the work."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import click

from erp.cli.database import database
from erp.settings import Settings, load_settings

READ = "read"
SAGA = "saga"


@click.command()
@click.option(
    "--role", type=click.Choice([READ, SAGA]), default=READ, show_default=True, help="What it does."
)
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics there.")
@click.option("--lifeline", type=int, hidden=True, help="A pipe; its end is ours.")
def worker(role: str, metrics_port: int | None, lifeline: int | None) -> None:
    """Copy published events to ClickHouse, and bring the projections after them."""
    import uvloop

    from erp.embedded.lifeline import end_with_pipe

    if role == SAGA:
        raise click.UsageError("there are no sagas yet: the role is read")
    settings = load_settings()
    _say_little()
    if lifeline is not None:
        end_with_pipe(lifeline)
    with database(settings), _servers(settings, supervised=lifeline is not None):
        uvloop.run(_run(settings, metrics_port or settings.worker.metrics_port))


async def _run(settings: Settings, metrics_port: int | None) -> None:
    from erp.bootstrap import create_worker
    from erp.worker_metrics import serve_metrics
    from eventstore.consumer import Hung

    made = create_worker(settings)
    if metrics_port is not None:
        serve_metrics(made, settings.http.host, metrics_port)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, made.stop)
    try:
        await made.run()
    except Hung as error:
        # Its threads and tasks would hold up any other way to end; nothing is lost by this one.
        logging.getLogger(__name__).critical("%s: ending at once", error)
        sys.stderr.flush()
        os._exit(1)


def _say_little() -> None:
    """One line for what changes. A broker that is gone makes the libraries say so thousands of times."""
    logging.basicConfig(level=logging.INFO, format="erp worker: %(message)s")
    for name in ("aiokafka", "faust", "mode"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def _servers(settings: Settings, *, supervised: bool) -> Iterator[None]:
    """An embedded system's broker and ClickHouse, attached to or started; without a supervisor what dies is
    started again from here.
    """
    from erp.bootstrap import kafka_topics, runs_clickhouse, runs_kafka
    from erp.embedded.clickhouse import EmbeddedClickhouse
    from erp.embedded.kafka import EmbeddedKafka
    from erp.embedded.postgres import EmbeddedPostgres
    from erp.embedded.server import SharedServer, kept_up

    servers: list[SharedServer] = []
    with ExitStack() as stack:
        if runs_kafka(settings):
            servers.append(stack.enter_context(EmbeddedKafka(settings.home, kafka_topics(settings))))
        if runs_clickhouse(settings):
            servers.append(stack.enter_context(EmbeddedClickhouse(settings.home)))
        if settings.embedded:
            servers.append(EmbeddedPostgres(settings.home))
        for server in servers:
            if not supervised:
                stack.enter_context(kept_up(server))
        yield
