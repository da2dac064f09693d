"""Rows of text in columns, for the terminal."""

from collections.abc import Sequence

import click


def number(value: int | None) -> str:
    """As a person reads it; a dash for none."""
    return "-" if value is None else f"{value:,}"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as what is in them, numbers to the right; nothing where there are no rows."""
    if not rows:
        return
    table = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    right = {column for column in range(len(head)) if all(_is_number(row[column]) for row in rows)}
    for row in table:
        cells = [
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "").isdigit()
