"""Workflows written in scripts become the templates that a repository would hold."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from libecs.config.tree import Tree
from libecs.errors import UsageError
from libecs.fsm import Mode
from libecs.script import ScriptWorkflow, task, workflow
from libecs.workflow.expand import expand
from libecs.workflow.source import TextSource


def test_script_workflow_expands_as_a_repository_does() -> None:
    lab = workflow(
        "cosmics",
        tasks={
            "hv": task("python3 hv.py", properties={"volts": 1450, "name": "x"}),
            "daq": task(
                ["./digitizer", "-o", "a b"], mode="basic", stop="SIGINT", start_after=["hv"], critical=False,
                environment={"A": "1"},
            ),
            "trigger": task(attach="tcp://pi:47100", start_after=["daq"]),
        },
    )  # fmt: skip
    ids = count()

    expanded = expand(
        TextSource(files=lab.files()), "cosmics", {"environment_id": "e"}, Tree({}), ids=lambda: str(next(ids))
    )

    assert [role.path for role in expanded.roles] == ["cosmics", "cosmics.hv", "cosmics.daq", "cosmics.trigger"]
    assert expanded.roles[2].start_after == ("cosmics.hv",)
    assert not expanded.roles[2].critical
    hv, daq, trigger = (expanded.classes[role.task.class_name] for role in expanded.roles[1:] if role.task)
    assert (hv.command, hv.arguments, hv.properties) == ("python3", ("hv.py",), {"volts": "1450", "name": "x"})
    assert (daq.mode, daq.command, daq.arguments, daq.stop) == (Mode.BASIC, "./digitizer", ("-o", "a b"), "SIGINT")
    assert daq.environment == ("A=1",)
    assert trigger.endpoint == "tcp://pi:47100"


@pytest.mark.parametrize(
    ("arguments", "options"), [((), {}), (("x",), {"attach": "tcp://a:1"}), (("x",), {"mode": "magic"})]
)
def test_wrong_task_is_a_usage_error(arguments: tuple[str, ...], options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        task(*arguments, **options)


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        (task("x", mode="basic", stop="SIGFOO"), "task 't': .*SIGFOO"),
        (task("x", timeouts={"DEPLOYY": "1s"}), "task 't': .*DEPLOYY"),
        (task("sleep {{ 1 + }}", mode="basic"), "task 't': "),
        ("sleep 1", r"'t' is 'sleep 1', which is no task\s+next: write libecs.task"),
    ],
)
def test_what_no_task_can_be_told_is_a_usage_error_that_names_the_task(described: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        workflow("lab", {"t": described})


def test_expressions_stay_whole_when_a_command_is_split() -> None:
    described = task("take -o {{ run_dir }}/raw.dat '{{ a }} b' {{ x == \"it's\" ? 'a' : 'b' }} c", mode="basic")

    assert described.argv == (
        "take",
        "-o",
        "{{ run_dir }}/raw.dat",
        "{{ a }} b",
        "{{ x == \"it's\" ? 'a' : 'b' }}",
        "c",
    )


def test_quote_that_is_not_closed_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no closing quotation"):
        task("sleep 'x")


def test_one_predecessor_needs_no_list() -> None:
    lab = workflow("lab", tasks={"hv": task("x"), "daq": task("y", start_after="hv")})

    assert lab.tasks["daq"].start_after == ("hv",)


@pytest.mark.parametrize(("name", "tasks"), [("lab", {}), ("a/b", {"x": None}), ("lab", {"x.y": None}), ("", {"x": 1})])
def test_wrong_workflow_is_a_usage_error(name: str, tasks: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        workflow(name, tasks)


def lab(folder: str | None = None) -> ScriptWorkflow:
    tasks = {"hv": task("python3 hv.py", properties={"volts": 1, "step": 5}), "daq": task("x", mode="basic")}
    return workflow("cosmics", tasks, folder=folder)


def template(described: ScriptWorkflow, name: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(described.files()[f"tasks/{name}.yaml"])
    return said


def test_vars_with_a_dot_are_properties_of_a_task_and_the_others_variables() -> None:
    properties, variables = lab().split({"hv.volts": 1450, "cosmics.hv.a.b": "x", "comment": "night"})

    assert variables == {"comment": "night"}
    assert template(lab().with_properties(properties), "hv")["properties"] == {"volts": "1450", "step": "5", "a.b": "x"}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("hw.volts", r"no task 'hw'\s+next: did you mean hv\?"),
        ("daq.volts", "basic one and has no properties"),
        ("hv.", "names no property"),
    ],
)
def test_property_of_no_task_is_a_usage_error(key: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        lab().split({key: 1})


def test_tasks_run_in_the_folder_of_the_script_that_describes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "cell", "workflow": workflow, "task": task}
    exec("made = workflow('lab', tasks={'x': task('./x'), 'y': task('./y', cwd='sub')})", names)

    assert template(lab(), "hv")["command"]["cwd"] == str(Path(__file__).parent)
    assert template(names["made"], "x")["command"]["cwd"] == str(tmp_path)
    assert template(names["made"], "y")["command"]["cwd"] == str(tmp_path / "sub")
    assert template(lab(folder="/opt/lab"), "hv")["command"]["cwd"] == "/opt/lab"


def test_what_a_task_says_is_in_its_template() -> None:
    described = task(
        "x", mode="basic", on_exit="error", liveness=True, timeouts={"CONFIGURE": "20s"}, reconfigure="live"
    )

    said = template(workflow("lab", {"x": described}), "x")

    assert (said["on_exit"], said["liveness"], said["timeouts"], said["reconfigure"]) == (
        "error", True, {"CONFIGURE": "20s"}, "live",
    )  # fmt: skip


def test_wrong_way_to_reconfigure_and_unknown_predecessor_are_usage_errors() -> None:
    with pytest.raises(UsageError, match='write reconfigure="live"'):
        task("x", reconfigure="alive")
    with pytest.raises(UsageError, match=r"'b' is to start after 'aa': no such task\s+next: did you mean a\?"):
        workflow("lab", {"a": task("x"), "b": task("x", start_after=["aa"])})
