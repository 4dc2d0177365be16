"""What an executor decides: sessions, commands, ends, adoption."""

from __future__ import annotations

from typing import TypeVar

import attrs
import pytest

from libecs.engine.effects import (
    Adopt,
    Close,
    Connected,
    Disconnected,
    Effect,
    Forget,
    Input,
    MakeFolder,
    Now,
    Open,
    Persist,
    ProcessEnded,
    ProcessStarted,
    Received,
    Resume,
    Send,
    Signal,
    Spawn,
    Survivor,
    Tick,
)
from libecs.engine.executor import ExecutorEngine, ExecutorSettings
from libecs.engine.outbox import CORE
from libecs.fairmq import DeviceEvent, DeviceState
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import Exit, ExitCause, Phase, TaskSpec
from libecs.wire.telemetry import Severity

T = TypeVar("T")


class Rig:
    """One executor engine, its records, and all that it wanted done."""

    def __init__(
        self, records: dict[str, dict[str, bytes]] | None = None, survivors: tuple[Survivor, ...] = ()
    ) -> None:
        self.records = records if records is not None else {}
        self.mono = 100.0
        self.out: list[Effect] = []
        self.engine = ExecutorEngine(ExecutorSettings(node="n1", instance="i", socket_folder="/s"), self.records)
        self.put(Adopt(survivors=survivors))
        self.put(Connected(CORE))
        self.core(node.Welcome(version=1, epoch=5, session=9, instance="i"))

    def put(self, input: Input) -> None:
        effects = self.engine.handle(input, Now(self.mono, int(self.mono * 1000)))
        for effect in effects:
            if isinstance(effect, Persist):
                table = self.records.setdefault(effect.table, {})
                if effect.value is None:
                    table.pop(effect.key, None)
                else:
                    table[effect.key] = effect.value
        self.out += effects

    def core(self, message: object) -> None:
        self.put(Received(CORE, message))
        self.put(Resume())

    def task(self, message: object, name: str = "t") -> None:
        self.put(Received(name, message))
        self.put(Resume())

    def wait(self, seconds: float) -> None:
        end = self.mono + seconds
        while (due := self.engine.next_deadline) is not None and due <= end:
            self.mono = max(due, self.mono)
            self.put(Tick())
        self.mono = end
        self.put(Resume())

    def took(self, kind: type[T]) -> list[T]:
        """Return (and forget) the effects or messages of a kind."""
        found: list[T] = [one for one in self.out if isinstance(one, kind)]
        found += [one.message for one in self.out if isinstance(one, Send) and isinstance(one.message, kind)]
        self.out.clear()
        return found

    def launch(self, mode: Mode = Mode.DIRECT, **fields: object) -> None:
        """Bring a task to its first steady state."""
        self.core(node.Launch(session=9, epoch=5, tasks=(spec(mode, **fields),)))
        if mode in (Mode.DIRECT, Mode.FAIRMQ):
            self.put(ProcessStarted(task="t", pid=77))
            self.welcome(mode)
        self.out.clear()

    def welcome(self, mode: Mode = Mode.DIRECT, state: int | None = None, sequence: int = 1) -> None:
        machine = task.Machine.OCC if mode is Mode.DIRECT else task.Machine.FAIRMQ
        steady = TaskState.STANDBY if mode is Mode.DIRECT else DeviceState.IDLE
        self.task(
            task.Welcome(
                version=1,
                machine=machine,
                state=steady if state is None else state,
                sequence=sequence,
                pid=77,
                task="t",
            )
        )

    def transit(self, event: TaskEvent, id: str = "c1", **arguments: str) -> None:
        self.core(node.Transit(session=9, epoch=5, id=id, event=event, tasks=("t",), arguments=arguments))


def spec(mode: Mode = Mode.DIRECT, **fields: object) -> TaskSpec:
    base = TaskSpec(
        task="t",
        environment="e",
        role="w.t",
        class_name="c",
        mode=mode,
        critical=True,
        command=node.Command(argv=("/bin/true",)),
    )
    return attrs.evolve(base, **fields)  # type: ignore[arg-type]


def result(id: str, event: int, state: int, ok: bool = True, sequence: int = 2, error: str = "") -> task.Result:
    return task.Result(id=id, ok=ok, state=state, event=event, sequence=sequence, error=error)


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


# commands


def test_a_command_is_done_when_the_task_says_so_and_is_answered_again_when_repeated() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE, key="value")
    (told,) = rig.took(task.Transition)
    assert (told.id, told.event, told.source, told.arguments) == (
        "c1",
        TaskEvent.CONFIGURE,
        TaskState.STANDBY,
        {"key": "value"},
    )

    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=2))
    rig.task(result("c1", TaskEvent.CONFIGURE, TaskState.CONFIGURED))

    (answer,) = rig.took(node.Answer)
    assert (answer.id, answer.state, answer.done, answer.failed) == ("c1", TaskState.CONFIGURED, ("t",), ())
    rig.transit(TaskEvent.CONFIGURE)
    assert rig.took(task.Transition) == []


@pytest.mark.parametrize(("state", "name"), [(TaskState.STANDBY, "STANDBY"), (99, "a state 99 that does not exist")])
def test_a_task_that_says_done_and_is_elsewhere_has_failed(state: int, name: str) -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)

    rig.task(result("c1", TaskEvent.CONFIGURE, state))

    (answer,) = rig.took(node.Answer)
    assert answer.done == ()
    assert answer.failed[0].reason == f"says that it has done CONFIGURE, and is in {name}"


def test_a_fairmq_command_is_a_walk_whose_events_have_ids_of_their_own() -> None:
    rig = Rig()
    rig.launch(Mode.FAIRMQ)
    rig.transit(TaskEvent.CONFIGURE, key="value")
    ids = []
    walk = [
        (DeviceEvent.INIT_DEVICE, DeviceState.INITIALIZING_DEVICE),
        (DeviceEvent.COMPLETE_INIT, DeviceState.INITIALIZED),
        (DeviceEvent.BIND, DeviceState.BOUND),
        (DeviceEvent.CONNECT, DeviceState.DEVICE_READY),
        (DeviceEvent.INIT_TASK, DeviceState.READY),
    ]
    for number, (event, state) in enumerate(walk):
        (told,) = rig.took(task.Transition)
        assert told.event == event
        assert (told.arguments == {"key": "value"}) == (number == 0)
        ids.append(told.id)
        rig.task(result(told.id, event, state, sequence=number + 2))

    assert len(set(ids)) == len(ids)
    (answer,) = rig.took(node.Answer)
    assert answer.done == ("t",)


def test_a_device_that_gets_stuck_is_rolled_back_and_the_first_reason_told() -> None:
    rig = Rig()
    rig.launch(Mode.FAIRMQ)
    rig.transit(TaskEvent.CONFIGURE)
    for sequence, state in enumerate((DeviceState.INITIALIZING_DEVICE, DeviceState.INITIALIZED), start=2):
        (told,) = rig.took(task.Transition)
        rig.task(result(told.id, told.event, state, sequence=sequence))
    (bind,) = rig.took(task.Transition)

    rig.task(result(bind.id, bind.event, DeviceState.INITIALIZED, ok=False, sequence=4, error="address in use"))
    (back,) = rig.took(task.Transition)
    rig.task(result(back.id, back.event, DeviceState.IDLE, sequence=5))

    assert back.event == DeviceEvent.RESET_DEVICE
    (answer,) = rig.took(node.Answer)
    (failure,) = answer.failed
    assert (failure.reason, failure.state) == ("address in use", TaskState.STANDBY)


def test_a_task_that_never_answers_has_a_deadline() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)
    for _ in range(31):
        rig.wait(1.0)
        rig.task(task.Pong(number=1, state=TaskState.STANDBY, sequence=1))

    (answer,) = rig.took(node.Answer)
    assert answer.failed[0].reason == "did not finish CONFIGURE in time, last state STANDBY"


def test_a_command_that_leads_to_error_is_told_with_its_reason_and_not_before() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)
    rig.out.clear()

    rig.task(task.StateChanged(state=TaskState.ERROR, sequence=2))
    assert rig.took(node.Update) == []
    rig.task(result("c1", TaskEvent.CONFIGURE, TaskState.ERROR, ok=False, error="no gas"))

    messages = [one.message for one in rig.out if isinstance(one, Send)]
    assert [type(one) for one in messages] == [node.Answer, node.Update]
    assert messages[0].failed[0].reason == "no gas"  # type: ignore[attr-defined]


def test_an_error_that_nobody_explains_is_told_all_the_same() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)
    rig.out.clear()
    rig.task(task.StateChanged(state=TaskState.ERROR, sequence=2))

    rig.wait(0.3)

    (update,) = rig.took(node.Update)
    assert update.tasks[0].state is TaskState.ERROR


def test_a_late_result_jumps_no_state() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.ERROR, sequence=5))
    rig.out.clear()

    rig.task(result("c0", TaskEvent.CONFIGURE, TaskState.CONFIGURED, sequence=3))

    assert rig.engine.tasks["t"].state is TaskState.ERROR
    assert rig.took(node.Update) == []


def test_a_busy_task_refuses_another_command_and_an_unknown_one_is_named() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE)
    rig.out.clear()

    rig.transit(TaskEvent.START, id="c2")
    rig.core(node.Transit(session=9, epoch=5, id="c3", event=TaskEvent.START, tasks=("nobody",)))

    reasons = [failure.reason for answer in rig.took(node.Answer) for failure in answer.failed]
    assert reasons == ["is busy with CONFIGURE", "task is not known here"]


def test_a_link_that_breaks_in_the_middle_has_the_event_told_again() -> None:
    rig = Rig()
    rig.launch()
    rig.transit(TaskEvent.CONFIGURE, key="value")
    (first,) = rig.took(task.Transition)

    rig.put(Disconnected("t"))
    rig.put(Connected("t"))
    rig.welcome()

    assert rig.took(task.Transition) == [first]


def test_a_state_that_does_not_exist_is_reported_and_ignored() -> None:
    rig = Rig()
    rig.launch()

    rig.task(task.StateChanged(state=99, sequence=9))

    assert rig.engine.tasks["t"].state is TaskState.STANDBY
    assert rig.took(node.Update)[0].tasks[0].error == "reports a state 99 that does not exist"


def test_a_silent_task_is_stalled_after_three_seconds_and_heals() -> None:
    rig = Rig()
    rig.launch()
    rig.wait(5.0)
    (stalled,) = rig.took(node.Update)[-1].tasks
    assert stalled.stalled
    assert stalled.phase is Phase.SUSPECT

    rig.task(task.Pong(number=1, state=TaskState.STANDBY, sequence=1))

    (healed,) = rig.took(node.Update)[-1].tasks
    assert (healed.stalled, healed.phase, healed.error) == (False, Phase.ACTIVE, "")


def test_a_task_is_stalled_so_long_after_its_last_word_that_all_hear_of_it_within_three_seconds() -> None:
    rig = Rig()
    rig.launch()
    rig.wait(1.3)
    rig.task(task.Pong(number=1, state=TaskState.STANDBY, sequence=1))

    rig.wait(2.65)
    assert not rig.engine.tasks["t"].stalled
    rig.wait(0.1)

    assert rig.took(node.Update)[-1].tasks[0].error == "does not answer for 2.7 s"


def answer_pings(rig: Rig, seconds: int, state: TaskState, progress: int = 0, turns: int = 0) -> int:
    """Let time pass for a task that answers, and whose loop turns so often in a second; return its counter."""
    for _ in range(seconds * 2):
        rig.wait(0.5)
        progress += turns
        rig.task(task.Pong(number=1, state=state, sequence=rig.engine.tasks["t"].sequence, progress=progress))
    return progress


def test_a_task_whose_loop_stands_still_in_a_run_is_stalled_until_it_turns_again() -> None:
    rig = Rig()
    rig.launch(liveness=True)
    answer_pings(rig, 10, TaskState.STANDBY)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    progress = answer_pings(rig, 5, TaskState.RUNNING, turns=3)
    rig.out.clear()
    answer_pings(rig, 2, TaskState.RUNNING, progress)
    assert rig.took(node.Update) == []

    answer_pings(rig, 2, TaskState.RUNNING, progress)
    (stalled,) = rig.took(node.Update)[-1].tasks
    assert (stalled.stalled, stalled.phase, stalled.state) == (True, Phase.ACTIVE, TaskState.RUNNING)
    assert stalled.error == "its progress counter stands still for 2.7 s"

    answer_pings(rig, 1, TaskState.RUNNING, progress, turns=1)
    (healed,) = rig.took(node.Update)[-1].tasks
    assert (healed.stalled, healed.error) == (False, "")


def test_a_task_that_stands_still_obeys_and_is_not_stalled_outside_of_the_run() -> None:
    rig = Rig()
    rig.launch(liveness=True)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    answer_pings(rig, 5, TaskState.RUNNING)
    assert rig.engine.tasks["t"].stalled
    rig.out.clear()

    rig.transit(TaskEvent.STOP, id="s1")
    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=3))
    rig.task(result("s1", TaskEvent.STOP, TaskState.CONFIGURED, sequence=3))

    (status,) = rig.took(node.Update)[-1].tasks
    assert (status.state, status.stalled) == (TaskState.CONFIGURED, False)


def test_the_progress_of_a_task_that_does_not_count_is_nobodys_business() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))

    answer_pings(rig, 10, TaskState.RUNNING)

    assert not rig.engine.tasks["t"].stalled


def test_a_task_that_stands_still_and_then_falls_silent_heals_in_two_steps() -> None:
    rig = Rig()
    rig.launch(liveness=True)
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    rig.wait(5.0)
    assert rig.engine.tasks["t"].silent

    rig.task(task.Pong(number=1, state=TaskState.RUNNING, sequence=2))
    assert not rig.engine.tasks["t"].stalled
    answer_pings(rig, 2, TaskState.RUNNING)
    assert rig.engine.tasks["t"].stuck

    answer_pings(rig, 1, TaskState.RUNNING, turns=1)
    assert not rig.engine.tasks["t"].stalled


# reconfigure


def configured(rig: Rig, mode: Mode = Mode.DIRECT) -> None:
    rig.launch(mode)
    state = TaskState.CONFIGURED if mode is Mode.DIRECT else DeviceState.READY
    rig.task(task.StateChanged(state=state, sequence=2))
    rig.out.clear()


def test_new_properties_are_one_event_that_is_done_when_the_task_says_so() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")
    (told,) = rig.took(task.Transition)
    assert (told.id, told.event, told.source) == ("c7", TaskEvent.RECONFIGURE, TaskState.CONFIGURED)
    assert told.arguments == {"threshold": "20"}

    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=3))
    rig.task(task.Pong(number=1, state=TaskState.CONFIGURED, sequence=4))
    assert rig.took(node.Answer) == []
    rig.task(result("c7", TaskEvent.RECONFIGURE, TaskState.CONFIGURED, sequence=5))

    (answer,) = rig.took(node.Answer)
    assert (answer.id, answer.state, answer.done) == ("c7", TaskState.CONFIGURED, ("t",))
    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")
    assert rig.took(task.Transition) == []


def test_a_task_that_takes_no_new_properties_says_so() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")

    rig.task(result("c7", TaskEvent.RECONFIGURE, TaskState.CONFIGURED, ok=False, error="not live"))

    (failure,) = rig.took(node.Answer)[0].failed
    assert (failure.reason, failure.state) == ("not live", TaskState.CONFIGURED)


def test_new_properties_are_told_under_the_same_id_by_the_next_life() -> None:
    old = Rig()
    configured(old)
    old.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")
    (first,) = old.took(task.Transition)

    rig = Rig(old.records, (Survivor(spec=old.engine.tasks["t"].spec, phase=Phase.ACTIVE, pid=77),))
    rig.welcome(state=TaskState.CONFIGURED, sequence=2)
    rig.out.clear()
    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")

    assert rig.took(task.Transition) == [first]


def test_a_fairmq_device_is_not_reconfigured_live() -> None:
    rig = Rig()
    configured(rig, Mode.FAIRMQ)

    rig.transit(TaskEvent.RECONFIGURE, id="c7", threshold="20")

    reason = rig.took(node.Answer)[0].failed[0].reason
    assert reason == "is not live: a FairMQ device takes new properties only from RESET to CONFIGURE"


def test_end_of_stream_and_refusals_reach_the_core() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.Happened(type=task.DeviceEventType.END_OF_STREAM))
    assert rig.took(node.Update)[0].tasks[0].end_of_stream

    rig.task(task.Refused(reason=task.Refusal.SUPERSEDED, holder="peanut", epoch=9))

    assert rig.took(node.Update)[0].tasks[0].error == "is controlled by peanut (SUPERSEDED)"


def test_the_end_of_a_stream_is_over_with_its_run() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.START, id="c2", run_number="1")
    rig.task(result("c2", TaskEvent.START, TaskState.RUNNING, sequence=3))
    rig.task(task.Happened(type=task.DeviceEventType.END_OF_STREAM))
    rig.transit(TaskEvent.STOP, id="c3")
    assert rig.took(node.Update)[-1].tasks[0].end_of_stream

    rig.task(result("c3", TaskEvent.STOP, TaskState.CONFIGURED, sequence=4))
    rig.task(task.Log(severity=Severity.ERROR, text="late", unix_ms=1))
    rig.wait(1.0)

    assert not rig.took(node.Update)[-1].tasks[0].end_of_stream  # the next run may be on its way


def test_what_a_task_says_of_its_failures_is_one_short_line() -> None:
    rig = Rig()
    configured(rig)
    ugly = "\x1b[2Jwent\nwrong " + "x" * 100_000
    rig.transit(TaskEvent.START, id="c2", run_number="1")

    rig.task(result("c2", TaskEvent.START, TaskState.ERROR, ok=False, sequence=3, error=ugly))
    (failure,) = rig.took(node.Answer)[0].failed
    rig.task(task.Happened(type=task.DeviceEventType.TASK_INTERNAL_ERROR, text=ugly))
    error = rig.took(node.Update)[0].tasks[0].error
    rig.task(task.Refused(reason=task.Refusal.SUPERSEDED, holder=ugly))
    taken = rig.took(node.Update)[0].tasks[0].error

    assert failure.reason.startswith("went wrong xxx")
    assert error.startswith("went wrong xxx")
    assert taken.startswith("is controlled by went wrong xxx")
    assert max(map(len, (failure.reason, error, taken))) < 1100


@pytest.mark.parametrize("fields", [{}, {"attached": True, "endpoint": "tcp://pi:47100"}])
def test_a_task_that_claims_an_epoch_that_cannot_be_is_left_alone(fields: dict[str, object]) -> None:
    rig = Rig()
    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(**fields),)))
    rig.out.clear()

    rig.task(task.Refused(reason=task.Refusal.STALE, holder="x", epoch=2**64 - 1))
    rig.wait(5.0)

    for hello in rig.took(task.Hello):
        assert task.TASK.decode(task.TASK.encode(hello)) == hello
    assert rig.engine.tasks["t"].error == "is controlled by x (STALE)"


def test_a_task_that_was_taken_and_given_back_is_as_before() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=2))
    rig.task(task.Refused(reason=task.Refusal.SUPERSEDED, holder="peanut", epoch=9))
    rig.out.clear()
    rig.wait(1.5)
    assert len(rig.took(task.Hello)) >= 1

    rig.welcome(state=TaskState.CONFIGURED, sequence=2)

    (status,) = rig.took(node.Update)[-1].tasks
    assert (status.phase, status.state, status.error) == (Phase.ACTIVE, TaskState.CONFIGURED, "")


def test_our_own_pause_is_nobody_elses_fault() -> None:
    rig = Rig()
    rig.launch()
    rig.mono += 60.0
    rig.put(Tick())
    rig.put(Resume())

    assert not any(one.stalled for update in rig.took(node.Update) for one in update.tasks)


# basic tasks and hooks


def test_a_basic_task_runs_between_start_and_stop() -> None:
    rig = Rig()
    rig.launch(Mode.BASIC)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.transit(TaskEvent.START, id="c2", run_number="4")
    assert len(rig.took(Spawn)) == 1
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(Resume())
    assert rig.took(node.Answer)[0].done == ("t",)
    assert rig.engine.tasks["t"].run == 4

    rig.transit(TaskEvent.STOP, id="c3")
    assert [one.number for one in rig.took(Signal)] == [9]
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=9)))
    rig.put(Resume())

    (answer,) = rig.took(node.Answer)
    assert (answer.state, answer.done) == (TaskState.CONFIGURED, ("t",))


def run_basic(rig: Rig, arguments: dict[str, str] | None = None, **fields: object) -> None:
    rig.launch(Mode.BASIC, **fields)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.out.clear()
    rig.transit(TaskEvent.START, id="c2", **({"run_number": "4"} if arguments is None else arguments))


def test_what_is_not_known_before_the_run_is_filled_in_when_it_starts() -> None:
    command = node.Command(
        argv=("./digitizer", "-o", "{{run_dir}}/raw-{{run_number}}.dat"), environment={"OUT": "{{run_dir}}"}
    )
    rig = Rig()
    run_basic(rig, {"run_number": "4", "runNumber": "4", "run_dir": "/runs/4"}, command=command)

    made = [one for one in rig.out if isinstance(one, (MakeFolder, Spawn))]
    assert made[0] == MakeFolder("/runs/4")
    (spawned,) = rig.took(Spawn)
    assert spawned.spec.command.argv == ("./digitizer", "-o", "/runs/4/raw-4.dat")
    assert spawned.spec.command.environment == {"OUT": "/runs/4"}
    assert rig.engine.tasks["t"].spec.command == command


@pytest.mark.parametrize("literal", ["{{run_dir}}", "{{run_number}}"])
def test_a_program_that_needs_what_the_run_does_not_have_is_not_started(literal: str) -> None:
    rig = Rig()
    run_basic(rig, {}, command=node.Command(argv=("write", f"{literal}/raw.dat")))

    assert [one for one in rig.out if isinstance(one, Spawn)] == []
    assert rig.took(node.Answer)[0].failed[0].reason == f"its command needs {literal}, and there is none"


def test_a_controlled_task_is_told_the_folder_of_the_run_and_the_folder_is_made_once() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.CONFIGURED, sequence=2))
    rig.out.clear()

    rig.transit(TaskEvent.START, id="c2", run_number="4", run_dir="/runs/4")
    rig.transit(TaskEvent.START, id="c2", run_number="4", run_dir="/runs/4")

    assert [one for one in rig.out if isinstance(one, MakeFolder)] == [MakeFolder("/runs/4")]
    (told,) = rig.took(task.Transition)
    assert told.arguments == {"run_number": "4", "run_dir": "/runs/4"}


def test_a_program_is_asked_to_stop_and_killed_if_it_does_not() -> None:
    rig = Rig()
    run_basic(rig, stop_signal=2, stop_s=3.0)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.out.clear()
    rig.transit(TaskEvent.STOP, id="c3")
    assert [one.number for one in rig.took(Signal)] == [2]

    rig.wait(2.9)
    assert rig.took(Signal) == []
    rig.wait(0.2)
    assert [one.number for one in rig.took(Signal)] == [9]
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=9)))
    rig.put(Resume())

    assert rig.took(node.Answer)[0].done == ("t",)
    assert rig.engine.tasks["t"].error == "did not end by signal 2 and was killed"


def test_a_program_that_obeys_its_stop_signal_is_not_killed() -> None:
    rig = Rig()
    run_basic(rig, stop_signal=2)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.transit(TaskEvent.STOP, id="c3")
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED, code=130)))
    rig.put(Resume())
    rig.out.clear()
    rig.transit(TaskEvent.START, id="c4", run_number="5")
    rig.put(ProcessStarted(task="t", pid=6))

    rig.wait(20.0)

    assert rig.took(Signal) == []
    assert rig.engine.tasks["t"].state is TaskState.RUNNING


def test_a_program_is_killed_before_its_stop_is_late() -> None:
    rig = Rig()
    run_basic(rig, stop_signal=2, stop_s=60.0)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.transit(TaskEvent.STOP, id="c3")
    rig.out.clear()

    rig.wait(29.5)

    assert [one.number for one in rig.took(Signal)] == [9]


def test_a_program_that_is_ended_for_good_gets_its_own_signal_first() -> None:
    rig = Rig()
    run_basic(rig, stop_signal=10)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.out.clear()
    kill(rig)

    rig.wait(20.0)

    assert [one.number for one in rig.took(Signal)][:4] == [10, 15, 2, 9]


def test_a_clean_end_may_be_called_an_error() -> None:
    rig = Rig()
    run_basic(rig, exit_is_error=True)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(Resume())

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED, code=0)))
    rig.put(Resume())

    status = last_status(rig)
    assert status.state is TaskState.ERROR
    assert status.error == "exited with code 0 by itself, and its template calls that an error"


@pytest.mark.parametrize(("code", "state"), [(0, TaskState.RUNNING), (3, TaskState.ERROR)])
def test_a_program_that_ends_by_itself_is_at_the_end_of_its_stream_or_in_error(code: int, state: TaskState) -> None:
    rig = Rig()
    rig.launch(Mode.BASIC)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.transit(TaskEvent.START, id="c2")
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(Resume())
    rig.out.clear()

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED, code=code)))
    rig.put(Resume())

    (status,) = rig.took(node.Update)[-1].tasks
    assert (status.state, status.end_of_stream) == (state, True)


def test_a_program_that_cannot_be_started_fails_the_start() -> None:
    rig = Rig()
    rig.launch(Mode.BASIC)
    rig.transit(TaskEvent.CONFIGURE, id="c1")
    rig.transit(TaskEvent.START, id="c2")
    rig.out.clear()

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.LAUNCH_FAILED, text="no such file")))
    rig.put(Resume())

    assert rig.took(node.Answer)[0].failed[0].reason == "could not be started: no such file"


def hook(rig: Rig, id: str = "h1", timeout_s: float = 0.0) -> None:
    rig.core(node.Trigger(session=9, epoch=5, id=id, tasks=(spec(Mode.HOOK, timeout_s=timeout_s),)))


def test_a_hook_runs_once_however_often_it_is_triggered() -> None:
    rig = Rig()
    rig.out.clear()
    hook(rig)
    hook(rig)
    assert len(rig.took(Spawn)) == 1
    rig.put(ProcessStarted(task="t", pid=5))
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED)))
    rig.put(Resume())
    (answer,) = rig.took(node.Answer)
    assert answer.done == ("t",)

    hook(rig)
    (again,) = rig.took(node.Answer)
    assert again.done == ("t",)


def test_a_hook_that_takes_too_long_is_killed_and_says_so() -> None:
    rig = Rig()
    hook(rig, timeout_s=2.0)
    rig.put(ProcessStarted(task="t", pid=5))
    rig.wait(3.0)
    assert [one.number for one in rig.took(Signal)] == [9]

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=9), last_log="still busy"))
    rig.put(Resume())

    (failure,) = rig.took(node.Answer)[0].failed
    assert (failure.reason, failure.last_log) == ("timed out after 2 s", "still busy")


# ends


def kill(rig: Rig, id: str = "k1") -> None:
    rig.core(node.Kill(session=9, epoch=5, id=id, tasks=("t",)))


def test_a_running_task_is_walked_down_then_forgotten() -> None:
    rig = Rig()
    rig.launch()
    rig.task(task.StateChanged(state=TaskState.RUNNING, sequence=2))
    kill(rig)
    walked = []
    for sequence, state in enumerate((TaskState.CONFIGURED, TaskState.STANDBY, TaskState.DONE), start=3):
        (told,) = rig.took(task.Transition)
        walked.append(TaskEvent(told.event).name)
        rig.task(task.StateChanged(state=state, sequence=sequence))
        rig.task(result(told.id, told.event, state, sequence=sequence))
    assert walked == ["STOP", "RESET", "EXIT"]
    assert rig.took(Signal) == []

    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.EXITED)))
    rig.put(Resume())

    assert [one.task for one in rig.out if isinstance(one, Forget)] == ["t"]
    assert rig.took(node.Answer)[0].done == ("t",)
    assert rig.engine.tasks == {}


def test_a_task_that_does_not_go_is_met_with_growing_force() -> None:
    rig = Rig()
    rig.launch()
    kill(rig)

    rig.wait(20.0)

    assert [one.number for one in rig.took(Signal)][:3] == [15, 2, 9]


def test_ending_what_is_not_there_is_done_at_once_and_it_never_comes_back() -> None:
    rig = Rig()
    kill(rig)
    assert rig.took(node.Answer)[0].done == ("t",)

    rig.core(node.Launch(session=9, epoch=5, tasks=(spec(),)))

    assert rig.took(Spawn) == []


def test_a_task_that_died_keeps_its_cause_until_somebody_ends_it() -> None:
    rig = Rig()
    rig.launch()
    rig.put(ProcessEnded(task="t", exit=Exit(cause=ExitCause.SIGNALED, signal=11), last_log="boom"))
    rig.put(Resume())
    (status,) = rig.took(node.Update)[-1].tasks
    assert (status.phase, status.state, status.last_log) == (Phase.EXITED, TaskState.ERROR, "boom")
    assert status.exit is not None
    assert not status.exit.wanted

    kill(rig)

    assert rig.took(node.Answer)[0].done == ("t",)


# attached tasks


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


def last_status(rig: Rig) -> node.TaskStatus:
    return rig.took(node.Update)[-1].tasks[-1]


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


# lives


def test_a_task_that_outlived_its_executor_is_adopted_as_it_is() -> None:
    old = Rig()
    old.launch()
    held = old.engine.tasks["t"].spec

    rig = Rig(old.records, (Survivor(spec=held, phase=Phase.ACTIVE, pid=77),))
    rig.out.clear()
    rig.welcome(state=TaskState.RUNNING, sequence=8)

    assert rig.took(Spawn) == []
    assert rig.engine.tasks["t"].state is TaskState.RUNNING


def test_an_exit_that_nobody_saw_is_told_by_the_next_life() -> None:
    survivor = Survivor(spec=spec(), phase=Phase.EXITED, exit=Exit(cause=ExitCause.EXITED, code=4), last_log="bye")

    rig = Rig({}, (survivor,))

    (announced,) = rig.took(node.Announce)
    (held,) = announced.tasks
    assert held.status.exit == Exit(cause=ExitCause.EXITED, code=4)


def test_a_hook_that_ended_while_nobody_looked_is_answered_and_not_run_again() -> None:
    old = Rig()
    hook(old)
    old.put(ProcessStarted(task="t", pid=5))
    survivor = Survivor(spec=spec(Mode.HOOK), phase=Phase.EXITED, pid=5, exit=Exit(cause=ExitCause.EXITED))

    rig = Rig(old.records, (survivor,))
    rig.out.clear()
    hook(rig)

    assert rig.took(Spawn) == []


@pytest.mark.parametrize("started", [False, True])
def test_a_hook_that_may_have_run_and_is_nowhere_is_not_run_again(started: bool) -> None:
    old = Rig()
    hook(old)
    if started:
        old.put(ProcessStarted(task="t", pid=5))

    rig = Rig(old.records)
    spawned = rig.took(Spawn)
    hook(rig)

    assert spawned == []
    assert rig.took(node.Answer)[0].failed[0].reason == "ended, nobody saw how"


def test_a_basic_task_is_what_its_record_says() -> None:
    old = Rig()
    old.launch(Mode.BASIC)
    old.transit(TaskEvent.CONFIGURE, id="c1")

    rig = Rig(old.records)
    assert rig.engine.tasks["t"].state is TaskState.CONFIGURED
    rig.transit(TaskEvent.CONFIGURE, id="c1")

    assert rig.took(node.Answer)[0].done == ("t",)


def test_an_executor_that_lost_its_records_takes_the_next_epoch_of_its_tasks() -> None:
    rig = Rig({}, (Survivor(spec=attrs.evolve(spec(), endpoint="ipc:///s/t"), phase=Phase.ACTIVE, pid=77),))
    rig.out.clear()

    rig.task(task.Refused(reason=task.Refusal.STALE, holder="n1/7", epoch=7))

    (hello,) = rig.took(task.Hello)
    assert hello.epoch == 8


def test_a_task_that_failed_into_error_says_why_in_its_update_too() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.START, id="c2", run_number="1")

    rig.task(result("c2", TaskEvent.START, TaskState.ERROR, ok=False, sequence=3, error="no trigger"))
    failed = rig.took(node.Update)[-1].tasks[0]
    rig.transit(TaskEvent.RECOVER, id="c3")
    rig.task(result("c3", TaskEvent.RECOVER, TaskState.STANDBY, sequence=4))
    rig.task(task.Happened(type=task.DeviceEventType.END_OF_STREAM))
    recovered = rig.took(node.Update)[-1].tasks[0]

    assert (failed.state, failed.error) == (TaskState.ERROR, "no trigger")
    assert (recovered.state, recovered.error) == (TaskState.STANDBY, "")


def test_an_answer_that_is_repeated_tells_the_state_of_now() -> None:
    rig = Rig()
    configured(rig)
    rig.transit(TaskEvent.RESET, id="c2")
    rig.task(result("c2", TaskEvent.RESET, TaskState.STANDBY, sequence=3))
    rig.transit(TaskEvent.CONFIGURE, id="c3")
    rig.task(result("c3", TaskEvent.CONFIGURE, TaskState.CONFIGURED, sequence=4))
    rig.took(node.Answer)

    rig.transit(TaskEvent.RESET, id="c2")  # its answer was late

    (again,) = rig.took(node.Answer)
    assert (again.id, again.done, again.state) == ("c2", ("t",), TaskState.CONFIGURED)
