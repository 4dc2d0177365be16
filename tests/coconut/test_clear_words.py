"""What coconut says, for the eye: nothing twice, nothing run together, nothing that must be guessed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ecsd.coconut.chronicle import Chronicle
from ecsd.coconut.environment import page
from ecsd.coconut.node import _lines
from ecsd.coconut.output import LONG, Output
from libecs.wire.info import Event
from tests.coconut.conftest import Coconut


def event(kind: str, **fields: Any) -> Event:
    return Event(sequence=1, unix_ms=int(time.time() * 1000), kind=kind, **fields)


def broken(**fields: Any) -> dict[str, Any]:
    """An environment in ERROR."""
    document: dict[str, Any] = {
        "environment": "2q0A", "name": "shift", "workflow": "demo", "revision": "v1", "state": "ERROR",
        "transition": "", "step": "", "operation": "", "run_number": None, "last_run_number": 4, "created_ms": 0,
        "requester": "alice", "detectors": [], "excluded": [], "auto": False, "tasks": [],
        "cause": "critical task demo.a on node n1 killed by signal 9",
        "failures": {"demo.a": "on node n1 killed by signal 9"},
    }  # fmt: skip
    return document | fields


def test_one_failure_is_the_cause_and_is_not_told_twice() -> None:
    lines = [*page(broken())]

    assert sum("signal 9" in line for line in lines) == 1
    assert lines[-1] == "next         coconut environment recover 2q0A, or destroy it"


def test_several_failures_are_told_each() -> None:
    lines = [*page(broken(failures={"demo.a": "no disk", "demo.b": "no light"}))]

    assert "  demo.a: no disk" in lines
    assert "  demo.b: no light" in lines


def test_while_something_goes_on_nothing_is_advised() -> None:
    assert not any(line.startswith("next") for line in page(broken(transition="RECOVER", step="revive")))


def test_why_an_environment_goes_to_error_is_one_line_of_progress() -> None:
    chronicle = Chronicle()
    cause = "DEPLOY failed: no disk\n  next: buy one"

    assert chronicle.take(event("transition.begin", transition="GO_ERROR", text=cause)) == "  GO_ERROR …"
    assert chronicle.take(event("environment.state", state="ERROR", text=cause)).endswith("DEPLOY failed: no disk")
    assert chronicle.take(event("transition.begin", transition="STOP_ACTIVITY", text="by TIMER")).endswith("by TIMER")


def test_a_modification_is_a_sentence() -> None:
    told = event("modify", role="demo.n2", state="EXCLUDED", text="excluded by owner")

    assert Chronicle().take(told) == "  demo.n2 excluded by owner"


def test_names_and_values_of_a_node_do_not_touch() -> None:
    document = {
        "node": "n1", "reach": "UP", "age_ms": 0, "drained": False, "reason": "", "host": "h", "tasks": 0, "idle": 0,
        "orphans": 0, "used_cpus": 0.0, "cpus": 2.0, "used_memory_mb": 0.0, "memory_mb": 9.0, "attributes": {},
        "facts": {"clock_skew_ms": "-3", "uid": "0"},
    }  # fmt: skip

    assert [*_lines(document)][-2:] == ["  clock_skew_ms  -3", "  uid            0"]


def test_tasks_that_lack_a_node_for_one_reason_are_one_line(coconut: Coconut, project: Path) -> None:
    ran = coconut("environment", "plan", "demo", "--repo", f"{project}/examples/demo", "--nodes", "1")

    assert ran.status == 9
    missing = ran.out.partition("Missing:\n")[2].splitlines()
    assert len(missing) == 4
    assert missing[0].startswith("  6 tasks: no node with machine_id = node2 (")
    assert missing[1].startswith("    demo.node2.c.source, demo.node2.c.filter, ")


@pytest.mark.parametrize("words", [("run", "show", "1x"), ("run", "list", "--limit", "many"), ("demo", "--rate", "x")])
def test_what_is_no_number_is_said_in_these_words(coconut: Coconut, words: tuple[str, ...]) -> None:
    ran = coconut(*words)

    assert ran.status == 2
    assert f"{words[-1]!r} is not a valid number." in ran.err


def test_long_lists_are_whole_and_their_documents_stand_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    document: dict[str, Any] = {"schema": "ecs/x/1", "rows": [{"name": f"r{n}"} for n in range(LONG + 1)]}

    Output(as_json=True).listing(document, "rows", ())
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == document
    Output(as_json=False, form="name").listing(document, "rows", ())
    assert capsys.readouterr().out.splitlines() == [row["name"] for row in document["rows"]]


@pytest.mark.timeout(240)
def test_at_a_core_nothing_is_empty_and_silence_is_said(at_core: Coconut) -> None:
    assert "insecure" not in at_core("info").out
    at_core("environment", "create", "single", "--name", "quiet", "-q")
    at_core("environment", "create", "single", "--name", "quiet", "-q")

    ids = [one["environment"] for one in at_core("environment", "list", "--json").document["environments"]]
    assert "nothing was written to stderr yet" in at_core("environment", "logs", ids[0], "--stderr").err
    task = at_core("task", "list", "--environment", ids[0], "--json").document["tasks"][0]["task"]
    assert "has written nothing to stderr yet" in at_core("task", "logs", task, "--stderr").err
    assert "write its id" in at_core("environment", "show", "quiet").err
