"""`erp sagas …`: business processes: which there are, what they have done, what they wait for."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import click

from erp.cli import Failure, run
from erp.cli.database import database
from erp.cli.table import number, print_table
from erp.settings import load_settings

if TYPE_CHECKING:
    from erp.saga_desk import Found, SagaDesk

T = TypeVar("T")

STATUSES = ("not_started", "running", "waiting", "resting", "ended", "aborted")

ID = click.argument("id", type=click.UUID)


@click.group()
def sagas() -> None:
    """Business processes: list them, look at one, have it try again, put an end to it."""


@sagas.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only those; of waiting ones all there are.")
@click.option("--type", "saga_type", help="Only those of a type, such as sagas.order_to_cash.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(status: str | None, saga_type: str | None, limit: int, *, as_json: bool) -> None:
    """The sagas to which something has happened lately, the last first."""
    import orjson

    found = _at_desk(lambda desk: desk.recent(status=status, saga_type=saga_type, limit=limit))
    if as_json:
        click.echo(orjson.dumps([_facts(each) for each in found]).decode())
        return
    rows = [[str(value) for value in _facts(each).values()] for each in found]
    print_table(("id", "type", "key", "status", "outcome", "step", "waits for"), rows)


@sagas.command()
@ID
def show(id: UUID) -> None:  # noqa: A002 - as it is called
    """What the saga ID has done and what it waits for: its steps with times, causes and outcomes."""

    async def look(desk: "SagaDesk") -> "tuple[Found, dict[str, str]]":
        return await desk.find(id), await desk.timers.errors(id)

    found, errors = _at_desk(look)
    saga = found.saga
    outcome = f": {saga.ended}" if saga.ended else ""
    click.echo(f"{saga.TOPIC} {saga.key}, tenant {found.tenant}: {saga.status}{outcome}\n")
    print_table(
        ("", "step", "status", "command", "cause", "asked", "settled", "tries", "position", ""),
        [
            [
                str(each.asked.number),
                each.asked.name + (f" ({each.asked.attempt})" if each.asked.attempt > 1 else ""),
                each.status,
                each.asked.sent.command,
                str(each.asked.cause),
                f"{each.asked_at:%F %T}",
                f"{each.settled_at:%F %T}" if each.settled_at else "-",
                number(each.tries),
                number(each.position),
                ": ".join(filter(None, (each.code, each.detail))),
            ]
            for each in saga.steps
        ],
    )
    for name, due_at in sorted(saga.timers.items(), key=lambda item: item[1]):
        click.echo(f"\ntimer {name}: {due_at:%F %T} UTC")
    for name, error in errors.items():
        click.echo(f"\ntimer {name} fails: {error}")


@sagas.command()
@ID
def retry(id: UUID) -> None:  # noqa: A002 - as it is called
    """Have the waiting steps of the saga ID tried now, and not only when their time has come."""

    async def again(desk: "SagaDesk") -> bool:
        await desk.find(id)
        return await desk.timers.retry_now(id)

    if not _at_desk(again):
        raise Failure("the saga has no step that waits")
    click.echo("it is tried again by the next worker that looks, within a second")


@sagas.command()
@ID
@click.option("--reason", required=True, help="Why; is kept and shown.")
@click.option("--by", help="Who decided it.  [the login name]")
def abort(id: UUID, reason: str, by: str | None) -> None:  # noqa: A002 - as it is called
    """Put an end to the saga ID. What it has done stays done; it does and hears nothing more."""
    from erp.read_side import login

    if not reason.strip():
        raise click.UsageError("say why: --reason TEXT")
    if not _at_desk(lambda desk: desk.abort(id, by=by or login(), reason=reason)):
        raise Failure("the saga has been aborted before")
    click.echo("aborted")


def _at_desk(work: "Callable[[SagaDesk], Awaitable[T]]") -> T:
    from erp.saga_desk import saga_desk

    settings = load_settings()

    async def at_desk() -> T:
        async with saga_desk(settings) as desk:
            return await work(desk)

    with database(settings):
        return run(at_desk())


def _facts(found: "Found") -> dict[str, str]:
    saga = found.saga
    open_steps = [each for each in saga.steps if each.is_open]
    waits = next((each for each in open_steps if each.code), None)
    step = waits or next(iter(open_steps), None)
    return {
        "id": str(saga.id),
        "type": saga.TOPIC,
        "key": saga.key,
        "status": saga.status,
        "outcome": saga.ended or "",
        "step": step.asked.name if step else "",
        "waits_for": ": ".join(filter(None, (waits.code, waits.detail))) if waits else "",
    }
