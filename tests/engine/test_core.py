"""What the core decides, with nodes that obey: plans, hooks, runs, failures, recovery."""

from __future__ import annotations

import pytest

from libecs.engine.effects import Call, CallDone, Received
from libecs.fsm import EnvState, Mode, TaskState
from libecs.wire import client, node
from libecs.wire.info import RunCondition
from tests.engine.bench import Bench
from tests.engine.flows import call, group, task, workflow


def fails(call: Call) -> CallDone:
    return CallDone(call=call.call, ok=False, error="no")


def never(call: Call) -> None:
    return None


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


@pytest.mark.parametrize(
    ("trigger", "event", "reached"),
    [
        ("before_CONFIGURE", "CONFIGURE", "DEPLOYED"),
        ("leave_DEPLOYED", "CONFIGURE", "DEPLOYED"),
        ("enter_CONFIGURED", "CONFIGURE", "CONFIGURED"),
        ("after_CONFIGURE", "CONFIGURE", "CONFIGURED"),
    ],
)
def test_a_critical_hook_fails_the_transition_in_the_state_its_moment_says(
    trigger: str, event: str, reached: str
) -> None:
    bench = Bench(workflow(task("a"), call("h", "x.Fail()", trigger)), integrations={"x.Fail": fails})

    bench.create()

    ended = [e for e in bench.events if e.kind == "transition.end" and e.transition == event]
    assert [(e.state, e.ok) for e in ended] == [(reached, False)]
    assert bench.state is EnvState.ERROR
    assert "w.h: x.Fail: no" in bench.answers["op1"].cause


@pytest.mark.parametrize("trigger", ["before_CONFIGURE", "leave_DEPLOYED", "enter_CONFIGURED", "after_CONFIGURE"])
def test_a_non_critical_hook_fails_nothing(trigger: str) -> None:
    flow = workflow(task("a"), call("h", "x.Fail()", trigger, critical=False))
    bench = Bench(flow, integrations={"x.Fail": fails})

    bench.create()

    assert bench.state is EnvState.CONFIGURED


def test_calls_of_one_moment_run_in_the_order_of_their_weights() -> None:
    flow = workflow(
        task("a"),
        call("c3", "x.Three()", "before_CONFIGURE+100"),
        call("c1", "x.One()", "before_CONFIGURE-100"),
        call("c2", "x.Two()", "before_CONFIGURE"),
    )
    bench = Bench(flow)

    bench.create()

    assert bench.called() == [
        ("x.One", "before_CONFIGURE-100"),
        ("x.Two", "before_CONFIGURE"),
        ("x.Three", "before_CONFIGURE+100"),
    ]


def test_a_critical_failure_skips_the_later_weights_of_its_moment() -> None:
    flow = workflow(
        task("a"),
        call("c1", "x.Fail()", "before_CONFIGURE"),
        call("c2", "x.Two()", "before_CONFIGURE+1"),
    )
    bench = Bench(flow, integrations={"x.Fail": fails})

    bench.create()

    assert bench.called() == [("x.Fail", "before_CONFIGURE")]


def test_after_hooks_of_both_halves_run_and_their_errors_are_joined() -> None:
    flow = workflow(
        task("a"),
        call("c1", "x.Fail()", "after_CONFIGURE-1"),
        call("c2", "x.Fail()", "after_CONFIGURE+1"),
    )
    bench = Bench(flow, integrations={"x.Fail": fails})

    bench.create()

    assert set(bench.answers["op1"].failures) == {"w.c1", "w.c2"}


def test_after_hooks_do_not_run_when_the_tasks_fail() -> None:
    bench = Bench(workflow(task("a"), call("c", "x.After()", "after_CONFIGURE")))
    bench.nodes["n1"].refuse["w.a", "CONFIGURE"] = "no such card"

    bench.create()

    assert bench.called() == []
    assert bench.state is EnvState.ERROR
    assert bench.answers["op1"].cause == "CONFIGURE failed: w.a: on node n1 no such card"


@pytest.mark.parametrize("await_", ["after_CONFIGURE", "before_RESET"])
def test_an_await_may_come_later_and_even_in_another_transition(await_: str) -> None:
    held: list[Call] = []

    def hold(call: Call) -> None:
        held.append(call)

    bench = Bench(workflow(task("a"), call("c", "x.Slow()", "before_CONFIGURE", await_)), integrations={"x.Slow": hold})
    bench.create()
    if await_ == "before_RESET":
        assert bench.state is EnvState.CONFIGURED
        bench.control("RESET")
        assert bench.show().transition == "RESET"
    else:
        assert bench.show().transition == "CONFIGURE"

    bench.queue.append(CallDone(call=held[0].call, ok=True))
    bench.run()

    assert bench.show().transition == ""


def test_a_call_whose_await_never_comes_is_cancelled_at_the_end() -> None:
    flow = workflow(task("a"), call("c", "x.Slow()", "before_CONFIGURE", "after_NOTHING"))
    bench = Bench(flow, integrations={"x.Slow": never})
    bench.create()
    assert bench.state is EnvState.CONFIGURED

    bench.destroy()

    assert len(bench.cancelled) == 1
    assert bench.core.environments == {}


def test_a_call_that_never_ends_fails_after_its_timeout() -> None:
    flow = workflow(task("a"), call("c", "x.Slow()", "before_CONFIGURE", timeout=5))
    bench = Bench(flow, integrations={"x.Slow": never})
    bench.create()

    bench.wait(10)

    assert bench.state is EnvState.ERROR
    assert "no answer within 5 s" in bench.answers["op1"].cause


def stamps(bench: Bench) -> dict[str, list[str]]:
    """Return, by call role, which of the four run times had a value when it was called."""
    seen: dict[str, list[str]] = {}
    for one in bench.calls:
        names = [
            name.removeprefix("run_").removesuffix("_time_ms")
            for name in (
                "run_start_time_ms",
                "run_start_completion_time_ms",
                "run_end_time_ms",
                "run_end_completion_time_ms",
            )
            if one.variables.get(name)
        ]
        seen.setdefault(one.role, []).append(",".join(names))
    return seen


def observers() -> list[object]:
    return [
        call(f"{event}{sign}".replace("-", "m").replace("+", "p"), "x.See()", f"{event}{sign}")
        for event in (
            "before_START_ACTIVITY",
            "after_START_ACTIVITY",
            "before_STOP_ACTIVITY",
            "after_STOP_ACTIVITY",
        )
        for sign in ("-1", "+0")
    ]


def test_hooks_see_run_times_from_the_moment_they_are_set() -> None:
    bench = Bench(workflow(task("a"), *observers()))  # type: ignore[arg-type]
    bench.create()
    bench.control("START_ACTIVITY")
    bench.control("STOP_ACTIVITY")
    bench.control("START_ACTIVITY")

    seen = stamps(bench)
    assert seen["w.before_START_ACTIVITYm1"] == ["", "start,start_completion,end,end_completion"]
    assert seen["w.before_START_ACTIVITYp0"] == ["start", "start"]
    assert seen["w.after_START_ACTIVITYm1"][0] == "start"
    assert seen["w.after_START_ACTIVITYp0"][0] == "start,start_completion"
    assert seen["w.before_STOP_ACTIVITYm1"] == ["start,start_completion"]
    assert seen["w.before_STOP_ACTIVITYp0"] == ["start,start_completion,end"]
    assert seen["w.after_STOP_ACTIVITYm1"] == ["start,start_completion,end"]
    assert seen["w.after_STOP_ACTIVITYp0"] == ["start,start_completion,end,end_completion"]


def test_hooks_of_the_end_still_see_the_run_number() -> None:
    bench = Bench(workflow(task("a"), call("c", "x.See()", "after_STOP_ACTIVITY+100")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.control("STOP_ACTIVITY")

    (seen,) = bench.calls
    assert seen.run_number == 1
    assert bench.show().run_number == 0
    assert bench.show().last_run_number == 1


def test_a_failed_start_has_a_start_and_both_ends_but_no_start_completion() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.nodes["n1"].refuse["w.a", "START"] = "no beam"

    answer = bench.control("START_ACTIVITY")

    assert answer is not None
    assert answer.code == "E_TRANSITION"
    run = bench.core.runbook.runs[1]
    assert run.start_ms
    assert run.end_ms
    assert run.end_completion_ms
    assert not run.start_completion_ms
    assert (run.condition, run.end_reason) == (RunCondition.FAILED, "ERROR")


def test_a_failed_stop_ends_the_run_once() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.nodes["n1"].refuse["w.a", "STOP"] = "stuck"

    bench.control("STOP_ACTIVITY")

    ends = [event for event in bench.events if event.kind == "run.end"]
    assert len(ends) == 1
    run = bench.core.runbook.runs[1]
    assert run.end_ms <= run.end_completion_ms


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


def test_hook_tasks_run_at_their_moment_and_leave_nothing() -> None:
    bench = Bench(workflow(task("a"), task("h", mode=Mode.BASIC, trigger="before_CONFIGURE")))
    bench.create()

    assert bench.nodes["n1"].hooks_run == ["w.h"]
    assert not bench.records["condemned"]
    assert bench.state is EnvState.CONFIGURED


def test_a_critical_hook_task_that_fails_fails_the_transition() -> None:
    bench = Bench(workflow(task("a"), task("h", mode=Mode.BASIC, trigger="before_CONFIGURE")))
    bench.nodes["n1"].refuse["w.h", "hook"] = "exited with code 3"

    bench.create()

    assert bench.answers["op1"].cause == "CONFIGURE failed: w.h: hook on node n1 exited with code 3"


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
