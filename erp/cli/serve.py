"""`erp up | api | migrate`: run the system, or one of its processes."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from erp.cli import Failure, run
from erp.cli.database import database
from erp.settings import HttpSettings, Settings, load_settings

_PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--host", help="Address to serve on.  [127.0.0.1]")
@click.option("--port", type=_PORT, help="Port to serve on.  [8000]")
@click.option("--lifeline", type=int, hidden=True, help="A pipe; its end is ours.")
def up(host: str | None, port: int | None, lifeline: int | None) -> None:
    """Run everything here: the servers, a demo company, relay, worker, API. Ctrl-C stops it; data stays."""
    from erp.embedded.lifeline import end_with_pipe
    from erp.embedded.supervisor import CannotRun, Supervisor

    settings = _serving(load_settings(), host=host, port=port)
    if lifeline is not None:
        end_with_pipe(lifeline)
    try:
        Supervisor(settings).run()
    except CannotRun as error:
        raise Failure(str(error)) from None


@click.command()
@click.option("--host", help="Address to serve on.  [127.0.0.1]")
@click.option("--port", type=_PORT, help="Port to serve on.  [8000]")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes that serve it.  [1]")
@click.option("--lifeline", type=int, hidden=True, help="A pipe; its end is ours.")
def api(host: str | None, port: int | None, workers: int | None, lifeline: int | None) -> None:
    """Serve the HTTP API."""
    from erp.bootstrap import require_command_side
    from erp.embedded.lifeline import end_with_pipe

    settings = _serving(load_settings(), host=host, port=port, workers=workers)
    if lifeline is not None:
        end_with_pipe(lifeline)
    with (
        database(settings),
        _postgres_kept_up(settings, supervised=lifeline is not None),
        _metrics_of_all_workers(settings.http.workers),
    ):
        # Here, where it is one line; what a worker says is a traceback.
        run(require_command_side(settings))
        _serve(settings.http)


@contextmanager
def _metrics_of_all_workers(workers: int) -> Iterator[None]:
    """Whichever worker answers `/metrics` speaks for all: they count into one folder."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="erp-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


def _serve(http: HttpSettings) -> None:
    import uvicorn

    try:
        uvicorn.run(
            "erp.cli.serve:worker",
            factory=True,
            host=http.host,
            port=http.port,
            workers=http.workers,
            loop="uvloop",
            http="erp.wire:Wire",
            ws="none",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=http.drain_timeout_s,
        )
    except SystemExit as end:
        # uvicorn drains at SIGTERM and then raises it again: to be told to end is no failure.
        if end.code != 128 + signal.SIGTERM:
            # It has said itself why it does not serve, under a code of its own.
            raise SystemExit(1) from end


@click.command()
def migrate() -> None:
    """Bring the database to this version's schema. Harmless when repeated; refuses a newer schema."""
    from erp.embedded.postgres import embedded_postgres
    from eventstore import migrate as store

    settings = load_settings()
    url = settings.postgres.need("owner_url")
    if settings.embedded:
        with embedded_postgres(settings.home):
            applied = store.migrate(url)
    else:
        applied = store.migrate(url)
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("the schema is current")


def worker() -> Any:
    """The ASGI application of one API process; with several, each ends when the one that made them does."""
    from erp.bootstrap import create_app
    from erp.embedded.lifeline import end_with_parent
    from erp.garbage import collect_rarely

    end_with_parent()
    _forget_dead_workers()
    app = create_app()
    collect_rarely()
    return app


def _forget_dead_workers() -> None:
    """Whoever takes the place of a worker that was killed takes what it had in flight out of the metrics."""
    import psutil
    from prometheus_client.multiprocess import mark_process_dead

    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None:
        return
    pids = {int(file.stem.rpartition("_")[2]) for file in Path(folder).glob("gauge_live*.db")}
    for pid in pids - set(psutil.pids()):
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _serving(settings: Settings, **options: str | int | None) -> Settings:
    """The settings with the options that were given, here and in the environment of the processes to come."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        os.environ[f"ERP_HTTP__{name.upper()}"] = str(value)
    http = HttpSettings.model_validate(settings.http.model_dump() | given)
    return settings.model_copy(update={"http": http})


@contextmanager
def _postgres_kept_up(settings: Settings, *, supervised: bool) -> Iterator[None]:
    """Without a supervisor an embedded Postgres that dies is started again from here."""
    if supervised or not settings.embedded:
        yield
        return
    from erp.embedded.postgres import EmbeddedPostgres, kept_up

    with kept_up(EmbeddedPostgres(settings.home)):
        yield
