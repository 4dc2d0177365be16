"""Hooks and calls at their moments, and the times of a run that they see."""

from __future__ import annotations

import pytest

from libecs.engine.effects import Call, CallDone
from libecs.fsm import EnvState, Mode
from libecs.wire.info import RunCondition
from tests.engine.bench import Bench, never
from tests.engine.flows import call, task, workflow


def fails(call: Call) -> CallDone:
    return CallDone(call=call.call, ok=False, error="no")


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
    bench = Bench(workflow(task("a"), *observers()))  # type: ignore[arg-type] # they are roles
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
