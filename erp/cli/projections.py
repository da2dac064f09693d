"""`erp projections …`: how the read side stands; make it anew while it answers, prove it, mend it.

Works while `erp up` runs, and without: then the servers are started for as long as it takes.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import click

from erp.cli import Failure, run
from erp.cli.database import database
from erp.cli.table import number, print_table
from erp.settings import Settings, load_settings

if TYPE_CHECKING:
    from projections.declaration import Projection
    from projections.overview import Line
    from projections.rebuild import Rebuilt

_WHY_LENGTH_MAX: Final = 100
_LIST_HEAD: Final = (
    *("projection", "status", "generation", "version", "position", "lag", "lag s", "rows", "bytes", ""),
)
_REBUILT_HEAD: Final = (
    *("projection", "generation", "events", "seconds", "events/s", "rows before", "rows now", "answers"),
)

NAMES = click.argument("names", nargs=-1, metavar="[NAME]...")
NAME = click.argument("name")


@click.group()
def projections() -> None:
    """The read side: how it stands, rebuild it while it answers, verify it."""


@projections.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(*, as_json: bool) -> None:
    """Where each projection stands, what it holds, and what it stands before."""
    import orjson

    from erp import read_side

    settings = load_settings()
    with _servers(settings):
        lines = run(read_side.overview(settings))
    if as_json:
        click.echo(orjson.dumps([line._asdict() for line in lines]).decode())
    else:
        print_table(_LIST_HEAD, [_list_row(line) for line in lines])


@projections.command()
@NAMES
@click.option("--all", "all_", is_flag=True, help="All of them.")
@click.option("--from-store", is_flag=True, help="First hold the log copy against the store, and mend it.")
@click.option("--keep-old", is_flag=True, help="Keep what answers now, for `erp projections rollback`.")
def rebuild(names: tuple[str, ...], *, all_: bool, from_store: bool, keep_old: bool) -> None:
    """Make projections anew beside what answers, and switch. Started again, it goes on where it was."""
    from erp import read_side

    if bool(names) == all_:
        raise click.UsageError("which? NAME... or --all")
    chosen = _known(names)
    settings = load_settings()
    with _servers(settings):
        outcome = run(read_side.rebuild(settings, chosen, from_store=from_store, keep_old=keep_old))
    print_table(_REBUILT_HEAD, [_rebuilt_row(each) for each in outcome.rebuilt])
    if outcome.failures:
        raise Failure("; ".join(outcome.failures))


@projections.command()
@NAME
def rollback(name: str) -> None:
    """Let the generation of NAME answer again that `rebuild --keep-old` kept; once more returns."""
    from erp import read_side

    (projection,) = _known([name])
    settings = load_settings()
    with _servers(settings):
        generation = run(read_side.rollback(settings, projection))
    click.echo(f"{name}: generation {generation} answers")


@projections.command()
@NAMES
def verify(names: tuple[str, ...]) -> None:
    """Whether store, log copy and projections agree; name the first range of positions that does not."""
    from erp import read_side

    chosen = _known(names)
    settings = load_settings()
    with _servers(settings):
        findings = run(read_side.verify(settings, chosen))
    for line in findings.right:
        click.echo(line)
    if findings.wrong is not None:
        raise Failure(findings.wrong)


@projections.command()
@click.argument("position", type=click.IntRange(1))
@NAME
@click.option("--reason", required=True, help="Why; is kept and shown.")
@click.option("--by", help="Who decided it.  [the login name]")
def discard(position: int, name: str, reason: str, by: str | None) -> None:
    """Leave the event at POSITION, which NAME cannot read, out of NAME for good."""
    from erp import read_side

    (projection,) = _known([name])
    if not reason.strip():
        raise click.UsageError("say why: --reason TEXT")
    who = by or read_side.login()
    settings = load_settings()
    with database(settings):
        run(read_side.discard(settings, projection, position, reason=reason, by=who))
    click.echo(f"event {position:,} is left out of {name} from now on ({who}: {reason})")


@projections.command()
@click.option("--yes", is_flag=True, help="Do it.")
def reset(*, yes: bool) -> None:
    """Forget the whole read side but what was discarded; the worker makes it anew from the log."""
    from erp import read_side

    if not yes:
        raise click.UsageError(
            "this drops every table of every projection and empties the log copy; nothing answers until "
            "the worker has made them anew from the log, which stays. If that is wanted: --yes"
        )
    settings = load_settings()
    with _servers(settings):
        dropped = run(read_side.reset(settings))
    click.echo(f"{dropped} tables are dropped and the log copy is empty; the worker makes them anew")


@contextmanager
def _servers(settings: Settings) -> Iterator[None]:
    """Postgres and ClickHouse: those that run, or started for as long as it takes."""
    from erp.bootstrap import require_clickhouse, runs_clickhouse
    from erp.embedded.clickhouse import EmbeddedClickhouse

    require_clickhouse(settings)
    with database(settings), ExitStack() as stack:
        if runs_clickhouse(settings):
            stack.enter_context(EmbeddedClickhouse(settings.home))
        yield


def _known(names: Sequence[str]) -> "list[Projection]":
    """The projections of these names; all there are if none is named."""
    from erp.contexts import projections as all_projections

    known = {each.name: each for each in all_projections()}
    for name in names:
        if name not in known:
            raise click.UsageError(f"{name!r} is no projection; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)] if names else list(known.values())


def _list_row(line: "Line") -> list[str]:
    notes = []
    if line.blocked_by is not None:
        why = " ".join(str(line.blocked_why).split())
        notes.append(f"stands before event {line.blocked_by:,}: {why[:_WHY_LENGTH_MAX]}")
    if line.discarded:
        notes.append(f"without {', '.join(f'{each:,}' for each in line.discarded)}")
    return [
        line.name,
        line.status,
        number(line.generation),
        number(line.version),
        number(line.position),
        number(line.lag_events),
        f"{line.lag_s:,.1f}",
        number(line.rows),
        number(line.bytes),
        "; ".join(notes),
    ]


def _rebuilt_row(rebuilt: "Rebuilt") -> list[str]:
    compared = rebuilt.compared
    was = "" if rebuilt.replaced is None else f"{rebuilt.replaced} -> "
    answers = "new" if compared is None else "same" if compared.is_same else "different"
    if compared is not None and compared.only_in_one:
        answers += f" (but for {', '.join(compared.only_in_one)})"
    return [
        rebuilt.generation.projection,
        f"{was}{rebuilt.generation.generation}",
        number(rebuilt.events),
        f"{rebuilt.seconds:,.1f}",
        f"{rebuilt.events / rebuilt.seconds:,.0f}",
        number(compared.before.rows if compared else None),
        number(compared.after.rows if compared else None),
        answers,
    ]
