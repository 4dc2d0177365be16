"""Runs, events, logs and roles of a real core."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fieldkit.cluster import Cluster

from ecsd.coconut import carrying
from ecsd.coconut.carrying import Outcome, Waiting
from ecsd.coconut.documents import event_document
from ecsd.coconut.output import Output
from ecsd.coconut.target import Target
from libecs.client.ecs import AsyncEcs
from libecs.client.operation import Operation
from libecs.wire.info import Event
from tests.coconut.atcore import make, running
from tests.coconut.conftest import Coconut

pytestmark = pytest.mark.timeout(300)


def test_take_diff_export_annotate(at_core: Coconut, tmp_path: Path) -> None:
    words = ("run", "take", "single", "--duration", "200ms", "-q", "--json")
    first = at_core(*words, "-e", "value=1").document["runs"][0]["number"]
    second = at_core(*words, "-e", "value=2").document["runs"][0]["number"]

    diff = at_core("run", "diff", str(first), str(second), "--json").document
    assert diff["user_variables"]["value"] == ["1", "2"]
    assert list(diff["configuration"]) == ["single.one"]
    assert not diff["same_setup"]
    assert "value" in at_core("run", "diff", str(first), str(second)).out

    noted = at_core("run", "annotate", str(first), "HV tripped", "--tag", "quality=bad", "--json").document
    assert noted["notes"][0]["text"] == "HV tripped"
    assert noted["tags"] == {"quality": "bad"}
    assert at_core("run", "annotate", str(first), "--tag", "quality=", "--json").document["tags"] == {}

    files = at_core("run", "export", str(first), "--to", str(tmp_path / "x"), "--csv", "--json").document["files"]
    assert json.loads((tmp_path / "x" / "run.json").read_text())["number"] == first
    assert (tmp_path / "x" / "metrics.csv").read_text().startswith("role,name,unit,n,sum")
    assert len(files) == 2
    assert json.loads(at_core("run", "export", str(first), "--to", "-").out)["number"] == first
    listed = at_core("run", "list", "--json").document["runs"]
    assert [run["number"] for run in listed][-2:] == [first, second]
    assert at_core("environment", "list", "--json").document["environments"] == []


def test_repeat_takes_the_same_run(at_core: Coconut) -> None:
    words = ("run", "take", "single", "--duration", "200ms", "-q", "--json", "-e", "value=3")
    first = at_core(*words).document["runs"][0]["number"]

    plan = at_core("run", "repeat", str(first), "--dry-run", "--json").document
    again = at_core("run", "repeat", str(first), "-q", "--json").document

    assert plan["variables"] == {"value": "3"}
    assert again["repeats"] == first
    (run,) = again["runs"]
    assert run["comment"] == f"repeats run {first}"
    diff = at_core("run", "diff", str(first), str(run["number"]), "--json").document
    assert diff["same_setup"], diff


def test_failed_run_is_exit_7_with_a_record(at_core: Coconut) -> None:
    ran = at_core(
        "run", "take", "single", "--duration", "5s", "-e", "fault=crash", "-e", "moment=start", "-q", "--json"
    )

    assert ran.status == 7
    assert ran.document["error"]["code"] == "E_RUN"
    assert at_core("environment", "list", "--json").document["environments"] == []


def test_events_of_the_past_and_of_an_environment_that_is_gone(at_core: Coconut) -> None:
    made = make(at_core, "--name", "shift")
    at_core("environment", "destroy", "shift", "-q")

    events = at_core("environment", "events", made, "--json").documents
    some = at_core("environment", "events", made, "--kind", "environment.state", "--last", "1000", "--json").documents
    lines = at_core("environment", "events", made).out.splitlines()
    later = at_core("environment", "events", made, "--json").documents

    assert [event["sequence"] for event in events] == sorted(event["sequence"] for event in events)
    assert {event["environment"] for event in events} == {made}
    assert [event["state"] for event in some][-1] == "DONE"
    assert len(events) <= len(lines) <= len(later)
    assert at_core("environment", "events", "--since", str(events[-1]["sequence"]), "--json").documents[0] == events[-1]
    assert at_core("environment", "events", "neverwas").status == 3


def test_follow_goes_on_with_what_comes(at_core: Coconut, cluster: Cluster) -> None:
    with running(cluster, "environment", "events", "--follow", "--last", "1", "--json") as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline())["sequence"]]
        make(at_core, "--name", "shift")
        for line in process.stdout:
            event = json.loads(line)
            seen.append(event["sequence"])
            if event["kind"] == "environment.state" and event["state"] == "CONFIGURED":
                break

    assert seen == list(range(seen[0], seen[-1] + 1))


def test_logs_of_tasks_come_from_their_nodes(at_core: Coconut) -> None:
    at_core("environment", "create", "single", "--name", "shift", "-q")

    whole = at_core("environment", "logs", "shift", "--stderr")
    one = at_core("task", "logs", "shift", "one@n1", "--json")
    none = at_core("environment", "logs", "shift", "--tasks", "nobody")

    assert (whole.status, one.status, none.status) == (0, 0, 3)
    assert one.documents == [line for line in one.documents if line["node"] == "n1"]
    assert "tasks are one" in none.err


def test_lines_of_tasks_are_shown_meanwhile_if_asked_for(at_core: Coconut, monkeypatch: pytest.MonkeyPatch) -> None:
    make(at_core, "--name", "shift")
    shown: list[bool] = []
    carry_out = carrying.carry_out

    async def watched(
        ecs: AsyncEcs, output: Output, target: Target, operation: Operation, waiting: Waiting, environment: str = ""
    ) -> Outcome:
        shown.append(waiting.logs)
        return await carry_out(ecs, output, target, operation, waiting, environment)

    monkeypatch.setattr(carrying, "carry_out", watched)
    with_logs = at_core("environment", "control", "shift", "START", "--logs")
    without = at_core("environment", "control", "shift", "STOP")

    assert (with_logs.status, without.status, shown) == (0, 0, [True, False])


def test_role_query_shows_variables(at_core: Coconut) -> None:
    make(at_core, "--name", "shift", "-e", "value=9")

    document = at_core("role", "query", "shift", "one", "--json").document
    text = at_core("role", "query", "shift").out

    assert [role["path"] for role in document["roles"]] == ["single.one"]
    assert "value: 9" in text
    assert at_core("role", "query", "shift", "nobody").status in (0, 3)


def test_event_documents_leave_out_what_says_nothing() -> None:
    document = event_document(Event(sequence=1, unix_ms=2, kind="lock", name="tpc", text="taken"))

    assert document == {"sequence": 1, "unix_ms": 2, "kind": "lock", "name": "tpc", "text": "taken", "ok": True}
