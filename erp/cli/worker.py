"""`erp worker`: bring what is in Kafka to where it is asked about, or run the sagas on it. Any number may
run, and share the work.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from erp.cli.database import database
from erp.settings import Settings, load_settings

if TYPE_CHECKING:
    from projections.worker import Worker
    from sagas.worker import SagaWorker

log = logging.getLogger(__name__)

READ = "read"
SAGA = "saga"


@click.command()
@click.option(
    "--role", type=click.Choice([READ, SAGA]), default=READ, show_default=True, help="What it does."
)
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve Prometheus metrics there.")
@click.option("--lifeline", type=int, hidden=True, help="A pipe; its end is ours.")
def worker(role: str, metrics_port: int | None, lifeline: int | None) -> None:
    """Copy published events to ClickHouse, and bring the projections after them; or run the sagas."""
    import uvloop

    from erp.embedded.lifeline import end_with_pipe

    settings = load_settings()
    _say_little(role)
    if lifeline is not None:
        end_with_pipe(lifeline)
    run = _run_sagas if role == SAGA else _run_read_side
    with database(settings), _servers(settings, role, supervised=lifeline is not None):
        uvloop.run(run(settings, metrics_port))


async def _run_read_side(settings: Settings, metrics_port: int | None) -> None:
    from erp.bootstrap import create_worker
    from erp.metrics import serve_metrics
    from erp.worker_metrics import WorkerMetrics

    made = create_worker(settings)
    port = metrics_port or settings.worker.metrics_port
    if port is not None:
        serve_metrics(WorkerMetrics(made), settings.http.host, port)
    await _until_told(made)


async def _run_sagas(settings: Settings, metrics_port: int | None) -> None:
    from erp.bootstrap import create_saga_worker, require_command_side
    from erp.metrics import serve_metrics
    from erp.saga_metrics import SagaMetrics

    await require_command_side(settings)
    made = create_saga_worker(settings)
    port = metrics_port or settings.sagas.metrics_port
    if port is not None:
        serve_metrics(SagaMetrics(made), settings.http.host, port)
    said = asyncio.create_task(_say_what_is_lacking(settings))
    try:
        await _until_told(made)
    finally:
        said.cancel()
        await asyncio.gather(said, return_exceptions=True)


async def _say_what_is_lacking(settings: Settings) -> None:
    """Say which companies' vouchers will wait. Nothing else waits for this."""
    from erp.bootstrap import command_side
    from erp.mapping_check import lacks
    from eventstore.one_line import one_line
    from eventstore.tenants import list_tenants

    url = settings.postgres.reader_url or settings.postgres.owner_url
    if not url:
        log.info("ERP_POSTGRES__READER_URL is not set: account mappings are not looked at")
        return
    try:
        async with command_side(settings).store as store:
            async for lack in lacks(store, await asyncio.to_thread(list_tenants, url)):
                log.warning("%s: %s; what its sagas are to post waits until that is mended", *lack)
    except Exception as error:  # noqa: BLE001 - whatever it is, the sagas go on
        log.warning("account mappings could not be looked at: %s", one_line(error))


async def _until_told(made: "Worker | SagaWorker") -> None:
    """Run it until SIGTERM or Ctrl-C."""
    from erp.garbage import collect_rarely
    from eventstore.consumer import Hung

    collect_rarely()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, made.stop)
    try:
        await made.run()
    except Hung as error:
        # Its threads and tasks would hold up any other way to end; nothing is lost by this one.
        log.critical("%s: ending at once", error)
        sys.stderr.flush()
        os._exit(1)


def _say_little(role: str) -> None:
    """One line for what changes. A broker that is gone makes the libraries say so thousands of times."""
    name = "erp worker (saga)" if role == SAGA else "erp worker"
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(message)s")
    for name in ("aiokafka", "faust", "mode"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def _servers(settings: Settings, role: str, *, supervised: bool) -> Iterator[None]:
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
        if role == READ and runs_clickhouse(settings):
            servers.append(stack.enter_context(EmbeddedClickhouse(settings.home)))
        if settings.embedded:
            servers.append(EmbeddedPostgres(settings.home))
        for server in servers:
            if not supervised:
                stack.enter_context(kept_up(server))
        yield
