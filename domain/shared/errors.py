"""Broken rules.

DomainError
├── … one class per rule, beside the aggregate that owns it
└── (its `code` is stable: clients, tests and the table in `api/errors.py` rely on it)
"""

from typing import Any, ClassVar


class DomainError(Exception):
    """A rule of the business forbids what was asked; nothing has changed.

    Attributes:
        code: stable name of the rule, `<context>.<rule>`.
        detail: one sentence for a person.
        data: what a program needs to react, JSON-serialisable.
    """

    code: ClassVar[str]

    def __init__(self, detail: str, **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.data = data


class Unavailable(Exception):
    """Something the system stands on cannot be reached right now; nothing that was acknowledged is lost."""
