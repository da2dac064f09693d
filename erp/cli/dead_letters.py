"""`erp dead-letters …`: events that sagas could not deal with, and what is to become of them."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from erp.cli import Failure, run
from erp.cli.database import database
from erp.cli.table import number, print_table
from erp.settings import load_settings

if TYPE_CHECKING:
    from sagas.dead_letters import DeadLetters, Letter

T = TypeVar("T")

_ERROR_LENGTH_MAX = 100

LETTER = click.argument("letter", type=click.IntRange(1))


@click.group("dead-letters")
def dead_letters() -> None:
    """Events that sagas could not deal with; later ones of the same stream wait behind them."""


@dead_letters.command("list")
@click.option("--all", "all_", is_flag=True, help="Also what was settled.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(*, all_: bool, as_json: bool) -> None:
    """What is open, by stream, in the order in which it will be tried."""
    import orjson

    letters = _with_letters(lambda table: table.list(settled_too=all_))
    if as_json:
        click.echo(orjson.dumps([each._asdict() for each in letters]).decode())
    else:
        print_table(
            ("letter", "saga", "position", "event", "stream", "tries", ""), [_row(e) for e in letters]
        )


@dead_letters.command()
@LETTER
def show(letter: int) -> None:
    """All that is known of LETTER."""
    found = _with_letters(lambda table: table.find(letter))
    if found is None:
        raise Failure(f"there is no letter {letter}")
    for name, value in found._asdict().items():
        if value is not None:
            click.echo(f"{name:<12} {value}")


@dead_letters.command()
@LETTER
def retry(letter: int) -> None:
    """Have the stream of LETTER tried again, from its first letter on."""
    if not _with_letters(lambda table: table.retry(letter)):
        raise Failure(f"there is no open letter {letter}")
    click.echo("it is tried again by the worker, within a second; see: erp dead-letters list")


@dead_letters.command()
@LETTER
@click.option("--reason", required=True, help="Why; is kept and shown.")
@click.option("--by", help="Who decided it.  [the login name]")
def discard(letter: int, reason: str, by: str | None) -> None:
    """Leave the event of LETTER out for good, for this kind of saga, and go on with those behind it."""
    from erp.read_side import login

    if not reason.strip():
        raise click.UsageError("say why: --reason TEXT")
    who = by or login()
    if not _with_letters(lambda table: table.discard(letter, by=who, reason=reason)):
        raise Failure(f"there is no open letter {letter}")
    click.echo(f"letter {letter} is discarded ({who}: {reason})")


def _with_letters(work: "Callable[[DeadLetters], Awaitable[T]]") -> T:
    from erp.saga_desk import saga_desk

    settings = load_settings()

    async def with_letters() -> T:
        async with saga_desk(settings) as desk:
            return await work(desk.letters)

    with database(settings):
        return run(with_letters())


def _row(letter: "Letter") -> list[str]:
    if letter.settled:
        note = " ".join(filter(None, (letter.settled, letter.settled_by, letter.reason)))
    elif letter.error:
        note = letter.error[:_ERROR_LENGTH_MAX]
    else:
        note = "waits behind the one before"
    return [
        number(letter.letter),
        letter.saga_type,
        number(letter.position),
        letter.type,
        f"{letter.stream_type}/{letter.stream_id}",
        number(letter.tries),
        f"{note}{' (to be tried again)' if letter.retry and not letter.settled else ''}",
    ]
