"""Workflows written in scripts become the templates that a repository would hold."""

from __future__ import annotations

from itertools import count

import pytest

from libecs.config.tree import Tree
from libecs.errors import UsageError
from libecs.fsm import Mode
from libecs.script import task, workflow
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
def test_wrong_task_is_a_usage_error(arguments, options) -> None:
    with pytest.raises(UsageError):
        task(*arguments, **options)


@pytest.mark.parametrize(("name", "tasks"), [("lab", {}), ("a/b", {"x": None}), ("lab", {"x.y": None}), ("", {"x": 1})])
def test_wrong_workflow_is_a_usage_error(name, tasks) -> None:
    with pytest.raises(UsageError):
        workflow(name, tasks)
