"""A bare environment for every test of the house: no variable of ours, an empty working directory."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("ERP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
