"""Simulated tasks keep the rules of wire/task.py: one controller, exactly once, numbered truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import pytest

from libecs.fairmq import DeviceEvent, DeviceState
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.sim.agenda import Agenda
from libecs.sim.behaviour import Behaviour, Trouble, ended, make_behaviour
from libecs.sim.deeds import Effects
from libecs.sim.programs import Process, Program
from libecs.sim.tasks import ControlledTask
from libecs.sim.voices import Voice
from libecs.wire.node import Command, Exit, ExitCause, TaskSpec
from libecs.wire.task import (
    DeviceEventType,
    Happened,
    Hello,
    Metric,
    PeerRole,
    Ping,
    Pong,
    Refusal,
    Refused,
    Result,
    StateChanged,
    Transition,
    Trigger,
    Welcome,
)


class Watcher:
    def __init__(self) -> None:
        self.effects = Effects()
        self.metrics: list[Metric] = []

    def began(self, process: Process) -> None:
        pass

    def launch_failed(self, spec: TaskSpec) -> None:
        pass

    def changed(self, task: ControlledTask) -> None:
        pass

    def effect(self, task: ControlledTask, id: str, event: str, run: str, arguments: Mapping[str, str]) -> None:
        self.effects.add(task.spec.task, id, event, run)

    def signaled(self, process: Process, number: int) -> None:
        pass

    def orphaned(self, process: Process) -> None:
        pass

    def attached(self, task: ControlledTask) -> None:
        pass

    def used(self, process: Process) -> None:
        pass

    def told(self, task: ControlledTask, metric: Metric) -> None:
        self.metrics.append(metric)

    def ended(self, process: Process) -> None:
        pass


def spec(mode: Mode) -> TaskSpec:
    return TaskSpec(
        task="t1",
        environment="e",
        role="root.t",
        class_name="c",
        mode=mode,
        critical=True,
        command=Command(argv=("/bin/true",)),
    )


class Bench:
    """One task and the peers that talk to it."""

    def __init__(self, mode: Mode = Mode.DIRECT, **behaviour: Any) -> None:
        self.agenda = Agenda()
        self.watcher = Watcher()
        self.ends: list[Exit] = []
        self.task = ControlledTask(
            spec(mode),
            100,
            Behaviour(**behaviour),
            self.agenda,
            Random(1),
            lambda process, exit: self.ends.append(exit),
            watcher=self.watcher,
        )
        self.task.boot()
        self.run(0.1)
        self.got: dict[str, list[Any]] = {}

    def run(self, seconds: float = 1.0) -> None:
        self.agenda.run_until(self.agenda.mono_s + seconds)

    def join(
        self,
        peer: str = "p",
        epoch: int = 1,
        role: PeerRole = PeerRole.CONTROLLER,
        name: str | None = None,
        steal: bool = False,
    ) -> list[Any]:
        self.got.setdefault(peer, [])
        self.task.connect(peer, self.got[peer].append)
        self.task.receive(peer, Hello(role=role, epoch=epoch, name=name or peer, steal=steal))
        return self.got[peer]

    def tell(
        self,
        event: TaskEvent | DeviceEvent,
        source: TaskState | DeviceState,
        id: str = "c1",
        peer: str = "p",
        **arguments: str,
    ) -> None:
        self.task.receive(peer, Transition(id=id, event=event, source=source, arguments=arguments))


def results(messages: Iterable[object]) -> list[Result]:
    return [message for message in messages if isinstance(message, Result)]


def test_nothing_is_answered_before_hello() -> None:
    bench = Bench()
    bench.got["p"] = []
    bench.task.connect("p", bench.got["p"].append)

    bench.task.receive("p", Ping(number=1))
    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
    bench.run()

    assert bench.got["p"] == []
    assert bench.watcher.effects.counts == {}


def test_a_transition_changes_the_state_once_and_is_answered_again_from_memory() -> None:
    bench = Bench()
    got = bench.join()

    for _ in range(3):
        bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
        bench.run()

    assert isinstance(got[0], Welcome)
    assert [m.state for m in got if isinstance(m, StateChanged)] == [TaskState.CONFIGURED]
    assert len(results(got)) == 3
    assert len(set(map(repr, results(got)))) == 1
    assert bench.watcher.effects.counts == {("t1", "c1"): 1}


def test_a_command_repeated_while_it_goes_on_is_answered_once_when_it_ends() -> None:
    bench = Bench(step_s=(0.5, 0.5))
    got = bench.join()

    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
    bench.run(0.4)
    assert results(got) == []
    bench.run()

    assert [result.ok for result in results(got)] == [True]
    assert bench.watcher.effects.counts == {("t1", "c1"): 1}


def test_a_wrong_source_is_refused_and_changes_nothing() -> None:
    bench = Bench()
    got = bench.join()

    bench.tell(TaskEvent.START, TaskState.CONFIGURED)
    bench.run()

    assert [result.ok for result in results(got)] == [False]
    assert bench.task.state == TaskState.STANDBY


def test_another_command_is_refused_while_one_goes_on() -> None:
    bench = Bench(step_s=(0.5, 0.5))
    got = bench.join()

    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY, id="c1")
    bench.tell(TaskEvent.EXIT, TaskState.STANDBY, id="c2")
    bench.run()

    assert [(result.id, result.ok) for result in results(got)] == [("c2", False), ("c1", True)]


def test_an_equal_epoch_conflicts_an_older_one_is_stale_a_higher_one_supersedes() -> None:
    bench = Bench()
    first = bench.join("p", epoch=2)

    equal = bench.join("q", epoch=2)
    older = bench.join("r", epoch=1)
    higher = bench.join("s", epoch=3)

    assert [m.reason for m in equal] == [Refusal.CONFLICT]
    assert [m.reason for m in older] == [Refusal.STALE]
    assert isinstance(higher[0], Welcome)
    assert first[-1] == Refused(reason=Refusal.SUPERSEDED, holder="s", epoch=3)
    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY, peer="p")
    assert first[-1].reason is Refusal.NOT_CONTROLLER


def test_an_equal_epoch_may_steal_and_the_same_name_may_come_again() -> None:
    bench = Bench()
    bench.join("p", epoch=2)

    again = bench.join("p2", epoch=2, name="p")
    thief = bench.join("q", epoch=2, steal=True)

    assert isinstance(again[0], Welcome)
    assert isinstance(thief[0], Welcome)


def test_an_observer_sees_states_and_may_not_command() -> None:
    bench = Bench()
    bench.join("p")
    observer = bench.join("o", role=PeerRole.OBSERVER)

    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY, id="x", peer="o")
    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
    bench.run()

    assert [type(m) for m in observer] == [Welcome, Refused, StateChanged]


def test_only_the_last_sixteen_answers_are_kept() -> None:
    bench = Bench()
    got = bench.join()
    for n in range(17):
        bench.tell(TaskEvent.START, TaskState.CONFIGURED, id=f"wrong{n}")
    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY, id="good")
    bench.run()
    got.clear()

    bench.tell(TaskEvent.START, TaskState.CONFIGURED, id="wrong16", run_number="9")
    bench.run()
    assert [result.ok for result in results(got)] == [False]
    bench.tell(TaskEvent.START, TaskState.CONFIGURED, id="wrong0", run_number="9")
    bench.run()

    assert bench.task.state == TaskState.RUNNING
    assert bench.task.run_number == 9


def test_a_callback_error_leads_to_error() -> None:
    bench = Bench(troubles=(Trouble(event="CONFIGURE", kind="error"),))
    got = bench.join()

    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
    bench.run()

    (result,) = results(got)
    assert (result.ok, result.state, result.trigger) == (False, TaskState.ERROR, Trigger.DEVICE_ERROR)
    assert result.sequence == 2


@pytest.mark.parametrize("kind", ["die_before", "die_during", "die_after"])
def test_a_task_dies_around_a_transition(kind: str) -> None:
    bench = Bench(troubles=(Trouble(event="CONFIGURE", kind=kind, signal=11),))
    got = bench.join()

    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
    bench.run()

    assert [exit.signal for exit in bench.ends] == [11]
    assert len(results(got)) == (kind == "die_after")


def test_a_hanging_callback_answers_pings_and_a_frozen_process_does_not() -> None:
    hangs = Bench(troubles=(Trouble(event="CONFIGURE", kind="hang"),))
    frozen = Bench(troubles=(Trouble(event="CONFIGURE", kind="freeze"),))
    for bench in (hangs, frozen):
        bench.join()
        bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
        bench.run()
        bench.task.receive("p", Ping(number=1))
        bench.run()

    assert any(isinstance(m, Pong) for m in hangs.got["p"])
    assert not any(isinstance(m, Pong) for m in frozen.got["p"])
    for bench in (hangs, frozen):
        bench.task.thaw()
        bench.run()
        assert bench.task.state == TaskState.CONFIGURED
    assert any(isinstance(m, Pong) for m in frozen.got["p"])


def test_a_run_may_end_by_itself_by_death_or_by_an_error() -> None:
    def started(**behaviour: Any) -> tuple[Bench, list[Any]]:
        bench = Bench(**behaviour)
        got = bench.join()
        bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY)
        bench.run(0.1)
        bench.tell(TaskEvent.START, TaskState.CONFIGURED, id="c2")
        bench.run(2.0)
        return bench, got

    _, got = started(end_of_stream_s=0.5)
    assert Happened(type=DeviceEventType.END_OF_STREAM) in got
    bench, _ = started(dies_running_s=0.5, exit=ended(3))
    assert [exit.code for exit in bench.ends] == [3]
    bench, got = started(error_running_s=0.5)
    assert bench.task.state == TaskState.ERROR
    assert any(isinstance(m, Happened) and m.type is DeviceEventType.TASK_INTERNAL_ERROR for m in got)


def test_exit_ends_the_process() -> None:
    bench = Bench()
    bench.join()

    bench.tell(TaskEvent.EXIT, TaskState.STANDBY)
    bench.run()

    assert [(exit.cause, exit.code) for exit in bench.ends] == [(ExitCause.EXITED, 0)]
    assert bench.task.told_to_end


def test_a_device_passes_through_its_working_states() -> None:
    bench = Bench(Mode.FAIRMQ)
    got = bench.join()
    steps = (
        (DeviceEvent.INIT_DEVICE, DeviceState.IDLE),
        (DeviceEvent.COMPLETE_INIT, DeviceState.INITIALIZING_DEVICE),
        (DeviceEvent.BIND, DeviceState.INITIALIZED),
    )

    for n, (event, source) in enumerate(steps):
        bench.tell(event, source, id=f"c{n}")
        bench.run(0.2)

    states = [m.state for m in got if isinstance(m, StateChanged)]
    assert states == [
        DeviceState.INITIALIZING_DEVICE,
        DeviceState.INITIALIZED,
        DeviceState.BINDING,
        DeviceState.BOUND,
    ]
    assert [m.sequence for m in got if isinstance(m, StateChanged)] == [2, 3, 4, 5]


def test_signals_end_a_task_unless_it_ignores_them() -> None:
    polite, stubborn = Bench(), Bench(ignores_term=True)
    for bench in (polite, stubborn):
        bench.task.signal(15)
        bench.run()
    assert [exit.code for exit in polite.ends] == [0]
    assert stubborn.ends == []

    stubborn.task.signal(9)

    assert [exit.signal for exit in stubborn.ends] == [9]


def test_a_program_runs_and_ends() -> None:
    agenda = Agenda()
    ends: list[Exit] = []

    def make(**behaviour: Any) -> Program:
        program = Program(
            spec(Mode.HOOK), 7, Behaviour(**behaviour), agenda, Random(1), lambda process, exit: ends.append(exit)
        )
        program.run()
        return program

    make(runs_s=0.5, code=3)
    for_ever = make(runs_s=0.0)
    agenda.run_until(1.0)
    assert [exit.code for exit in ends] == [3]
    assert for_ever.alive

    for_ever.signal(15)
    agenda.run_until(2.0)

    assert [exit.signal for exit in ends] == [0, 15]
    assert isinstance(for_ever, Process)


@pytest.mark.parametrize("mode", list(Mode))
def test_behaviours_without_trouble_are_healthy_and_with_it_they_vary(mode: Mode) -> None:
    random = Random(1)

    assert all(make_behaviour(random, mode, trouble=0.0).healthy for _ in range(200))
    troubled = {repr(make_behaviour(random, mode, trouble=1.0)) for _ in range(200)}

    assert len(troubled) > 100


def test_reconfigure_changes_values_and_no_state() -> None:
    bench = Bench()
    got = bench.join()
    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY, id="c1", rate="1", gain="2")
    bench.run()

    bench.tell(TaskEvent.RECONFIGURE, TaskState.CONFIGURED, id="c2", rate="7")
    bench.run()

    assert bench.task.properties == {"rate": "7", "gain": "2"}
    assert [m.state for m in got if isinstance(m, StateChanged)] == [TaskState.CONFIGURED]
    assert [result.ok for result in results(got)] == [True, True]


def test_what_is_told_of_a_run_is_in_the_book_and_on_the_link() -> None:
    bench = Bench(voice=Voice(every_s=0.2, names=2))
    got = bench.join()
    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY, id="c1")
    bench.run()
    bench.tell(TaskEvent.START, TaskState.CONFIGURED, id="c2", runNumber="5")
    bench.run()
    bench.tell(TaskEvent.STOP, TaskState.RUNNING, id="c3")
    bench.run()

    told = [message for message in got if isinstance(message, Metric)]
    assert told == bench.watcher.metrics
    assert {metric.name for metric in told} == {"rate", "events"}
    assert not any(isinstance(message, Metric) for message in got[got.index(results(got)[-1]) :])


def test_a_loop_that_stands_still_answers_and_does_not_get_on() -> None:
    bench = Bench(stuck_s=(0.5, 0.0))
    got = bench.join()
    bench.tell(TaskEvent.CONFIGURE, TaskState.STANDBY, id="c1")
    bench.run()
    bench.tell(TaskEvent.START, TaskState.CONFIGURED, id="c2")
    bench.run()

    for number in range(3):
        bench.task.receive("p", Ping(number=number))

    pongs = [message for message in got if isinstance(message, Pong)]
    assert len(pongs) == 3
    assert len({pong.progress for pong in pongs}) == 1


def test_a_thief_takes_a_task_of_the_same_epoch_and_gives_it_back() -> None:
    bench = Bench()
    owner = bench.join("owner", epoch=3)
    bench.join("thief", epoch=3, steal=True)

    assert owner[-1] == Refused(reason=Refusal.SUPERSEDED, holder="thief", epoch=3)
    bench.join("thief", epoch=0, role=PeerRole.OBSERVER)
    owner = bench.join("owner", epoch=3)
    assert isinstance(owner[-1], Welcome)
