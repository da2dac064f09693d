"""Accounts and journal entries from files into the books, by the same commands as everybody else's.

Every row is carried out once: its idempotency key is made of the file's kind, the row's number and its
text, or is the one that the row brings. So an interrupted import is simply started again.
"""

import asyncio
import csv
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from api import strict_json
from api.errors import InvalidRequest
from commands.bus import Command
from commands.errors import CommandError
from commands.finance import OpenAccount, PostJournalEntry
from domain.shared.errors import DomainError
from erp.operator import Operator

_KEY_CHARS_MAX: Final = 255
_COLUMNS: Final = ("code", "name", "type", "parent", "currencies")


class MalformedFile(Exception):
    """The file is not of the shape that the import reads."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: its number from 1, its text, and the command that it means or why it means none."""

    number: int
    text: str
    command: Command | None
    refusal: str = ""
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row; `refusal` is empty when it is in the books."""

    row: int
    refusal: str = ""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file: how it is read, and how many of its rows may be carried out at once."""

    name: str
    read: Callable[[Iterable[str]], Iterator[Row]]
    rows_at_once: int


def read_accounts(source: Iterable[str]) -> Iterator[OpenAccount]:
    """The accounts of a CSV file with the columns code, name, type, parent, currencies (separated by spaces).

    Raises:
        MalformedFile: a column is missing, or a row is no account.
    """
    for row in account_rows(source):
        if not isinstance(row.command, OpenAccount):
            detail = f"row {row.number}: {row.refusal}"
            raise MalformedFile(detail)
        yield row.command


def account_rows(source: Iterable[str]) -> Iterator[Row]:
    """The rows of such a CSV file, good and bad."""
    for number, record in enumerate(_records(source), 1):
        fields: dict[str, Any] = {name: record[name] for name in _COLUMNS if record.get(name)}
        if "currencies" in fields:
            fields["currencies"] = fields["currencies"].split()
        yield _row(
            number, "\x1f".join(f"{name}={value}" for name, value in fields.items()), OpenAccount, fields
        )


def _records(source: Iterable[str]) -> Iterator[dict[str, str]]:
    reader = csv.DictReader(source)
    try:
        missing = set(_COLUMNS[:3]) - set(reader.fieldnames or ())
        if missing:
            detail = (
                f"the file lacks the column {', '.join(sorted(missing))}; its first line names the columns"
            )
            raise MalformedFile(detail)
        yield from reader
    except csv.Error as error:
        detail = f"line {reader.line_num}: {error}"
        raise MalformedFile(detail) from None


def journal_rows(source: Iterable[str]) -> Iterator[Row]:
    """The rows of an NDJSON file.

    Each the body of `POST /v1/finance/journal-entries`, with an `idempotency_key` if wanted.
    """
    for number, line in enumerate(source, 1):
        text = line.strip()
        if not text:
            continue
        try:
            fields, _ = strict_json.parse_object(text.encode())
        except InvalidRequest as error:
            yield Row(number, text, None, error.detail)
            continue
        key = fields.pop("idempotency_key", None)
        if key is not None and not (
            isinstance(key, str) and 0 < len(key) <= _KEY_CHARS_MAX and key.isascii() and key.isprintable()
        ):
            yield Row(number, text, None, "idempotency_key: 1 to 255 printable ASCII characters")
            continue
        yield _row(number, text, PostJournalEntry, fields, key)


async def import_rows(operator: Operator, kind: "Kind", source: Iterable[str]) -> AsyncIterator[Outcome]:
    """Carry out what the rows of a file mean; outcomes come in the order of the rows.

    Raises:
        MalformedFile: it is not of this kind at all.
        Unavailable: the event store went away; start again, rows that are in the books stay there once.
    """
    in_flight: deque[asyncio.Task[Outcome]] = deque()
    try:
        for row in kind.read(source):
            in_flight.append(asyncio.create_task(_import_row(operator, row, kind.name)))
            if len(in_flight) >= kind.rows_at_once:
                yield await _first(in_flight)
        while in_flight:
            yield await _first(in_flight)
    finally:
        for task in in_flight:
            task.cancel()
        # Waited for before the store is closed under them; what became of them, the next import will see.
        await asyncio.gather(*in_flight, return_exceptions=True)


async def _first(in_flight: "deque[asyncio.Task[Outcome]]") -> Outcome:
    # Not `await in_flight[0]`: who is told to end would tell the row, which may have its answer just then and
    # forget it.
    await asyncio.wait({in_flight[0]})
    return in_flight.popleft().result()


async def _import_row(operator: Operator, row: Row, kind: str) -> Outcome:
    if row.command is None:
        return Outcome(row.number, row.refusal)
    digest = hashlib.sha256(row.text.encode()).hexdigest()
    try:
        answer = await operator.execute(
            row.command, idempotency_key=row.idempotency_key or f"import/{kind}/{row.number}/{digest}"
        )
    except (DomainError, CommandError) as error:
        return Outcome(row.number, f"{error.code}: {error.detail}")
    return Outcome(row.number, replayed=answer.replayed)


def _row(
    number: int, text: str, command: type[Command], fields: dict[str, Any], key: str | None = None
) -> Row:
    try:
        return Row(number, text, command.model_validate(fields), idempotency_key=key)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "/".join(str(part) for part in first["loc"])
        return Row(number, text, None, f"{where}: {first['msg']}" if where else first["msg"])


ACCOUNTS: Final = Kind(
    "accounts", account_rows, rows_at_once=1
)  # a child needs the parent that stands before it
JOURNAL: Final = Kind(
    "journal", journal_rows, rows_at_once=256
)  # enough to fill the batches of the group commit
