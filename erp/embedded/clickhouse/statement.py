"""Where a request's text stops being SQL: its kind, its FORMAT, and for an INSERT where the data begin.

Only as much is read of it as ClickHouse's own parser would read before it hands over to a format: quoting,
comments and brackets are respected, everything else is left to the engine. Works on bytes, because what
follows an INSERT need not be text.
"""

import enum
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from erp.embedded.clickhouse.faults import Fault

_TOKEN = re.compile(
    rb"""
      (?P<space> \s+ | --[^\n]* | \#[ !][^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<quoted> '(?:[^'\\]|\\.|'')*(?:'|\Z) | "(?:[^"\\]|\\.|"")*(?:"|\Z) | `(?:[^`\\]|\\.|``)*(?:`|\Z)
                | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<word> [A-Za-z_\x80-\xff][\w$\x80-\xff]* )
    | (?P<number> [0-9][\w.]* )
    | (?P<sign> . )
    """,
    re.VERBOSE | re.DOTALL,
)

# Statements that answer with rows and take `INTO OUTFILE`, through which their rows are streamed.
_READS = frozenset(
    ["SELECT", "WITH", "FROM", "(", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", "CHECK", "KILL"]
)
_STATEFUL = frozenset({"SET", "USE"})
# A name may be called "values" or "format", and follows one of these.
_BEFORE_NAMES = frozenset(["INTO", "TABLE", "FUNCTION", "FROM", "JOIN", "AS", ",", "."])


class Kind(enum.Enum):
    """How a statement is run."""

    READ = "answers with rows, streamed"
    INSERT = "is followed by data, streamed"
    COMMAND = "answers with little or nothing"


@dataclass(frozen=True)
class Statement:
    """What to tell the engine."""

    kind: Kind
    sql: bytes
    """READ and INSERT: without FORMAT and what follows it. COMMAND: as it came."""
    format: str | None = None
    settings: bytes = b""
    """READ: the SETTINGS that came behind FORMAT."""
    data_at: int = 0
    """INSERT: where in the text the data begin."""
    writes: bool = True
    """Whether it is refused where nothing may be changed."""
    stateful: bool = False
    """Whether the connection is no longer as it was: SET, USE, temporary tables."""


class _Token(NamedTuple):
    start: int
    end: int
    word: str
    """In capitals; a sign as it is; empty for quoted text and numbers."""
    depth: int


def parse(text: bytes, *, complete: bool) -> Statement | None:
    """The statement at the start of `text`; None when more text is needed to tell.

    Raises:
        Fault: it is empty, several statements, or one that only a command-line client can serve.
    """
    tokens = _tokens(text)
    first = next(tokens, None)
    if first is None or (first.end == len(text) and not complete):
        if not complete:
            return None
        if first is None:
            raise Fault.of(62, "SYNTAX_ERROR", "Empty query.")
    if first.word == "INSERT":
        return _insert(text, tokens, complete=complete)
    if not complete:
        return None
    return _other(text, first, [first, *tokens])


def _tokens(text: bytes) -> Iterator[_Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        if match["space"] is not None:
            continue
        word = ""
        if match["word"] is not None:
            word = match["word"].decode("latin-1").upper()
        elif match["sign"] is not None:
            word = match["sign"].decode("latin-1")
        depth -= word in {")", "]", "}"}
        yield _Token(match.start(), match.end(), word, depth)
        depth += word in {"(", "[", "{"}


def _insert(text: bytes, tokens: Iterator[_Token], *, complete: bool) -> Statement | None:
    """Read on until the data begin, or a SELECT, which brings none."""
    before = ""
    format_at: int | None = None
    for token in tokens:
        if token.end == len(text) and not complete:
            return None  # the token may go on in the next piece
        if format_at is not None:
            name = text[token.start : token.end].decode("latin-1")
            return Statement(Kind.INSERT, text[:format_at], name, data_at=_data_after(text, token.end))
        named = before in _BEFORE_NAMES
        if token.depth == 0 and token.word == "VALUES" and not named:
            return Statement(Kind.INSERT, text[: token.start], "Values", data_at=token.end)
        if token.depth == 0 and token.word == "FORMAT" and not named:
            format_at = token.start
        elif token.word == "INFILE" and before == "FROM":
            raise Fault.of(78, "UNKNOWN_TYPE_OF_QUERY", "Query has infile and was send directly to server.")
        elif token.word in {"SELECT", "WITH"} and not named:
            break
        before = token.word
    return _whole(text, tokens) if complete else None


def _whole(text: bytes, tokens: Iterator[_Token]) -> Statement:
    """An INSERT without data of its own; the rest is looked through for a second statement."""
    _require_single(list(tokens))
    return Statement(Kind.COMMAND, text)


def _data_after(text: bytes, at: int) -> int:
    """Data begin after the first line break behind FORMAT's name, or after the blanks if there is none."""
    match = re.compile(rb"[ \t\f]*\r?\n?").match(text, at)
    assert match is not None, "the pattern matches nothing too"
    return match.end()


def _other(text: bytes, first: _Token, tokens: list[_Token]) -> Statement:
    words = [token.word for token in tokens if token.depth == 0]
    tokens = _require_single(tokens)
    if ("INTO", "OUTFILE") in itertools.pairwise(words):
        raise Fault.of(358, "INTO_OUTFILE_NOT_ALLOWED", "INTO OUTFILE is not allowed.")
    if first.word not in _READS or (first.word == "WITH" and "INSERT" in words):
        stateful = first.word in _STATEFUL or "TEMPORARY" in words
        return Statement(Kind.COMMAND, text, writes=first.word not in _STATEFUL, stateful=stateful)
    whole = Statement(Kind.READ, text[: tokens[-1].end], writes=first.word == "KILL")
    for index in range(len(tokens) - 2, 0, -1):
        token, name = tokens[index], tokens[index + 1]
        # `table` is a column's name here: a table called so would have no name behind it.
        if token.depth or token.word != "FORMAT" or tokens[index - 1].word in _BEFORE_NAMES - {"TABLE"}:
            continue
        behind = tokens[index + 2 :]
        if behind and behind[0].word != "SETTINGS":
            continue
        settings = text[behind[0].start : behind[-1].end] if behind else b""
        named = text[name.start : name.end].decode("latin-1")
        return replace(whole, sql=text[: tokens[index - 1].end], format=named, settings=settings)
    return whole


def _require_single(tokens: list[_Token]) -> list[_Token]:
    """The tokens before the first semicolon, behind which there must be none but more of those."""
    for index, token in enumerate(tokens):
        if token.word == ";":
            if any(later.word != ";" for later in tokens[index:]):
                raise Fault.of(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed).")
            return tokens[:index]
    return tokens
