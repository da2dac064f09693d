"""Settings: what the environment may say, what is refused, and that a secret is never repeated."""

import base64
import json
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from erp import secrets
from erp.settings import Settings, SettingsError, load_settings

STRONG = base64.b64encode(bytes(range(48))).decode()
URL = "postgresql://erp_app:pw@db/erp"


def deployed(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """A deployment that would work, but for the variables given here."""
    keys = json.dumps([{"kid": "a", "alg": "HS256", "key": STRONG}])
    for name, value in {"ERP_POSTGRES__URL": URL, "ERP_AUTH__KEYS": keys, **variables}.items():
        monkeypatch.setenv(name, value)


def refusal() -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings()
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_nothing_given_is_embedded_and_complete(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.embedded
    assert settings.home == tmp_path / ".erp"
    assert settings.postgres.url.startswith("postgresql://erp_app@/erp?host=")
    assert settings.postgres.reader_url.startswith("postgresql://erp_reader@")
    assert settings.postgres.need("owner_url").startswith("postgresql://postgres@")
    assert settings.auth.signing_key is not None
    assert settings.http.body_bytes_max == 10 * 1024 * 1024


def test_embedded_keys_are_made_once_for_the_owner_only() -> None:
    first, second = load_settings(), load_settings()
    assert first.auth == second.auth
    assert {key.alg for key in first.auth.keys} == {"EdDSA", "HS256"}
    assert stat.S_IMODE((first.home / secrets.FILE).stat().st_mode) == 0o600


def test_damaged_embedded_keys_are_said_to_be_damaged(tmp_path: Path) -> None:
    (tmp_path / ".erp").mkdir()
    (tmp_path / ".erp" / secrets.FILE).write_text("{")
    assert "secrets.json: not readable as keys" in refusal()


def test_the_embedded_key_of_personal_data_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    first, second = load_settings(), load_settings()
    assert first.personal.need_key() == second.personal.need_key()
    assert len(first.personal.need_key()) == 32
    file = first.home / secrets.PERSONAL_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for damaged in ("{", '{"keys": [{}]}', '{"keys": []}', '{"keys": [{"key": "short"}]}'):
        file.write_text(damaged)
        assert refusal().startswith(f"{file}: ")


def test_a_deployment_is_asked_for_the_key_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(monkeypatch)
    with pytest.raises(SettingsError, match="ERP_PERSONAL__KEY is missing and this command needs it"):
        load_settings().personal.need_key()
    key = base64.b64encode(bytes(range(32))).decode()
    monkeypatch.setenv("ERP_PERSONAL__KEY", key)
    settings = load_settings()
    assert settings.personal.need_key() == bytes(range(32))
    assert key not in repr(settings)


def test_stripe_takes_a_key_which_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERP_PAYMENTS__GATEWAY", "stripe")
    assert refusal() == "ERP_PAYMENTS: gateway is stripe, but stripe_key is missing"
    monkeypatch.setenv("ERP_PAYMENTS__STRIPE_KEY", "sk_test_4711")
    monkeypatch.setenv("ERP_PAYMENTS__STRIPE_WEBHOOK_SECRET", "whsec_4711")
    assert "4711" not in repr(load_settings())


def test_a_url_makes_it_a_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(monkeypatch)
    settings = load_settings()
    assert not settings.embedded
    assert not settings.home.exists()
    with pytest.raises(SettingsError, match="ERP_POSTGRES__OWNER_URL is missing"):
        settings.postgres.need("owner_url")


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "erp.toml"
    file.write_text('[http]\nport = 9000\nworkers = 3\n[postgres]\nurl = "postgresql://a@b/c"\n')
    deployed(monkeypatch, ERP_CONFIG=str(file), ERP_HTTP__PORT="9001")
    settings = load_settings()
    assert (settings.http.port, settings.http.workers, settings.postgres.url) == (9001, 3, URL)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"ERP_HTTP__PORT": "70000"}, "ERP_HTTP__PORT: input should be less than or equal to 65535"),
        ({"ERP_HTTP__WORKERS": "many"}, "ERP_HTTP__WORKERS: input should be a valid integer"),
        ({"ERP_HTTP__PROT": "1"}, "ERP_HTTP__PROT: extra inputs are not permitted"),
        ({"ERP_POSTGRE__URL": "x"}, "ERP_POSTGRE__URL: there is no such setting; did you mean ERP_POSTGRES?"),
        ({"ERP_POSTGRES__URL": "mysql://db"}, "ERP_POSTGRES__URL: "),
        ({"ERP_EMBEDDED": "true"}, "ERP_POSTGRES__URL: given, but the system is embedded"),
        ({"ERP_POSTGRES__URL": "", "ERP_EMBEDDED": "false"}, "ERP_POSTGRES__URL is missing"),
        ({"ERP_AUTH__KEYS": "[]"}, "ERP_AUTH__KEYS is missing"),
        ({"ERP_AUTH__KEYS": "{"}, "auth"),
        ({"ERP_PERSONAL__KEY": STRONG}, "ERP_PERSONAL: the key is not 32 bytes in base64"),
        ({"ERP_PERSONAL__KEY": "no base64"}, "ERP_PERSONAL: the key is not 32 bytes in base64"),
        ({"ERP_PERSONAL__KEY": "A" * 43 + "="}, "ERP_PERSONAL: the key is a placeholder"),
        ({"ERP_CONFIG": "/does/not/exist.toml"}, "/does/not/exist.toml"),
    ],
)
def test_a_mistake_is_one_line(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str) -> None:
    deployed(monkeypatch, **variables)
    assert line in refusal()


@pytest.mark.parametrize(
    "secret",
    [
        "changeme",
        "secret",
        "tiny",
        "a" * 64,
        "please-changeme-" + STRONG,
        "my-super-secret-key-of-32-bytes!!",
    ],
)
def test_weak_secrets_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    deployed(monkeypatch, ERP_AUTH__KEYS=json.dumps([{"kid": "a", "alg": "HS256", "key": secret}]))
    line = refusal()
    assert line.startswith("ERP_AUTH__KEYS__0: the secret is ")
    assert secret not in line.removeprefix("ERP_AUTH__KEYS__0: the secret is ")


def test_two_keys_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [{"kid": "a", "alg": "HS256", "key": STRONG + str(n)} for n in range(2)]
    deployed(monkeypatch, ERP_AUTH__KEYS=json.dumps(keys))
    assert refusal() == "ERP_AUTH: two keys have the same kid"


def test_an_eddsa_pair_must_be_a_pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine, other = (secrets.kept_keys(tmp_path / name)[0] for name in ("mine", "other"))
    for wrong in ({**mine, "private_key": other["private_key"]}, {**mine, "key": "no pem"}):
        deployed(monkeypatch, ERP_AUTH__KEYS=json.dumps([wrong]))
        assert refusal().startswith("ERP_AUTH__KEYS__0: ")
    deployed(monkeypatch, ERP_AUTH__KEYS=json.dumps([{**mine, "private_key": None}]))
    assert load_settings().auth.signing_key is None, "a public key only verifies"


def test_settings_are_frozen_and_show_no_secrets() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.http = Settings().http  # type: ignore[misc]
    assert "PRIVATE KEY" not in repr(settings)
