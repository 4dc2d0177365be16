"""New properties of a CONFIGURED environment: what changes, and what is left as it was."""

from __future__ import annotations

import attrs
import pytest

from libecs.fsm import EnvState, Mode, TaskState
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow
from tests.engine.reconfiguring import change, made, told


def test_a_live_task_is_told_what_changed_and_nothing_else() -> None:
    bench = made()

    answer = change(bench, "a", threshold="5")

    assert answer is not None
    assert (answer.code, answer.state, answer.environment) == ("", EnvState.CONFIGURED, bench.show().environment)
    assert told(bench) == [("w.a", "RECONFIGURE", {"threshold": "5"})]
    assert bench.states()[-1] == "CONFIGURED"
    begun = [event for event in bench.events if event.transition == "RECONFIGURE"]
    assert [event.kind for event in begun if "step" not in event.kind] == ["transition.begin", "transition.end"]


def test_a_task_that_is_not_live_is_reset_and_configured_with_everything_in_its_process() -> None:
    bench = made(False)
    pids = [one.pid for one in bench.show().tasks]

    answer = change(bench, "a", threshold="5")

    assert answer is not None
    assert answer.code == ""
    environment = bench.show().environment
    whole = {"environment_id": environment, "threshold": "5", "mask": "ff", "fixed": "x"}
    assert told(bench) == [("w.a", "RESET", {}), ("w.a", "CONFIGURE", whole)]
    assert [one.pid for one in bench.show().tasks] == pids
    assert {one.state for one in bench.show().tasks} == {TaskState.CONFIGURED}


def test_a_device_of_fairmq_is_never_live() -> None:
    one = workflow(task("a", mode=Mode.FAIRMQ))
    fairmq = attrs.evolve(one.classes["FAIRMQ"], properties={"x": "1"}, reconfigure="live")
    bench = Bench(attrs.evolve(one, classes={**one.classes, "FAIRMQ": fairmq}))
    bench.create()
    bench.nodes["n1"].commands.clear()

    change(bench, x="2")

    assert [event for _, event, _ in told(bench)] == ["RESET", "CONFIGURE"]


def test_a_variable_changes_all_that_is_made_of_it_for_the_chosen_tasks_only() -> None:
    bench = made()

    change(bench, "a", gain="7")

    assert told(bench) == [("w.a", "RECONFIGURE", {"threshold": "70"})]


def test_a_variable_of_the_class_can_be_changed_too() -> None:
    bench = made()

    answer = change(bench, "a", colour="blue")

    assert answer is not None
    assert answer.code == ""
    assert told(bench) == []  # nothing is made of it


def test_only_tasks_that_become_different_are_touched() -> None:
    bench = made()
    change(bench, "a", "one", threshold="5")
    bench.nodes["n1"].commands.clear()

    answer = change(bench, "**", "two", threshold="5")

    assert answer is not None
    assert answer.code == ""
    assert told(bench) == [("w.b", "RECONFIGURE", {"threshold": "5"})]


def test_values_that_are_there_already_change_nothing() -> None:
    bench = made()

    answer = change(bench, threshold="10", mask="ff")

    assert answer is not None
    assert answer.code == ""
    assert told(bench) == []


def test_a_program_has_its_new_command_at_the_next_start() -> None:
    bench = made()
    before = bench.nodes["n1"].find("w.p")

    answer = change(bench, "p", gain="9")

    assert answer is not None
    assert answer.code == ""
    one = bench.nodes["n1"]
    assert before not in one.tasks
    (now,) = [name for name in one.tasks if one.specs[name].role == "w.p"]
    assert one.specs[now].command.argv[1:] == ("--gain", "9")
    assert one.tasks[now].state is TaskState.CONFIGURED
    assert not bench.records["condemned"]
    bench.control("START_ACTIVITY")
    assert bench.state is EnvState.RUNNING


def test_a_program_whose_command_stays_is_left_alone() -> None:
    bench = made()
    before = bench.nodes["n1"].find("w.p")

    change(bench, "p", gain="1")

    assert before in bench.nodes["n1"].tasks


def test_all_kinds_of_tasks_change_in_one_plan() -> None:
    bench = made(False)

    answer = change(bench, gain="3")

    assert answer is not None
    assert answer.code == ""
    events = [(role, event) for role, event, _ in told(bench)]
    assert events == [
        ("w.a", "RESET"),
        ("w.b", "RESET"),
        ("w.a", "CONFIGURE"),
        ("w.b", "CONFIGURE"),
        ("w.p", "CONFIGURE"),
    ]


@pytest.mark.parametrize("live", [True, False])
def test_new_values_stay_after_reset_and_restart(live: bool) -> None:
    bench = made(live)
    change(bench, "a", "one", threshold="5")
    change(bench, "b", "two", gain="7")
    bench.control("RESET")
    bench.restart()
    bench.nodes["n1"].commands.clear()

    bench.control("CONFIGURE")

    told_now = {role: properties["threshold"] for role, _, properties in told(bench) if properties}
    assert told_now == {"w.a": "5", "w.b": "70"}


@pytest.mark.parametrize("live", [True, False])
def test_the_record_of_the_next_run_knows_the_new_configuration(live: bool) -> None:
    bench = made(live)
    bench.control("START_ACTIVITY")
    bench.control("STOP_ACTIVITY")
    change(bench, "a", threshold="5")
    bench.restart()
    bench.control("START_ACTIVITY")

    before, after = bench.run_info(1).configuration, bench.run_info(2).configuration
    assert {path for path in before if before[path] != after[path]} == {"w.a"}
    environment = bench.core.environments[bench.show().environment]
    from libecs.engine import payload

    for one in environment.cast.runners():
        if one.mode is Mode.DIRECT:
            assert payload.digest(payload.configuration(environment, one), one.id) == after[one.path]


def test_ten_points_keep_all_processes() -> None:
    bench = made()
    pids = [one.pid for one in bench.show().tasks]
    for point in range(10):
        answer = change(bench, "**", f"change{point}", threshold=str(100 + point))
        assert answer is not None
        assert answer.code == ""
        bench.control("START_ACTIVITY")
        bench.control("STOP_ACTIVITY")

    assert [one.pid for one in bench.show().tasks] == pids
    assert len(bench.core.runbook.runs) == 10
