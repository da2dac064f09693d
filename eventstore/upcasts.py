"""Upcasters: how the data of an old event reads today. Stored events never change.

An upcaster is a pure function from the data of one schema version to that of the next:

    @UPCASTS.of("finance.journal_entry.posted", 1)
    def party_added(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "party": None}

and the event class then says `SCHEMA_VERSION = 2`.
"""

from collections.abc import Callable
from typing import Any, Final

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class NoUpcast(Exception):
    """An event was stored in a schema version from which no way leads to the one that the code knows."""


class Upcasts:
    """The upcasters that are known, by event type and the version they start from."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, int], Upcaster] = {}

    def of(self, event_type: str, from_version: int) -> Callable[[Upcaster], Upcaster]:
        """Register the decorated function as the step from `from_version` to the next."""

        def register(step: Upcaster) -> Upcaster:
            if (event_type, from_version) in self._steps:
                detail = f"{event_type} has an upcaster from version {from_version} already"
                raise ValueError(detail)
            self._steps[event_type, from_version] = step
            return step

        return register

    def to_version(self, event_type: str, data: dict[str, Any], stored: int, wanted: int) -> dict[str, Any]:
        """The data as version `wanted` has it.

        Raises:
            NoUpcast: a step is missing, or the event is newer than the code.
        """
        if stored > wanted:
            detail = f"{event_type} was stored in version {stored}; this program knows {wanted} at most"
            raise NoUpcast(detail)
        for version in range(stored, wanted):
            step = self._steps.get((event_type, version))
            if step is None:
                detail = f"{event_type} has no upcaster from version {version}"
                raise NoUpcast(detail)
            data = step(data)
        return data


UPCASTS: Final = Upcasts()
"""The upcasters of this system; none is needed yet."""
