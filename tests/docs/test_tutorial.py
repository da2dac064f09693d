"""The tutorial and the how-tos, carried out as they stand, with the answers that they show."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from erp.embedded import address
from tests.docs.pages import ROOT, blocks
from tests.e2e.system import Api

BASH = shutil.which("bash") or ""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not BASH or not shutil.which("curl"), reason="needs bash and curl"),
]


@pytest.fixture
def api(home: Path) -> Iterator[Api]:
    with Api(home) as running:
        yield running


def shell(script: str, home: Path, cwd: Path) -> str:
    """What bash prints; it ends at the first command that fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ERP_")}
    done = subprocess.run(
        [BASH, "-euo", "pipefail", "-c", script],
        env={**clean, "ERP_HOME": str(home)},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def assert_shown(shown: str, printed: str) -> None:
    """`…` in what is shown stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    assert re.fullmatch(pattern, printed.strip()), f"shown:\n{shown}\nprinted:\n{printed}"


def test_the_tutorial(home: Path, api: Api, tmp_path: Path) -> None:
    script, shown = ":\n", []
    for language, text in blocks(ROOT / "docs" / "tutorial" / "first-books.md"):
        if language == "sh":
            script += f"echo =====\n{text}"
            shown.append("")
        else:
            shown[-1] = text
    script = script.replace(".venv/bin/erp", f"{sys.executable} -m erp")
    script = script.replace("http://127.0.0.1:8000", api.url)
    printed = shell(script, home, tmp_path).split("=====\n")[1:]
    assert len(printed) == len(shown)
    for each_shown, each_printed in zip(shown, printed, strict=True):
        assert_shown(each_shown, each_printed)


def test_importing(home: Path, tmp_path: Path) -> None:
    found = blocks(ROOT / "docs" / "how-to" / "import.md")
    (chart,) = [text for language, text in found if language == "csv"]
    (journal,) = [text for language, text in found if language == "json"]
    chart_shown, journal_shown, again_shown = [text for language, text in found if language == "text"]
    (tmp_path / "chart.csv").write_text(chart)
    (tmp_path / "journal.ndjson").write_text(journal)
    erp = f"{sys.executable} -m erp"
    assert_shown(
        chart_shown,
        shell(
            f"{erp} tenant create bakery --chart none >&2; {erp} import accounts chart.csv --tenant bakery",
            home,
            tmp_path,
        ),
    )
    with Api(home) as api:
        token = f"$({erp} token --tenant bakery --user carol --roles controller)"
        year = '{"year": 2026, "start": "2026-01-01"}'
        url = f"{api.url}/v1/finance/fiscal-years"
        headers = f"-H 'Content-Type: application/json' -H \"Authorization: Bearer {token}\""
        shell(f"curl -sS --fail {url} {headers} -d '{year}'", home, tmp_path)
        importing = f"{erp} import journal journal.ndjson --tenant bakery || [ $? = 1 ]"
        assert_shown(journal_shown, shell(importing, home, tmp_path))
        assert again_shown.strip() in shell(importing, home, tmp_path)


def test_an_application_of_the_library(home: Path, tmp_path: Path, api: Api) -> None:
    (program,) = [
        text
        for language, text in blocks(ROOT / "docs" / "how-to" / "eventsourcing-recorder.md")
        if language == "python"
    ]
    (tmp_path / "dogs.py").write_text(program)
    shell(f"{sys.executable} -m erp tenant create kennel --chart none", home, tmp_path)
    with psycopg.connect(address.url(home, "erp_reader")) as connection:
        row = connection.execute("SELECT tenant FROM erp.tenants WHERE name = 'kennel'").fetchone()
    assert row is not None
    given = f"EVENTSTORE_URL='{address.url(home, 'erp_app')}' EVENTSTORE_TENANT={row[0]} PYTHONPATH={ROOT}"
    assert shell(f"{given} {sys.executable} dogs.py", home, tmp_path) == "['roll over']\n"
    assert api.is_ready()


def test_what_an_auditor_asks(home: Path, tmp_path: Path) -> None:
    queries = [
        text
        for language, text in blocks(ROOT / "docs" / "how-to" / "auditor-login.md")
        if language == "sql" and text.lstrip().startswith("SELECT")
    ]
    with Api(home):
        shell(f"{sys.executable} -m erp tenant create acme", home, tmp_path)
        with psycopg.connect(address.url(home), autocommit=True) as connection:
            connection.execute("CREATE ROLE olga LOGIN IN ROLE erp_auditor")
            appoint = "INSERT INTO erp.auditors SELECT 'olga', tenant FROM erp.tenants WHERE name = 'acme'"
            connection.execute(appoint)
        with psycopg.connect(address.url(home, "olga"), autocommit=True) as connection:
            counts = [len(connection.execute(query.encode()).fetchall()) for query in queries]
    assert counts == [20, 0]
