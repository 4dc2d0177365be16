"""Runs that stop by themselves: their time is over, or their data are."""

from __future__ import annotations

import pytest

from libecs.engine.effects import Call, CallDone, Received
from libecs.fsm import EnvState, Mode, TaskState
from libecs.wire.node import Exit, ExitCause, Phase
from tests.engine.bench import Bench
from tests.engine.flows import call, task, workflow

TIMED = {"auto_stop_enabled": "true", "auto_stop_timeout": "10s"}


def test_a_run_stops_when_its_time_is_over() -> None:
    bench = Bench(workflow(task("a"), variables=TIMED))
    bench.create()
    bench.control("START_ACTIVITY")

    bench.wait(9.0)
    assert bench.state.name == "RUNNING"
    bench.wait(1.5)

    assert bench.state.name == "CONFIGURED"
    assert bench.run_info(1).end_reason == "TIMER"
    assert bench.show().requester == "TIMER"
    bench.wait(30.0)
    assert bench.states()[-1] == "CONFIGURED"


@pytest.mark.parametrize("enabled", ["false", "", "True", "yes"])
def test_only_the_word_true_arms_the_timer(enabled: str) -> None:
    bench = Bench(workflow(task("a"), variables={"auto_stop_enabled": enabled, "auto_stop_timeout": "1s"}))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.wait(5.0)

    assert bench.state.name == "RUNNING"


def test_the_end_of_a_run_holds_for_the_next_life_of_the_core() -> None:
    bench = Bench(workflow(task("a"), variables=TIMED))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.wait(4.0)

    bench.restart()
    bench.wait(5.0)
    assert bench.state.name == "RUNNING"
    bench.wait(1.5)

    assert bench.state.name == "CONFIGURED"
    assert bench.run_info(1).end_reason == "TIMER"


def test_a_core_that_was_away_at_the_end_of_a_run_stops_it_when_it_is_back() -> None:
    bench = Bench(workflow(task("a"), variables=TIMED))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.mono += 60.0
    bench.unix += 60_000

    bench.restart()
    bench.run()

    assert bench.state.name == "CONFIGURED"
    assert bench.run_info(1).end_reason == "TIMER"


def test_a_stop_by_somebody_else_ends_the_timer() -> None:
    bench = Bench(workflow(task("a"), variables=TIMED))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.wait(8.0)
    bench.control("STOP_ACTIVITY")
    bench.control("START_ACTIVITY")
    bench.wait(8.0)

    assert bench.state.name == "RUNNING"
    assert bench.run_info(1).end_reason == "STOPPED"
    bench.wait(3.0)
    assert bench.run_info(2).end_reason == "TIMER"


def test_the_timer_waits_for_a_start_that_goes_on_and_does_not_spin() -> None:
    held: list[Call] = []
    flow = workflow(task("a"), call("c", "x.Slow()", "after_START_ACTIVITY+1", timeout=60), variables=TIMED)
    bench = Bench(flow, integrations={"x.Slow": lambda one: held.append(one)})
    bench.create()
    bench.control("START_ACTIVITY")
    bench.wait(20.0)
    due = bench.core.next_deadline
    assert due is not None
    assert due > bench.mono - 1.0
    assert bench.state.name == "RUNNING"

    bench.queue.append(CallDone(call=held[0].call, ok=True))
    bench.run()

    assert bench.state.name == "CONFIGURED"


@pytest.mark.parametrize(("timeout", "word"), [("soon", "soon"), ("10", "10"), ("", "not a duration")])
def test_a_bad_duration_is_found_before_the_run_begins(timeout: str, word: str) -> None:
    bench = Bench(workflow(task("a"), variables={**TIMED, "auto_stop_timeout": timeout}))
    bench.create()

    answer = bench.control("START_ACTIVITY")

    assert answer is not None
    assert answer.code == "E_INVALID"
    assert "auto_stop_timeout" in answer.message
    assert word in answer.message
    assert bench.state.name == "CONFIGURED"
    assert bench.core.runbook.runs == {}


def test_a_run_that_may_last_for_ages_does() -> None:
    bench = Bench(workflow(task("a"), variables={**TIMED, "auto_stop_timeout": "9" * 40 + "h"}))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.restart()
    bench.wait(5.0)

    assert bench.state.name == "RUNNING"


def test_a_bad_duration_that_nobody_asked_about_takes_no_number() -> None:
    bench = Bench(workflow(task("a"), variables={**TIMED, "auto_stop_timeout": "soon"}))
    bench.create(target=EnvState.RUNNING)

    assert bench.state.name == "ERROR"
    assert "auto_stop_timeout" in bench.answers["op1"].cause
    assert bench.numbers == {}


def test_a_duration_that_a_hook_spoils_after_the_start_was_accepted_fails_the_start() -> None:
    def spoil(one: Call) -> CallDone:
        return CallDone(call=one.call, ok=True, sets={"auto_stop_timeout": "soon"})

    flow = workflow(task("a"), call("c", "x.Spoil()", "before_START_ACTIVITY+1"), variables=TIMED)
    bench = Bench(flow, integrations={"x.Spoil": spoil})
    bench.create()
    bench.control("START_ACTIVITY")

    assert bench.state.name == "ERROR"
    assert "auto_stop_timeout" in bench.show().cause


def test_a_stop_by_itself_that_fails_goes_to_error_as_any() -> None:
    bench = Bench(workflow(task("a"), variables=TIMED))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.nodes["n1"].refuse["w.a", "STOP"] = "stuck"
    bench.wait(12.0)

    assert bench.state.name == "ERROR"
    assert bench.run_info(1).end_reason == "ERROR"


# the end of the stream


def test_a_run_ends_with_its_stream_and_the_next_one_does_not_end_with_it() -> None:
    bench = Bench(workflow(task("a"), task("b")))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.change("w.a", end_of_stream=True)

    assert bench.state.name == "CONFIGURED"
    run = bench.run_info(1)
    assert (run.end_reason, bench.show().requester) == ("END_OF_STREAM", "TASKS")
    (said,) = [one for one in bench.events if one.kind == "task.end_of_stream"]
    assert (said.role, said.run_number) == ("w.a", 1)
    bench.control("START_ACTIVITY")
    assert bench.state.name == "RUNNING"
    assert not any(one.end_of_stream for one in bench.show().tasks)


def test_an_environment_of_programs_ends_when_all_have_ended() -> None:
    bench = Bench(workflow(task("a", mode=Mode.BASIC), task("b", mode=Mode.BASIC)))
    bench.create()
    bench.control("START_ACTIVITY")

    bench.change("w.a", end_of_stream=True, pid=0, exit=Exit(cause=ExitCause.EXITED))
    assert bench.state.name == "RUNNING"
    bench.change("w.b", end_of_stream=True, pid=0, exit=Exit(cause=ExitCause.EXITED))

    assert bench.state.name == "CONFIGURED"
    assert bench.run_info(1).end_reason == "END_OF_STREAM"


def test_a_program_that_fails_is_an_error_and_no_end_of_a_stream() -> None:
    bench = Bench(workflow(task("a", mode=Mode.BASIC), task("b", mode=Mode.BASIC)))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.change("w.a", end_of_stream=True)
    bench.change("w.b", end_of_stream=True, state=TaskState.ERROR, exit=Exit(cause=ExitCause.EXITED, code=1))

    assert bench.state.name == "ERROR"


def test_a_dead_task_that_is_not_critical_is_not_waited_for() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False)))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.kill("w.b", signal=9)
    bench.change("w.a", end_of_stream=True)

    assert bench.state.name == "CONFIGURED"


def test_a_task_that_is_unknown_is_waited_for() -> None:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.nodes["n2"].silent = True
    bench.wait(4.0)
    bench.change("w.a", end_of_stream=True)
    assert bench.state.name == "RUNNING"

    bench.nodes["n2"].silent = False
    bench.wait(2.0)

    assert bench.state.name == "CONFIGURED"


def test_a_stream_that_ends_while_the_run_starts_ends_it_afterwards() -> None:
    held: list[Call] = []
    flow = workflow(task("a"), call("c", "x.Slow()", "after_START_ACTIVITY"))
    bench = Bench(flow, integrations={"x.Slow": lambda one: held.append(one)})
    bench.create()
    bench.control("START_ACTIVITY")
    bench.change("w.a", end_of_stream=True)
    assert bench.state.name == "RUNNING"

    bench.queue.append(CallDone(call=held[0].call, ok=True))
    bench.run()

    assert bench.state.name == "CONFIGURED"
    assert bench.answers["op2"].run_number == 1


def test_a_stream_that_ended_while_the_core_was_away_ends_the_run() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False)))
    bench.create()
    bench.control("START_ACTIVITY")
    one = bench.nodes["n1"]
    one.silent = True
    bench.change("w.a", phase=Phase.ACTIVE)
    name = one.find("w.a")
    one.tasks[name] = type(one.tasks[name])(task=name, phase=Phase.ACTIVE, state=TaskState.RUNNING, end_of_stream=True)
    one.silent = False

    bench.restart()

    assert bench.state.name == "CONFIGURED"
    assert bench.run_info(1).end_reason == "END_OF_STREAM"


def test_a_task_that_nobody_has_told_of_since_the_core_is_back_is_waited_for() -> None:
    flow = workflow(task("a", node="n1"), task("b", node="n2", critical=False))
    bench = Bench(flow, nodes=("n1", "n2"))
    bench.create()
    bench.control("START_ACTIVITY")
    bench.nodes["n1"].silent = bench.nodes["n2"].silent = True
    bench.restart()
    bench.nodes["n1"].silent = False
    bench.queue.append(Received("n1", bench.nodes["n1"].hello()))
    bench.run()

    bench.change("w.a", end_of_stream=True)
    assert bench.show().transition == ""
    bench.nodes["n2"].silent = False
    bench.queue.append(Received("n2", bench.nodes["n2"].hello()))
    bench.run()

    assert bench.state.name == "CONFIGURED"
    assert bench.run_info(1).end_reason == "END_OF_STREAM"


def test_a_task_told_anything_else_ends_no_run() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    bench.change("w.a", end_of_stream=True)
    bench.control("START_ACTIVITY")

    assert bench.state.name == "RUNNING"
