"""Why the bus could not carry out a command that breaks no rule of the business.

CommandError
├── NotPermitted           the caller lacks the permission
├── VersionMismatch        `If-Match` names a version that the stream has left
├── ConcurrencyConflict    others kept changing the streams, in every attempt
└── IdempotencyKeyReused   the key belongs to another request
"""

from typing import Any, ClassVar


class CommandError(Exception):
    """Nothing has changed; `code` is stable, `detail` is for a person, `data` for a program."""

    code: ClassVar[str]

    def __init__(self, detail: str, **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.data = data


class NotPermitted(CommandError):
    """The caller lacks the permission."""

    code = "permission_denied"


class VersionMismatch(CommandError):
    """`If-Match` names a version that the stream has left."""

    code = "version_mismatch"


class ConcurrencyConflict(CommandError):
    """Others kept changing the streams, in every attempt."""

    code = "concurrency_conflict"


class IdempotencyKeyReused(CommandError):
    """The key belongs to another request."""

    code = "idempotency_key_reused"


class Superseded(Exception):
    """What led to the command has moved on, see `Context.led_by`. Nobody else hears of it."""
