"""Rows of a file carried out side by side, and what happens to them when somebody ends it."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from commands.finance import OpenAccount
from domain.finance.account import AccountType
from erp.imports import Kind, Row, import_rows


class Forgetful:
    """Carries out whatever it is asked, and has the answer just when it is told to end."""

    def __init__(self) -> None:
        self.done = 0

    async def execute(self, command: object, *, idempotency_key: str) -> Any:
        # As asyncio.wait_for does, when both come in the same moment.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)
        self.done += 1
        return SimpleNamespace(replayed=False)


def rows(_: Iterable[str]) -> Iterator[Row]:
    for number in range(1, 1001):
        account = OpenAccount(code=str(number), name="n", type=AccountType.ASSET)
        yield Row(number, str(number), account)


async def test_who_ends_an_import_is_heard_whatever_its_rows_do() -> None:
    operator = Forgetful()

    async def everything() -> None:
        async for _ in import_rows(operator, Kind("rows", rows, rows_at_once=4), ()):  # type: ignore[arg-type]
            pass

    task = asyncio.create_task(everything())
    await asyncio.sleep(0.12)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 0 < operator.done < 20
