"""What an executor makes of the tasks that its last life left behind.

Controlled tasks tell by themselves how they are; basic tasks and hooks are what the records say, and what their
processes have done since. Nothing is started that was started before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from libecs.engine import commands
from libecs.engine.desk import Desk
from libecs.engine.effects import ProcessEnded, ProcessStarted, Survivor
from libecs.engine.held import Going, HeldRecord, HeldTask
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire.node import Exit, ExitCause, Phase, TaskSpec

COMMAND_S = 30.0
"""Seconds for a command that was going on."""


def with_use(spec: TaskSpec, use: TaskSpec) -> TaskSpec:
    """Return what is held of a task that gets another use: its process, command and endpoint are what they were."""
    return attrs.evolve(
        spec,
        environment=use.environment,
        role=use.role,
        class_name=use.class_name,
        critical=use.critical,
        timeout_s=use.timeout_s,
        start_s=use.start_s,
        liveness=use.liveness,
        exit_is_error=use.exit_is_error,
        stop_s=use.stop_s,
        exit_s=use.exit_s,
    )


def from_record(record: HeldRecord) -> HeldTask:
    """Return a basic task, a hook or an attached task as it was written down."""
    if record.spec.attached:  # its link tells the rest
        begun = record.state is not TaskState.UNKNOWN
        return HeldTask(spec=record.spec, state=TaskState.UNKNOWN, phase=Phase.STARTING, adopted=begun, run=record.run)
    held = HeldTask(
        spec=record.spec,
        state=record.state,
        trigger=record.trigger,
        run=record.run,
        phase=Phase.ACTIVE,
        adopted=True,
    )
    for id, reason in record.answers:
        held.answers[id] = held.failure(reason) if reason else None
    if record.going:
        held.going = Going(id=record.going, event=TaskEvent(record.going_event), arguments={}, deadline=0.0)
    return held


def adopt_recorded(
    desk: Desk,
    held: HeldTask,
    survivor: Survivor | None,
    started: Callable[[ProcessStarted], None],
    ended: Callable[[ProcessEnded], None],
) -> None:
    """Go on with a basic task or a hook whose process, if there is one, is `survivor`."""
    held.heard = desk.now.mono_s
    going = held.going
    starting = going is not None and going.event is TaskEvent.START
    if going is not None:
        going.deadline = desk.now.mono_s + COMMAND_S
        desk.after(COMMAND_S, partial(commands.expire, desk, going.id, (held.spec.task,)))
    unanswered = bool(held.trigger) and held.trigger not in held.answers
    if survivor is None and (starting or unanswered or (going is None and held.state is TaskState.RUNNING)):
        # it may have run and been wiped out with its node: it is not run a second time
        survivor = Survivor(spec=held.spec, phase=Phase.EXITED, exit=Exit(cause=ExitCause.UNKNOWN))
    if survivor is None:
        if going is not None:
            commands.step(desk, held)
        return
    held.pid = survivor.pid
    held.last_log = survivor.last_log
    if survivor.exit is None:
        started(ProcessStarted(task=held.spec.task, pid=survivor.pid))
        if going is not None and not starting:
            commands.step(desk, held)
    elif held.trigger and not unanswered:
        held.phase, held.exit = Phase.EXITED, survivor.exit
    elif held.spec.mode is Mode.BASIC and going is None and held.state is not TaskState.RUNNING:
        held.exit = survivor.exit
    else:
        ended(ProcessEnded(task=held.spec.task, exit=survivor.exit, last_log=survivor.last_log))


def adopt_controlled(held: HeldTask, survivor: Survivor) -> None:
    """Take over a task that will tell the rest itself, or that can't any more."""
    held.adopted = True
    held.pid, held.exit, held.last_log = survivor.pid, survivor.exit, survivor.last_log
    if survivor.exit is not None:
        held.phase = Phase.EXITED
        held.state = TaskState.ERROR


def adopt_unrecorded(desk: Desk, held: HeldTask, survivor: Survivor) -> None:
    """Take over a basic task or a hook whose record is lost. A basic task has a process only while it runs."""
    held.adopted = True
    held.pid, held.exit, held.last_log = survivor.pid, survivor.exit, survivor.last_log
    if survivor.exit is not None:
        held.phase, held.state = Phase.EXITED, TaskState.ERROR
        return
    held.phase = Phase.ACTIVE
    if held.spec.mode is Mode.BASIC:
        held.state = TaskState.RUNNING
    desk.save(held)
