"""What the pages point to is there."""

import json
import re
from pathlib import Path

import pytest

from commands.finance import PostJournalEntry
from erp.embedded.banner import RECEIVABLES, REVENUE
from tests.docs.pages import ROOT, blocks, pages

TOP_LEVEL = {path.name for path in ROOT.iterdir()}


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=by_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", pages(), ids=by_name)
def test_files_that_are_named_exist(page: Path) -> None:
    for named in re.findall(r"`([\w./-]+\.(?:py|sql|md|toml|csv))`", page.read_text("utf-8")):
        if named.split("/")[0] in TOP_LEVEL:
            assert (ROOT / named).exists(), named


@pytest.mark.parametrize("page", pages(), ids=by_name)
def test_tests_that_are_named_exist(page: Path) -> None:
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for named in re.findall(r"`(test_\w+)`", page.read_text("utf-8")):
        assert f"def {named}(" in tests, named


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"({name})" in index, name


@pytest.mark.parametrize("page", pages(), ids=by_name)
def test_python_in_the_pages_compiles(page: Path) -> None:
    for language, text in blocks(page):
        if language == "python" and "    ...\n" not in text:
            compile(text, str(page), "exec")


def test_the_entry_of_the_readme_is_one() -> None:
    (body,) = re.findall(r"-d '(\{.*\})'", (ROOT / "README.md").read_text("utf-8"))
    PostJournalEntry.model_validate_json(body, strict=True)
    assert [line["account"] for line in json.loads(body)["lines"]] == [RECEIVABLES, REVENUE]
