"""What is read out of the books, while they are written, and while parts of the system are not there."""

from collections.abc import Sequence
from typing import Final

from erp.demo.story import ENTRIES, Chapter, Story
from erp.tour import say

_LINES: Final = "finance_lines"


def _trial_balance(tour: Story) -> None:
    """Olga reads the trial balance. It comes from ClickHouse, and knows what was posted a moment ago."""
    tour.post("70.00")
    report = tour.trial_balance()
    tour.expect("it stands at that posting, or after it", report["position"] >= tour.written["position"])
    totals = report["totals"]["EUR"]
    tour.expect("debits and credits are the same", totals["debit"] == totals["credit"])


def _as_known(tour: Story) -> None:
    """Alice posts something for January late. The report as it was known before does not change."""
    known_at = tour.written["recorded_at"]
    before = tour.trial_balance(known_at=known_at)
    tour.post("80.00")
    now = tour.trial_balance()
    tour.expect("the report of now has it", now["totals"] != before["totals"])
    tour.expect("the one as known before is the same", tour.trial_balance(known_at=known_at) == before)


def _rebuild(tour: Story) -> None:
    """A projection is made anew from the log while Alice posts. It answers all the time."""
    with tour.posting() as answers:
        tour.command("projections", "rebuild", _LINES)
    tour.expect(f"{len(answers)} sales were posted meanwhile", {each.status for each in answers} == {201})
    report = tour.trial_balance()
    tour.expect("all of them are in the report", report["position"] >= tour.written["position"])


def _killed_worker(tour: Story) -> None:
    """The worker that feeds ClickHouse is killed (kill -9) while Alice posts. Nobody notices but the lag."""
    with tour.posting() as answers:
        tour.kill("worker")
        tour.expect("it is started again", tour.is_back("worker"))
    tour.expect(f"{len(answers)} sales were posted meanwhile", {each.status for each in answers} == {201})
    report = tour.trial_balance()
    totals = report["totals"]["EUR"]
    tour.expect("the report has all of them", report["position"] >= tour.written["position"])
    tour.expect("debits and credits are the same", totals["debit"] == totals["credit"])


def _listed(tour: Story) -> None:
    """Where every projection stands."""
    tour.command("projections", "list")


def _numbers(tour: Story) -> None:
    """All that was posted on this tour, looked at once more: the numbers leave no gap."""
    say(f"olga: GET {ENTRIES}/… of each of the {len(tour.posted)}")
    numbers = sorted(tour.send("olga", "GET", f"{ENTRIES}/{each}").body["number"] for each in tour.posted)
    say(f"  → {numbers}")
    tour.expect(f"they are 1 to {len(numbers)}", numbers == list(range(1, len(numbers) + 1)))


CHAPTERS: Final[Sequence[Chapter]] = (
    _trial_balance,
    _as_known,
    _rebuild,
    _killed_worker,
    _listed,
    _numbers,
)
