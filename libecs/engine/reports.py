"""What controlled tasks say of themselves on their links, and what we make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from libecs.engine import attached, commands, lines, liveness
from libecs.engine import transitioner as moves
from libecs.engine.desk import Desk
from libecs.engine.held import HeldTask
from libecs.fsm import TaskState
from libecs.wire import task
from libecs.wire.node import Phase

REASON_S = 0.2
"""The Result that says why a command has led to ERROR comes this soon after the state, if at all."""
MAX_EPOCH = 2**62
"""Nobody counts so far: who claims it is not outbid."""


def take(desk: Desk, held: HeldTask, message: object) -> None:
    """Take one message of a task. What is no message of a task is ignored."""
    if (report := _REPORTS.get(type(message))) is not None:
        report(desk, held, message)


def _welcome(desk: Desk, held: HeldTask, message: task.Welcome) -> None:
    if message.machine is not moves.MACHINE[held.spec.mode]:
        mode = held.spec.mode.name.lower()
        held.error = f"runs the {message.machine.name} state machine, its template says mode {mode}"
        held.state = TaskState.ERROR
        held.phase = Phase.SUSPECT
        desk.outbox.touch(held)
        return
    first = not held.welcomed
    given_back = held.taken
    held.welcomed, held.taken = True, False
    if given_back:
        held.error = ""
    held.run = message.run or held.run
    broken = attached.welcomed(held, message) if held.spec.attached else ""
    held.pid = held.pid or message.pid
    liveness.alive(desk, held)
    _state(desk, held, message.state, message.sequence)
    if broken:
        held.state, held.error = TaskState.ERROR, broken
        desk.outbox.touch(held)
    if first:
        commands.tell_again(desk, held)
    if attached.is_coming_home(held):
        attached.come_home(desk, held)
    elif held.phase in (Phase.STARTING, Phase.SUSPECT):
        if held.state is TaskState.STANDBY or held.adopted or held.spec.attached or given_back:
            held.phase = Phase.ACTIVE
        elif held.state in (TaskState.ERROR, TaskState.DONE):
            held.error = held.error or f"reached {held.state.name} while it was starting"
            held.phase = Phase.SUSPECT
        desk.outbox.touch(held)


def _state(desk: Desk, held: HeldTask, machine_state: int, sequence: int) -> None:
    """Take a state of the task as of `sequence`; older ones are old news."""
    if sequence <= held.sequence:
        return
    try:
        state = moves.task_state(held.machine, machine_state)
    except ValueError:
        held.error = f"reports a state {machine_state} that does not exist"
        desk.outbox.touch(held)
        return
    held.sequence, held.machine_state = sequence, machine_state
    if state is not held.state:
        held.state = state
        liveness.moved(desk, held)
        if held.phase is Phase.STARTING and state is TaskState.STANDBY and held.welcomed and not held.spec.attached:
            held.phase = Phase.ACTIVE
        if held.going is None:
            desk.outbox.touch(held)
        elif state is TaskState.ERROR:
            desk.after(REASON_S, partial(_unexplained, desk, held))
    commands.moved(desk, held)


def _unexplained(desk: Desk, held: HeldTask) -> None:
    """A task that works on a command is in ERROR, and its answer, which would say why, has not come."""
    if held.state is TaskState.ERROR and held.going is not None and desk.holds(held):
        desk.outbox.touch(held)


def _changed(desk: Desk, held: HeldTask, message: task.StateChanged) -> None:
    liveness.alive(desk, held)
    _state(desk, held, message.state, message.sequence)
    attached.come_home(desk, held)


def _pong(desk: Desk, held: HeldTask, message: task.Pong) -> None:
    liveness.alive(desk, held)
    _state(desk, held, message.state, message.sequence)
    liveness.progress(desk, held, message.progress)
    attached.come_home(desk, held)


def _result(desk: Desk, held: HeldTask, message: task.Result) -> None:
    liveness.alive(desk, held)
    going = held.going
    _state(desk, held, message.state, message.sequence)
    if held.going is going:
        commands.result(desk, held, message)


def _happened(desk: Desk, held: HeldTask, message: task.Happened) -> None:
    liveness.alive(desk, held)
    if message.type is task.DeviceEventType.END_OF_STREAM:
        held.end_of_stream = True
    held.error = lines.clean(message.text) or held.error
    desk.outbox.touch(held)


def _refused(desk: Desk, held: HeldTask, message: task.Refused) -> None:
    unheard = held.sequence < 0  # else somebody has taken it from us, and we give way
    possible = 0 <= message.epoch < MAX_EPOCH
    if possible and unheard and message.reason is task.Refusal.STALE and desk.take_epoch(message.epoch + 1):
        desk.greet(held)
        return
    if possible and held.spec.attached and attached.claim(held, message):
        desk.greet(held)
        return
    held.welcomed = False
    held.taken = True
    held.error = f"is controlled by {lines.clean(message.holder) or 'somebody else'} ({message.reason.name})"
    held.phase = Phase.SUSPECT
    desk.outbox.touch(held)


def _metric(desk: Desk, held: HeldTask, message: task.Metric) -> None:
    liveness.alive(desk, held)
    desk.bulletins.metric(held, message, desk.now.mono_s)


def _log(desk: Desk, held: HeldTask, message: task.Log) -> None:
    liveness.alive(desk, held)
    desk.bulletins.log(held, message, desk.now.mono_s)


_REPORTS: Mapping[type, Callable[..., None]] = {
    task.Welcome: _welcome,
    task.StateChanged: _changed,
    task.Pong: _pong,
    task.Result: _result,
    task.Happened: _happened,
    task.Refused: _refused,
    task.Metric: _metric,
    task.Log: _log,
}
