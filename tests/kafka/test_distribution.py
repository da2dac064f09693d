"""How Apache Kafka gets here, and what is said when it does not."""

from pathlib import Path

import pytest

from tests.kafka.distribution import DISTRIBUTION, NoDistribution, is_complete, resolve

pytestmark = pytest.mark.kafka


def test_what_is_there_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then neither Maven nor a network is needed."""
    monkeypatch.setenv("PATH", "")
    resolve(DISTRIBUTION)
    assert any(DISTRIBUTION.glob("kafka_*.jar"))


def test_where_maven_is_not_installed_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoDistribution, match=r"Maven .* is not installed"):
        resolve(tmp_path / "kafka")
    assert not is_complete(tmp_path / "kafka")


def test_where_maven_reaches_nobody_it_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        NoDistribution, match=r"Maven cannot bring Apache Kafka; .* No plugin found"
    ) as refused:
        resolve(tmp_path / "kafka", "--offline", f"-Dmaven.repo.local={tmp_path / 'nothing'}")
    assert "\n" not in str(refused.value)
    assert not is_complete(tmp_path / "kafka")
