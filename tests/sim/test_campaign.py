"""Many histories: what is done is not played again, what is broken is, and a summary says what they were about."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest

from libecs.io import campaign
from libecs.io.campaign import Broken, Log, Part, Range, main
from libecs.sim.__main__ import main as play_one
from libecs.sim.coverage import TITLES, table

pytestmark = pytest.mark.timeout(300)


def part(first: int, last: int, *broken: int) -> Part:
    return Part(
        seeds=(first, last),
        broken=tuple(Broken(seed=seed, kind="calm", rules=("liveness",), text="") for seed in broken),
        counts=Counter(),
        kinds=Counter(),
        cpu_s=0.0,
    )


@pytest.mark.parametrize(
    ("wanted", "done", "expected"),
    [
        ((0, 10), [], [(0, 4), (4, 8), (8, 10)]),
        ((0, 10), [(0, 10)], []),
        ((0, 10), [(2, 6)], [(0, 2), (6, 10)]),
        ((5, 10), [(0, 7)], [(7, 10)]),
        ((0, 10), [(8, 20), (0, 3)], [(3, 7), (7, 8)]),
        ((0, 10), [(0, 5), (3, 6)], [(6, 10)]),
    ],
)
def test_only_what_is_missing_is_played(wanted: Range, done: list[Range], expected: list[Range]) -> None:
    assert list(campaign.missing(wanted, done, 4)) == expected


def test_a_broken_seed_is_played_again(tmp_path: Path) -> None:
    log = Log(tmp_path / "done")
    log.add(part(0, 50))
    log.add(part(50, 100, 57, 99))

    assert list(campaign.missing((0, 120), log.done())) == [(57, 58), (99, 120)]


def test_a_campaign_goes_on_where_it_was_ended(tmp_path: Path) -> None:
    log, output = Log(tmp_path / "done"), io.StringIO()
    log.add(part(0, 8))

    summary = campaign.run((0, 10), log=log, output=output)

    assert summary.histories == 2
    assert log.done() == [(0, 8), (8, 10)]
    assert "2 of 2 histories" in output.getvalue()


def test_a_summary_says_what_histories_were_about(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--seed", "10", "--count", "4"])

    printed = capsys.readouterr()
    assert status == 0
    assert "0 broken: none" in printed.out
    assert "4 histories (1 calm, 2 crashes, 1 messages) of seeds 10 to 13" in printed.out
    for title in TITLES.values():
        assert title in printed.out


def test_a_table_shows_every_count() -> None:
    assert table({"runs": 1234}).splitlines()[list(TITLES).index("runs")] == "           1,234  runs"


def test_one_history_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert play_one(["--seed", "3", "--verbose"]) == 0

    assert "START" in capsys.readouterr().out
