"""Tasks that somebody else starts: taken, followed and let go, never killed."""

from __future__ import annotations

import attrs
import pytest

from libecs.engine.effects import Close, Connected, Disconnected, Forget, Open, Resume, Signal, Spawn
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import Phase
from tests.engine.rig import Rig, kill, last_status, result, spec


def attach(rig: Rig, state: TaskState = TaskState.STANDBY, mode: Mode = Mode.DIRECT) -> None:
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(mode, attached=True, endpoint="tcp://pi:47100"),)))
    rig.welcome(mode, state=state)


def follow(rig: Rig, *states: TaskState) -> list[str]:
    """Do what the task is told, one event after the other; return the events."""
    events = []
    for state in states:
        (told,) = rig.took(task.Transition)
        events.append(TaskEvent(told.event).name)
        sequence = rig.engine.tasks["t"].sequence + 1
        rig.task(task.StateChanged(state=state, sequence=sequence))
        rig.task(result(told.id, told.event, state, sequence=sequence))
    return events


@pytest.mark.parametrize(
    ("found", "walk"),
    [
        (TaskState.STANDBY, []),
        (TaskState.CONFIGURED, ["RESET"]),
        (TaskState.RUNNING, ["STOP", "RESET"]),
        (TaskState.ERROR, ["RECOVER"]),
    ],
)
def test_an_attached_task_is_brought_to_standby_wherever_it_was(found: TaskState, walk: list[str]) -> None:
    rig = Rig()
    attach(rig, found)
    states = [TaskState.CONFIGURED, TaskState.STANDBY] if found is TaskState.RUNNING else [TaskState.STANDBY]

    assert follow(rig, *states[: len(walk)]) == walk

    status = last_status(rig)
    assert (status.phase, status.state, status.error) == (Phase.ACTIVE, TaskState.STANDBY, "")
    assert not [one for one in rig.out if isinstance(one, (Spawn, Signal))]


def test_an_attached_task_that_cannot_be_brought_to_standby_says_why() -> None:
    rig = Rig()
    attach(rig, TaskState.CONFIGURED)
    (told,) = rig.took(task.Transition)

    rig.task(result(told.id, told.event, TaskState.CONFIGURED, ok=False, sequence=1, error="the valve is stuck"))

    status = last_status(rig)
    assert (status.phase, status.state) == (Phase.SUSPECT, TaskState.ERROR)
    assert (
        status.error == "was CONFIGURED when it was attached, and could not be brought to STANDBY: the valve is stuck"
    )


def test_an_attached_task_that_is_not_there_is_waited_for_and_then_named() -> None:
    rig = Rig()
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(attached=True, endpoint="tcp://pi:47100", start_s=5.0),)))

    rig.wait(6.0)

    assert last_status(rig).error == "was not ready within 5 s of its launch: nobody answers at tcp://pi:47100"


@pytest.mark.parametrize("endpoint", ["pi:47100", "tcp://pi", "tcp://pi:x", "udp://pi:1", "tcp://a b:1", "ipc://"])
def test_an_endpoint_that_is_none_is_told_at_once(endpoint: str) -> None:
    rig = Rig()
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(attached=True, endpoint=endpoint),)))

    assert [one for one in rig.out if isinstance(one, Open)] == []
    assert last_status(rig).error == f"{endpoint!r} is no endpoint: write tcp://host:port"
    kill(rig)
    assert rig.took(node.Answer)[0].done == ("t",)


def test_an_attached_task_is_let_go_in_standby_and_never_killed() -> None:
    rig = Rig()
    attach(rig)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    rig.out.clear()
    kill(rig)

    assert follow(rig, TaskState.CONFIGURED, TaskState.STANDBY) == ["STOP", "RESET"]
    rig.out += []

    assert rig.engine.tasks == {}
    assert "t" not in rig.records["task"]


def test_letting_go_of_an_attached_task_that_does_not_answer_sends_no_signal() -> None:
    rig = Rig()
    attach(rig)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    kill(rig)

    rig.wait(30.0)

    assert [type(one) for one in rig.out if isinstance(one, (Close, Signal, Forget))] == [Close]
    assert rig.took(node.Answer)[0].done == ("t",)


def test_an_attached_task_on_its_way_to_standby_is_let_go_there() -> None:
    rig = Rig()
    attach(rig, TaskState.RUNNING)
    kill(rig)

    assert follow(rig, TaskState.CONFIGURED, TaskState.STANDBY) == ["STOP", "RESET"]

    assert rig.engine.tasks == {}


def test_a_lost_link_is_suspect_at_once_and_costs_the_run_after_ten_seconds() -> None:
    rig = Rig()
    attach(rig)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    rig.put(Disconnected("t"))
    rig.put(Resume())
    status = last_status(rig)
    assert (status.phase, status.state, status.stalled) == (Phase.SUSPECT, TaskState.RUNNING, True)
    assert status.error == "its link to tcp://pi:47100 is lost"

    rig.wait(9.0)
    assert rig.engine.tasks["t"].state is TaskState.RUNNING
    rig.wait(2.0)

    (status,) = [one for update in rig.took(node.Update) for one in update.tasks if one.state is TaskState.ERROR]
    assert status.error == "link lost: nothing heard from tcp://pi:47100 for 10 s"

    rig.put(Connected("t"))
    rig.welcome(state=TaskState.RUNNING, sequence=2)

    status = last_status(rig)
    assert (status.phase, status.state, status.stalled) == (Phase.ACTIVE, TaskState.RUNNING, False)


def test_a_dead_link_that_does_not_know_it_is_dialled_anew() -> None:
    rig = Rig()
    attach(rig)
    rig.out.clear()

    rig.wait(21.0)

    assert [type(one) for one in rig.out if isinstance(one, (Close, Open))] == [Close, Open, Close, Open]
    assert rig.engine.tasks["t"].state is TaskState.STANDBY


def test_an_attached_process_that_was_started_anew_is_broken_until_it_is_recovered() -> None:
    rig = Rig()
    attach(rig)
    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=5))
    rig.put(Disconnected("t"))
    rig.put(Connected("t"))
    rig.task(task.Welcome(version=1, machine=task.Machine.OCC, state=TaskState.STANDBY, sequence=1, pid=78, task=""))
    status = last_status(rig)
    assert status.state is TaskState.ERROR
    assert status.error == "was started anew by somebody while it was CONFIGURED (pid 77, now 78)"

    rig.transit(TaskEvent.RECOVER, id="r1")

    (answer,) = rig.took(node.Answer)
    assert (answer.done, answer.state) == (("t",), TaskState.STANDBY)
    assert rig.engine.tasks["t"].state is TaskState.STANDBY


def test_an_attached_task_is_taken_from_who_held_it_before_but_not_from_who_takes_it_later() -> None:
    rig = Rig()
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(attached=True, endpoint="tcp://pi:47100"),)))
    rig.out.clear()
    rig.task(task.Refused(reason=task.Refusal.CONFLICT, holder="n1/9", epoch=41))
    assert [hello.epoch for hello in rig.took(task.Hello)] == [42]
    rig.welcome()
    rig.out.clear()

    rig.task(task.Refused(reason=task.Refusal.SUPERSEDED, holder="other", epoch=43))
    rig.task(task.Refused(reason=task.Refusal.STALE, holder="other", epoch=43))

    assert rig.took(task.Hello) == []
    assert rig.engine.tasks["t"].error == "is controlled by other (STALE)"


def test_one_process_is_not_attached_twice_but_taken_over_from_who_lets_it_go() -> None:
    rig = Rig()
    attach(rig)
    rig.out.clear()
    second = spec(task="t2", attached=True, endpoint="tcp://pi:47100", environment="e2", role="other")

    rig.core(node.Launch(session=9, epoch=5, tasks=(second,)))
    assert last_status(rig).error == "tcp://pi:47100 is controlled already, as w.t of environment e"

    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=2))
    kill(rig)
    rig.core(node.Launch(session=9, epoch=5, tasks=(attrs.evolve(second, task="t3"),)))

    opened = [(type(one), one.task) for one in rig.out if isinstance(one, (Close, Open))]
    assert opened == [(Close, "t"), (Open, "t3")]


@pytest.mark.parametrize("begun", [True, False])
def test_an_attached_task_is_dialled_by_the_next_life_and_left_as_it_is_once_it_was_taken(begun: bool) -> None:
    old = Rig()
    attach(old, TaskState.STANDBY if begun else TaskState.CONFIGURED)

    rig = Rig(old.records)
    assert [one.task for one in rig.out if isinstance(one, Open)] == ["t"]
    rig.out.clear()
    rig.welcome(state=TaskState.CONFIGURED)

    assert [TaskEvent(one.event).name for one in rig.took(task.Transition)] == ([] if begun else ["RESET"])
