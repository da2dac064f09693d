"""What a person does with the read side from the command line: built from settings, and shown as it goes."""

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Final, NamedTuple

import click

from erp.bootstrap import clickhouse_url
from erp.cli.progress import Advance, progress
from erp.contexts import aggregates, projections
from erp.settings import Settings
from eventstore.codec import Codec
from eventstore.refusal import Refusal
from projections import checkpoints, locks, mending, switching
from projections.clickhouse import ClickHouse
from projections.declaration import Projection
from projections.overview import Line, Overview
from projections.rebuild import Rebuild, Rebuilt
from projections.refeed import Refeed
from projections.verify import Verifier

# The fastest on two cores: each has a part that one core does.
_AT_ONCE_MAX: Final = 3
_LOGIN_LENGTH_MAX: Final = 12


class Outcome(NamedTuple):
    """What was rebuilt, and why the others were not."""

    rebuilt: Sequence[Rebuilt]
    failures: Sequence[str]


class Findings(NamedTuple):
    """What was found right, and the first thing that was not."""

    right: Sequence[str]
    wrong: str | None


async def overview(settings: Settings) -> list[Line]:
    """How everything stands."""
    async with (
        _clickhouse(settings) as clickhouse,
        await locks.session(settings.postgres.need("worker_url"), _myself("list")) as connection,
    ):
        return await Overview(connection, clickhouse, projections()).lines()


async def rebuild(
    settings: Settings, chosen: Sequence[Projection], *, from_store: bool, keep_old: bool
) -> Outcome:
    """Bring the log copy up, then rebuild what is chosen; one that fails holds up no other.

    Raises:
        Refusal: somebody rebuilds one of them; or a person must decide.
    """
    url, myself = settings.postgres.need("worker_url"), _myself("rebuild")
    outcome = Outcome(rebuilt := [], failures := [])
    async with _clickhouse(settings) as clickhouse, AsyncExitStack() as stack:
        await _bring_up(settings, clickhouse, from_store=from_store)
        rebuilds = [
            await stack.enter_async_context(Rebuild(url, clickhouse, each, name=myself, keep_old=keep_old))
            for each in chosen
        ]
        events = sum([await each.begin() for each in rebuilds])
        few = asyncio.Semaphore(_AT_ONCE_MAX)

        async def finish(each: Rebuild, advance: Advance) -> None:
            async with few:
                try:
                    rebuilt.append(await each.finish(advance))
                except Refusal as refusal:
                    failures.append(str(refusal))

        what = chosen[0].name if len(chosen) == 1 else f"{len(chosen)} projections"
        with progress(f"rebuilding {what}", events) as advance:
            await asyncio.gather(*(finish(each, advance) for each in rebuilds))
    names = [each.name for each in chosen]
    rebuilt.sort(key=lambda each: names.index(each.generation.projection))
    return outcome


async def _bring_up(settings: Settings, clickhouse: ClickHouse, *, from_store: bool) -> None:
    """The log copy, to where the log ends now; shown where there is something to do."""
    url, myself = settings.postgres.need("worker_url"), _myself("rebuild")
    async with await locks.session(url, myself) as connection:
        at = 0 if from_store else (await checkpoints.log_copy(connection)).position
        head = await checkpoints.head(connection)
    refeed = Refeed(url, clickhouse, Codec(aggregates()), projections(), name=myself)
    what = "holding the log copy against the store" if from_store else "bringing the log copy up"
    with ExitStack() as stack:
        advance: Advance | None = None
        left = head - at

        async def reached(position: int) -> None:
            nonlocal advance, at
            if advance is None:
                advance = stack.enter_context(progress(what, left))
            advance(max(0, min(position, head) - at))
            at = max(at, position)

        await refeed.bring_up(reached, from_store=from_store)
    if from_store:
        click.echo(f"log copy: {refeed.copied:,} of {head:,} events were fetched from the store", err=True)


async def rollback(settings: Settings, projection: Projection) -> int:
    """Go back to the generation that was kept; returns its number.

    Raises:
        CannotRebuild: there is none, or it cannot be brought up.
    """
    url = settings.postgres.need("worker_url")
    async with _clickhouse(settings) as clickhouse:
        with progress(f"bringing {projection.name} up") as advance:
            made = await switching.rollback(
                url, clickhouse, projection.name, advance, name=_myself("rollback")
            )
        return made.generation


async def verify(settings: Settings, chosen: Sequence[Projection]) -> Findings:
    """Look until something is found that is not right.

    Raises:
        Refusal: the read side is being made anew.
    """
    findings = Findings(right := [], None)
    async with (
        _clickhouse(settings) as clickhouse,
        await locks.session(settings.postgres.need("worker_url"), _myself("verify")) as connection,
    ):
        position = (await checkpoints.log_copy(connection)).position
        events = position + sum(position - position % each.definition.step for each in chosen)
        with progress("verifying events", events) as advance:
            verifier = Verifier(connection, clickhouse, Codec(aggregates()), advance)
            copied, difference = await verifier.log_copy()
            if difference is not None:
                return findings._replace(wrong=str(difference))
            right.append(f"log copy: as the store has it, up to {copied.position:,}")
            for each in chosen:
                generation, difference = await verifier.projection(each.name)
                if generation is None:
                    nothing = f"{each.name}: nothing answers yet; see `erp projections list`"
                    return findings._replace(wrong=nothing)
                if difference is not None:
                    return findings._replace(wrong=str(difference))
                right.append(f"{generation.table}: as the log copy has it, up to {generation.position:,}")
    return findings


async def discard(settings: Settings, projection: Projection, position: int, *, reason: str, by: str) -> None:
    """Take an event out of a projection.

    Raises:
        CannotDiscard: it is not the one that stops it.
    """
    url = settings.postgres.need("worker_url")
    await mending.discard(url, projection.name, position, reason=reason, by=by, name=_myself("discard"))


async def reset(settings: Settings) -> int:
    """Forget everything; returns how many tables were dropped."""
    async with _clickhouse(settings) as clickhouse:
        return await mending.reset(settings.postgres.need("worker_url"), clickhouse, name=_myself("reset"))


def login() -> str:
    """Who types."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "nobody known"


@asynccontextmanager
async def _clickhouse(settings: Settings) -> AsyncIterator[ClickHouse]:
    async with ClickHouse(clickhouse_url(settings)) as clickhouse:
        yield clickhouse


def _myself(verb: str) -> str:
    """What others are told who is at work."""
    return f"erp projections {verb} ({login()[:_LOGIN_LENGTH_MAX]}, process {os.getpid()})"
