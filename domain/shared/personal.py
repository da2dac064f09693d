"""Personal data: names, addresses and the like, which live no longer than the key of whom they are about.

Events are never changed and are copied to many places, so what is in them cannot be taken back. What tells of
a person therefore gets into an event sealed only, under a key of that person's own. When the key is deleted,
the data is gone from everywhere at once: from the log, snapshots, messages, projections.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Personal(Generic[T]):
    """Something personal, sealed. `T` says what; there is no way to it from here.

    Attributes:
        subject: pseudonym of whom it is about.
        key: which of the keys that the subject has had it was sealed under.
        sealed: what only that key opens, in base64.
    """

    subject: str
    key: UUID
    sealed: str
