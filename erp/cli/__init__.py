"""The command line: `erp VERB …`.

Exit codes: 0 good, 1 found something or failed, 2 usage or configuration. What can be expected to go wrong is
one line on stderr; a traceback is a defect of ours.
"""

import importlib
import signal
import sys
from collections.abc import Coroutine
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click

T = TypeVar("T")

# Where each verb lives. Read only when the verb is used: `erp token` does not load a web server.
VERBS = {
    "up": "erp.cli.serve:up",
    "api": "erp.cli.serve:api",
    "relay": "erp.cli.relay:relay",
    "worker": "erp.cli.worker:worker",
    "migrate": "erp.cli.serve:migrate",
    "tenant": "erp.cli.tenant:tenant",
    "token": "erp.cli.token:token",
    "import": "erp.cli.imports:imports",
    "verify": "erp.cli.verify:verify",
    "projections": "erp.cli.projections:projections",
    "sagas": "erp.cli.sagas:sagas",
    "dead-letters": "erp.cli.dead_letters:dead_letters",
    "demo": "erp.cli.demo:demo",
}


class Failure(click.ClickException):
    """It did not work, or something was found: one line, exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """Print the line on stderr."""
        click.echo(f"erp: {self.format_message()}", err=True, file=file)


class Misconfigured(Failure):
    """The configuration cannot work: one line, exit code 2."""

    exit_code = 2


class Verbs(click.Group):
    """The main group: finds verbs by name, and turns expected errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """The verbs, in the order in which one meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb of that name, None if there is none."""
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb.

        Raises:
            Misconfigured: the settings cannot work.
            Failure: a server is not there or refuses, or the schema is not ours.
        """
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            line = _as_one_line(error)
            if line is None:
                raise
            raise line from None


def _as_one_line(error: Exception) -> Failure | None:
    """What a person is told of an error that can be expected; None for one that cannot."""
    # Loaded when something failed, not before: a verb that needs no Postgres loads none.
    import psycopg

    from domain.shared.errors import Unavailable
    from erp.embedded.server import ServerError
    from erp.settings import SettingsError
    from eventstore.migrate import NotUtf8, SchemaChanged, SchemaTooNew, SchemaTooOld
    from eventstore.refusal import Refusal
    from projections.clickhouse import ReadSideDown, StatementFailed

    text = " ".join(str(error).split())
    match error:
        case SettingsError():
            return Misconfigured(text)
        case ServerError() | Refusal() | NotUtf8() | SchemaChanged() | SchemaTooNew() | SchemaTooOld():
            return Failure(text)
        case psycopg.OperationalError():
            return Failure(f"Postgres: {text}")
        case ReadSideDown() | StatementFailed():
            return Failure(f"ClickHouse: {text}")
        case Unavailable():
            return Failure(f"{text} What is in the books stays there once: start again.")
        case _:
            return None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="killer-erp", prog_name="erp")
def cli() -> None:
    """KILLER ERP: event-sourced books that can prove what they say.

    Settings come from the environment (ERP_…) and a TOML file named by ERP_CONFIG.
    """


def main() -> None:
    """The script `erp`."""
    # A verb that is told to end unwinds, so that the last one out stops the embedded Postgres.
    signal.signal(signal.SIGTERM, _end)
    cli(prog_name="erp")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run asynchronous work; told to end, it is cancelled where it waits, and so ends in good order."""
    import asyncio

    async def until_told() -> T:
        task = asyncio.current_task()
        assert task is not None
        # A handler that raises would do so inside whatever task happens to run, and take the loop down.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    before = signal.getsignal(signal.SIGTERM)
    try:
        return asyncio.run(until_told())
    except asyncio.CancelledError:
        sys.exit(128 + signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
