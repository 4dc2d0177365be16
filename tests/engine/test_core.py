"""What a core decides: the life of an environment, who may ask for what, what it makes of its tasks and nodes."""

from __future__ import annotations

import pytest

from libecs.engine.effects import Call, CallDone, Received
from libecs.fsm import EnvState, TaskState
from libecs.wire import client, node
from libecs.wire.info import RunCondition
from tests.engine.bench import Bench, never
from tests.engine.flows import call, group, task, workflow


def test_an_environment_goes_through_its_whole_life() -> None:
    bench = Bench(workflow(task("a"), task("b"), group("g"), task("g.c", critical=False)))

    bench.create()
    assert bench.state is EnvState.CONFIGURED
    started = bench.control("START_ACTIVITY")
    assert started is not None
    assert (started.code, started.run_number) == ("", 1)
    bench.control("STOP_ACTIVITY")
    bench.control("RESET")
    done = bench.destroy()

    assert done is not None
    assert done.code == ""
    assert bench.states() == ["STANDBY", "DEPLOYED", "CONFIGURED", "RUNNING", "CONFIGURED", "DEPLOYED", "DONE"]
    assert bench.core.environments == {}
    assert bench.nodes["n1"].tasks == {}
    assert not bench.records["environment"]
    assert not bench.records["condemned"]


def test_events_are_numbered_without_gaps() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.restart()
    bench.control("STOP_ACTIVITY")

    assert [event.sequence for event in bench.events] == list(range(1, len(bench.events) + 1))


def test_a_critical_task_that_dies_takes_the_run_with_it_and_is_named() -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()
    bench.control("START_ACTIVITY")

    bench.kill("w.b", signal=9, log="disk full")

    info = bench.show()
    assert info.state is EnvState.ERROR
    assert info.cause == "critical task w.b on node n1 killed by signal 9; last log: disk full"
    assert bench.core.runbook.runs[1].condition is RunCondition.FAILED


def test_a_critical_task_that_leaves_with_code_0_is_missed_too() -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()

    bench.kill("w.b", code=0)

    assert bench.state is EnvState.ERROR
    assert "exited with code 0" in bench.show().cause


def test_a_non_critical_task_that_dies_degrades_the_run_only() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False)))
    bench.create()
    bench.control("START_ACTIVITY")

    bench.kill("w.b", signal=9)
    stopped = bench.control("STOP_ACTIVITY")

    assert stopped is not None
    assert stopped.code == ""
    assert bench.core.runbook.runs[1].condition is RunCondition.DEGRADED


def test_recover_brings_an_environment_back_and_a_new_run_works() -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()
    bench.control("START_ACTIVITY")
    before = bench.nodes["n1"].find("w.a")
    bench.kill("w.b", signal=9)

    recovered = bench.control("RECOVER")

    assert recovered is not None
    assert (recovered.code, recovered.state) == ("", EnvState.DEPLOYED)
    assert bench.show().cause == ""
    assert before in bench.nodes["n1"].tasks  # the living one is kept
    bench.control("CONFIGURE")
    again = bench.control("START_ACTIVITY")
    assert again is not None
    assert (again.code, again.run_number) == ("", 2)


def test_recover_waits_for_a_node_of_which_something_did_not_arrive() -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()
    bench.kill("w.b", signal=9)
    one = bench.nodes["n1"]
    one.sequence += 1  # a message that is lost
    bench.queue.append(Received("n1", one.update(one.find("w.a"))))
    one.commands.clear()

    assert bench.control("RECOVER") is None
    assert bench.show().step == "await nodes"
    assert one.commands == []

    held = tuple(
        node.Held(status=status, environment=spec.environment, role=spec.role, class_name=spec.class_name)
        for status, spec in ((one.tasks[name], one.specs[name]) for name in one.tasks)
    )
    bench.queue.append(Received("n1", node.Announce(session=one.session, sequence=one.sequence, tasks=held)))
    bench.run()

    assert bench.show().state is EnvState.DEPLOYED
    assert [transit.event.name for transit in one.commands] == ["RESET"]


def test_destroying_a_running_environment_needs_to_be_allowed() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")

    refused = bench.destroy()

    assert refused is not None
    assert refused.code == "E_STATE"
    assert bench.state is EnvState.RUNNING
    done = bench.destroy(allow_running=True)
    assert done is not None
    assert done.code == ""
    assert bench.states()[-3:] == ["CONFIGURED", "DEPLOYED", "DONE"]


def test_destroying_by_force_ends_the_run_in_its_record() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")

    bench.destroy(force=True)

    run = bench.core.runbook.runs[1]
    assert run.end_ms
    assert run.end_completion_ms
    assert run.end_reason == "DESTROYED"


def test_ending_a_healthy_environment_visits_the_moments_of_exit() -> None:
    names = ["before_EXIT", "before_DESTROY", "leave_DEPLOYED", "DESTROY", "enter_DONE", "after_DESTROY", "after_EXIT"]
    bench = Bench(workflow(task("a"), *(call(f"c{i}", "x.Y()", name) for i, name in enumerate(names))))
    bench.create(target=EnvState.DEPLOYED)

    bench.destroy()

    assert [moment for _, moment in bench.called()] == names


def test_the_same_operation_twice_has_one_effect_and_the_same_answer() -> None:

    bench = Bench(workflow(task("a")))
    environment = bench.create()
    message = client.Control(operation="once", environment=environment, event="START_ACTIVITY")
    for _ in range(3):
        bench.queue.append(Received("client", message))
    bench.run()
    bench.restart()
    bench.answers.clear()
    bench.queue.append(Received("client", message))
    bench.run()

    assert bench.answers["once"].run_number == 1
    assert len(bench.nodes["n1"].commands) == 2
    assert list(bench.core.runbook.runs) == [1]


@pytest.mark.parametrize(
    ("event", "code"),
    [("START_ACTIVITY", "E_STATE"), ("GO_ERROR", "E_USAGE"), ("JUMP", "E_USAGE"), ("EXIT", "E_USAGE")],
)
def test_what_is_not_possible_is_refused_and_changes_nothing(event: str, code: str) -> None:
    bench = Bench(workflow(task("a")))
    bench.create(target=EnvState.DEPLOYED)

    answer = bench.control(event)

    assert answer is not None
    assert answer.code == code
    assert bench.state is EnvState.DEPLOYED


def test_a_second_operation_while_one_goes_on_is_a_conflict() -> None:
    flow = workflow(task("a"), call("c", "x.Slow()", "before_START_ACTIVITY"))
    bench = Bench(flow, integrations={"x.Slow": never})
    bench.create()
    bench.control("START_ACTIVITY")

    answer = bench.control("RESET")

    assert answer is not None
    assert answer.code == "E_CONFLICT"
    assert (
        "START_ACTIVITY (before_START_ACTIVITY: await 1 call) is in progress, by the owner since 2023-"
        in answer.message
    )


def test_a_silent_node_is_suspect_then_lost_and_never_shown_as_healthy() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.nodes["n1"].silent = True

    bench.wait(2.0)
    assert bench.show().tasks[0].phase.name == "SUSPECT"
    bench.wait(1.0)

    info = bench.show()
    assert info.tasks[0].state.name == "UNKNOWN"
    assert info.state is EnvState.RUNNING  # I don't know is not failed either
    assert info.tasks[0].age_ms >= 2500
    bench.nodes["n1"].silent = False
    bench.wait(1.0)
    assert bench.show().tasks[0].state.name == "RUNNING"


def test_a_node_that_never_answers_fails_the_transition_by_name() -> None:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.create()
    bench.nodes["n2"].silent = True

    bench.control("START_ACTIVITY")
    bench.wait(45.0)

    assert bench.state is EnvState.ERROR
    assert "w.b: on node n2 the node does not answer" in bench.show().cause


def test_an_unplaceable_workflow_says_why_for_each_task() -> None:
    bench = Bench(workflow(task("a", node="elsewhere")))

    bench.create()

    answer = bench.answers["op1"]
    assert answer.code == "E_TRANSITION"
    assert "no node with machine_id = elsewhere (n1: machine_id is n1, not elsewhere)" in answer.failures["w.a"]


def test_tasks_start_in_the_order_they_ask_for_and_stop_in_reverse() -> None:
    bench = Bench(workflow(task("daq", start_after=("w.hv",)), task("hv")))
    bench.create()
    one = bench.nodes["n1"]
    one.commands.clear()
    bench.control("START_ACTIVITY")
    bench.control("STOP_ACTIVITY")

    order = [(one.specs[name].role, message.event.name) for message in one.commands for name in message.tasks]
    assert order == [("w.hv", "START"), ("w.daq", "START"), ("w.daq", "STOP"), ("w.hv", "STOP")]


def test_tasks_that_wait_for_one_that_does_not_start_are_not_told() -> None:
    bench = Bench(workflow(task("daq", start_after=("w.hv",)), task("hv")))
    bench.create()
    one = bench.nodes["n1"]
    one.commands.clear()
    one.refuse["w.hv", "START"] = "interlock"
    bench.control("START_ACTIVITY")

    assert bench.state is EnvState.ERROR
    assert [(one.specs[name].role, told.event.name) for told in one.commands for name in told.tasks] == [
        ("w.hv", "START")
    ]


def test_a_run_that_fails_stops_its_tasks_in_reverse_too() -> None:
    bench = Bench(workflow(task("daq", start_after=("w.hv",)), task("hv"), task("x", start_after=("w.daq",))))
    bench.create()
    bench.control("START_ACTIVITY")
    one = bench.nodes["n1"]
    one.commands.clear()
    bench.kill("w.x", signal=9)

    assert [(one.specs[name].role, told.event.name) for told in one.commands for name in told.tasks] == [
        ("w.daq", "STOP"),
        ("w.hv", "STOP"),
    ]


def test_a_count_of_starts_that_a_hook_has_spoiled_counts_from_zero() -> None:
    def spoil(call: Call) -> CallDone:
        return CallDone(call=call.call, ok=True, sets={"__fmq_cleanup_count": "many"})

    flow = workflow(task("a"), call("spoil", "test.Spoil()", trigger="before_START_ACTIVITY-1"))
    bench = Bench(flow, integrations={"test.Spoil": spoil})
    bench.create()

    started = bench.control("START_ACTIVITY")

    assert started is not None
    assert started.code == ""
    assert bench.show().run_number == 1


@pytest.mark.parametrize("state", [TaskState.STANDBY, TaskState.UNKNOWN])
def test_a_task_that_was_taken_elsewhere_after_its_command_has_not_arrived(state: TaskState) -> None:
    bench = Bench(workflow(task("a")))
    bench.create(target=EnvState.DEPLOYED)
    one = bench.nodes["n1"]
    one.deaf = True
    bench.control("CONFIGURE")
    order = one.heard[-1]
    one.sequence += 1

    answer = node.Answer(session=one.session, sequence=one.sequence, id=order.id, state=state, done=order.tasks)
    bench.queue.append(Received("n1", answer))
    bench.run()

    if state is TaskState.UNKNOWN:
        assert bench.show().transition == "CONFIGURE"  # nobody knows yet
    else:
        assert bench.show().state is EnvState.ERROR
        assert "went through CONFIGURE and is STANDBY since" in bench.show().cause
