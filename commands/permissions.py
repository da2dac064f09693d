"""Permissions, named `<context>.<resource>:<action>`, and the roles that bundle them."""

from collections.abc import Iterable, Mapping
from typing import Final

ROLES: Final[Mapping[str, frozenset[str]]] = {
    "admin": frozenset({"*"}),
    "auditor": frozenset({"*:read"}),
    "accountant": frozenset(
        {
            "finance.accounts:read",
            "finance.periods:read",
            "finance.journal_entries:read",
            "finance.journal_entries:write",
            "finance.journal_entries:post",
            "finance.reports:read",
        }
    ),
    # Not all of finance: vouchers are posted by processes of ours, past the approval policy.
    "controller": frozenset(
        {
            "finance.accounts:read",
            "finance.accounts:write",
            "finance.periods:read",
            "finance.periods:write",
            "finance.journal_entries:read",
            "finance.journal_entries:write",
            "finance.journal_entries:post",
            "finance.approval_policy:write",
            "finance.account_mapping:read",
            "finance.account_mapping:write",
            "finance.reports:read",
        }
    ),
    "storekeeper": frozenset({"inventory.*"}),
    "sales": frozenset(
        {
            "sales.orders:read",
            "sales.orders:write",
            "sales.reports:read",
            "sales.personal_data:read",
            "inventory.items:read",
            "inventory.stock:read",
            "inventory.reports:read",
            "payments.payments:read",
        }
    ),
    "cashier": frozenset({"payments.*"}),
}
"""`*` is everything, `<context>.*` everything of a context, `*:<action>` the action on everything."""


class Permissions:
    """The set that a caller holds."""

    __slots__ = ("_granted",)

    def __init__(self, granted: Iterable[str]) -> None:
        self._granted = frozenset(granted)

    @classmethod
    def of(cls, roles: Iterable[str], extra: Iterable[str] = ()) -> "Permissions":
        """The permissions of the roles, unknown ones granting nothing, and those given one by one."""
        return cls(frozenset(extra).union(*(ROLES.get(role, frozenset()) for role in roles)))

    def allow(self, permission: str) -> bool:
        """Whether `permission` is among them, by name or by one of the three wildcards."""
        granted = self._granted
        if permission in granted or "*" in granted:
            return True
        context, action = permission.partition(".")[0], permission.rpartition(":")[2]
        return f"{context}.*" in granted or f"*:{action}" in granted
