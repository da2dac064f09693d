"""From settings to tokens: the keys as the API knows them; a token signed by the first that can sign."""

from collections.abc import Iterable

from api import auth
from erp.settings import Settings, SettingsError


def auth_config(settings: Settings) -> auth.AuthConfig:
    """The API's keys; where a private one is given it verifies as well as its public half does."""
    return auth.AuthConfig(
        tuple(auth.AuthKey(key.kid, key.alg, key.private_key or key.key) for key in settings.auth.keys)
    )


def issue_token(
    settings: Settings,
    *,
    tenant: str,
    user: str,
    roles: Iterable[str],
    permissions: Iterable[str] = (),
    ttl_s: float,
) -> str:
    """A token for that user.

    Raises:
        SettingsError: this process has keys to verify with only.
    """
    if settings.auth.signing_key is None:
        raise SettingsError("ERP_AUTH__KEYS: no key here can sign; give one a private_key")
    return auth.issue_token(
        auth_config(settings), tenant=tenant, user=user, roles=roles, permissions=permissions, ttl_s=ttl_s
    )
