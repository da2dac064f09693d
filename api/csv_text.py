"""Rows as CSV (RFC 4180)."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from enum import Enum
from typing import Any

import orjson


def csv_text(row: type, rows: Sequence[Any]) -> bytes:
    """These dataclasses of type `row`: a header with the names of the columns, CRLF, in UTF-8."""
    names = [each.name for each in fields(row)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([_cell(getattr(each, name)) for name in names] for each in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case date():
            return value.isoformat()
        case Mapping() | list() | tuple():
            return orjson.dumps(value).decode()
        case _:
            return str(value)
