"""The documentation as the tests read it: pages, tables, blocks of code."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def pages() -> list[Path]:
    """Every page there is."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def rows(page: Path) -> list[list[str]]:
    """The cells of every table's rows, without heads and rules."""
    found: list[list[str]] = []
    lines = page.read_text("utf-8").splitlines()
    for index, line in enumerate(lines):
        is_head = index + 1 < len(lines) and re.match(r"\|[-| :]+\|$", lines[index + 1])
        if line.startswith("|") and not is_head and not re.match(r"\|[-| :]+\|$", line):
            cells = re.split(r"(?<!\\)\|", line.strip("|"))
            found.append([cell.strip().replace("\\|", "|") for cell in cells])
    return found


def code(cell: str) -> str | None:
    """What stands in backticks, if the cell is nothing else."""
    matched = re.fullmatch(r"`([^`]*)`", cell)
    return matched[1] if matched else None


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
