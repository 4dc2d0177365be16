"""What an executor decides: sessions with its core, and launches."""

from __future__ import annotations

from libecs.engine.effects import Connected, Disconnected, Open, ProcessStarted, Spawn
from libecs.engine.outbox import CORE
from libecs.fsm import Mode, TaskState
from libecs.wire import node
from libecs.wire.node import Phase
from tests.engine.rig import Rig, spec

# sessions


def test_it_says_hello_until_it_is_welcome_and_then_announces_what_it_holds() -> None:
    rig = Rig()
    rig.put(Disconnected(CORE))
    rig.out.clear()
    rig.put(Connected(CORE))
    rig.wait(2.0)
    assert len(rig.took(node.NodeHello)) >= 2

    rig.core(node.Welcome(version=1, epoch=5, session=10, instance="i"))

    (announced,) = rig.took(node.Announce)
    assert announced.tasks == ()


def test_an_old_core_is_fenced() -> None:
    rig = Rig()

    rig.core(node.Kill(session=9, epoch=4, id="k", tasks=("t",)))

    assert rig.took(node.Fenced) == [node.Fenced(session=9, epoch=5)]
    rig.core(node.Welcome(version=1, epoch=3, session=11, instance="i"))
    assert rig.took(node.Fenced) == [node.Fenced(session=11, epoch=5)]


def test_the_highest_epoch_survives_a_restart() -> None:
    again = Rig(Rig().records)
    again.out.clear()

    again.core(node.Welcome(version=1, epoch=4, session=12, instance="i"))

    assert again.took(node.Fenced) == [node.Fenced(session=12, epoch=5)]


def test_a_message_of_another_session_is_dropped() -> None:
    rig = Rig()
    rig.out.clear()

    rig.core(node.Launch(session=8, epoch=5, tasks=(spec(),)))

    assert rig.took(Spawn) == []


def test_a_core_that_does_not_know_the_session_is_greeted_anew() -> None:
    rig = Rig()
    rig.wait(1.0)
    rig.out.clear()

    rig.core(node.NodeRefused(epoch=6, reason="who?"))

    assert len(rig.took(node.NodeHello)) == 1


def test_refusals_of_older_sessions_do_not_end_the_one_that_has_just_begun() -> None:
    rig = Rig()
    rig.wait(1.0)
    rig.core(node.NodeRefused(epoch=5, reason="who?"))
    rig.core(node.Welcome(version=1, epoch=5, session=10, instance="i"))
    rig.out.clear()

    rig.core(node.NodeRefused(epoch=5, reason="who?"))
    rig.core(node.NodeRefused(epoch=5, reason="who?"))

    assert rig.took(node.NodeHello) == []


# launching


def test_a_launch_spawns_once_however_often_it_is_repeated() -> None:
    rig = Rig()
    rig.out.clear()
    for _ in range(3):
        rig.core(node.Launch(session=9, epoch=5, tasks=(spec(),)))

    (spawned,) = rig.took(Spawn)
    assert spawned.endpoint == "ipc:///s/t"


def test_a_task_is_active_when_it_says_where_it_is() -> None:
    rig = Rig()
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(),)))
    rig.put(ProcessStarted(task="t", pid=77))
    assert len(rig.took(Open)) == 1

    rig.welcome()

    (update,) = rig.took(node.Update)
    assert [(one.phase, one.state, one.pid) for one in update.tasks] == [(Phase.ACTIVE, TaskState.STANDBY, 77)]


def test_a_task_that_is_never_ready_is_told_so() -> None:
    rig = Rig()
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(start_s=5.0),)))
    rig.put(ProcessStarted(task="t", pid=77))

    rig.wait(6.0)

    (last,) = rig.took(node.Update)[-1].tasks
    assert last.state is TaskState.ERROR
    assert last.error.startswith("was not ready within 5 s of its launch; it never spoke to us")


def test_a_task_of_the_wrong_machine_is_named() -> None:
    rig = Rig()
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(Mode.FAIRMQ),)))
    rig.put(ProcessStarted(task="t", pid=77))
    rig.welcome(Mode.DIRECT)

    (last,) = rig.took(node.Update)[-1].tasks
    assert last.error == "runs the OCC state machine, its template says mode fairmq"
