"""The books of a run: every way in which they can differ is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from ecsd.coconut.books import audit, connections, read_reports

SOURCE, SINK, COLLECTOR = "demo.n1.c.source", "demo.n1.c.sink", "demo.collect-c"
PATHS = {SINK: [SOURCE], COLLECTOR: [SOURCE]}


def account(**fields: Any) -> dict[str, Any]:
    return {"count": 10, "gaps": 0, "repeated": 0, "hash": "aa", "announced": 10, "announced_hash": "aa", **fields}


def report(task: str, **fields: Any) -> dict[str, Any]:
    return {"task": task, "run": 1, "foreign": 0, "sources": {SOURCE: account()}, **fields}


REPORTS = [report(SOURCE), report(SINK), report(COLLECTOR)]


def test_books_that_agree() -> None:
    books = audit(1, REPORTS, PATHS)

    assert books.problems == ()
    assert (books.sources, books.sinks, books.messages, books.counted) == (1, 2, 10, 20)
    assert books.line() == ("run 1: 10 messages of 1 sources, 20 counted by 2 sinks: counts, gaps and hashes agree")
    assert books.document()["ok"]


Reports = list[dict[str, Any]]


def change(task: str, **fields: Any) -> Callable[[Reports], None]:
    def apply(reports: list[dict[str, Any]]) -> None:
        next(one for one in reports if one["task"] == task)["sources"][SOURCE].update(fields)

    return apply


def remove(task: str) -> Callable[[Reports], None]:
    return lambda reports: reports.remove(next(one for one in reports if one["task"] == task))


def silence(reports: list[dict[str, Any]]) -> None:
    reports[1]["sources"] = {}


def stranger(reports: list[dict[str, Any]]) -> None:
    reports[1]["sources"]["demo.n2.c.source"] = account()


def foreign(reports: list[dict[str, Any]]) -> None:
    reports[1]["foreign"] = 3


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (change(SINK, count=9), "counted 9 messages of demo.n1.c.source, which sent 10"),
        (change(SINK, gaps=1), "1 gaps and 0 repetitions"),
        (change(SINK, repeated=2), "0 gaps and 2 repetitions"),
        (change(SINK, hash="bb"), "has hash bb for demo.n1.c.source, which has aa"),
        (change(SOURCE, count=0), "demo.n1.c.source sent nothing"),
        (remove(SINK), "demo.n1.c.sink wrote no report"),
        (remove(SOURCE), "demo.n1.c.source wrote no report"),
        (silence, "demo.n1.c.sink got nothing of demo.n1.c.source"),
        (stranger, "got messages of demo.n2.c.source, which it is not connected to"),
        (foreign, "demo.n1.c.sink got 3 messages of another run"),
    ],
)
def test_books_that_differ(wrong: Callable[[Reports], None], problem: str) -> None:
    reports = deepcopy(REPORTS)
    wrong(reports)

    books = audit(1, reports, PATHS)

    assert any(problem in text for text in books.problems), books.problems
    assert not books.document()["ok"]
    assert "PROBLEMS" in books.line()


def test_reports_of_one_run_are_read(tmp_path: Path) -> None:
    for name in ("a-run1.json", "b-run1.json", "a-run11.json", "a-run1.json.tmp"):
        (tmp_path / name).write_text(json.dumps({"task": name}))

    assert [one["task"] for one in read_reports(tmp_path, 1)] == ["a-run1.json", "b-run1.json"]


def test_connections_of_the_demo() -> None:
    roles = ["demo.collect-c", "demo.n1.c.source", "demo.n1.c.filter", "demo.n1.c.sink", "demo.n2.c.source"]

    assert connections(roles) == {
        "demo.n1.c.sink": ["demo.n1.c.source"],
        "demo.collect-c": ["demo.n1.c.source", "demo.n2.c.source"],
        "demo.n2.c.sink": ["demo.n2.c.source"],
    }
