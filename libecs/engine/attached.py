"""Attached tasks: processes that somebody else starts and ends. We command them, and what we can lose is the link.

A task that is taken is brought to STANDBY first, wherever its last controller left it; one that is let go is left
there. No signal is ever sent to it.
"""

from __future__ import annotations

import re
from functools import partial

from libecs.engine import commands, endings, liveness
from libecs.engine.desk import Desk
from libecs.engine.effects import Close, Open
from libecs.engine.held import Going, HeldTask
from libecs.fsm import TaskEvent, TaskState
from libecs.wire.node import Phase
from libecs.wire.task import Refusal, Refused, Welcome

LINK_LOST_S = 10.0
"""Seconds of silence after which a run is over for the task, and after which it is dialled anew, each time."""
STEP_S = 10.0
"""Seconds for each event on the way to STANDBY."""

_ENDPOINT = re.compile(r"tcp://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}|ipc://\S{1,100}", re.ASCII)
_IN_RUN = (TaskState.RUNNING, TaskState.PAUSED)
_HOME = {
    TaskState.RUNNING: TaskEvent.STOP,
    TaskState.PAUSED: TaskEvent.STOP,
    TaskState.CONFIGURED: TaskEvent.RESET,
    TaskState.ERROR: TaskEvent.RECOVER,
}


def take(desk: Desk, held: HeldTask) -> str:
    """Dial a task. Return why that can't be, "" if it can: nobody can be in two environments."""
    if _ENDPOINT.fullmatch(held.spec.endpoint) is None:
        return f"{held.spec.endpoint!r} is no endpoint: write tcp://host:port"
    for other in list(desk.tasks.values()):
        if other is held or not other.dialled or other.spec.endpoint != held.spec.endpoint:
            continue
        if other.killing is None:
            where = f"environment {other.spec.environment}"
            return f"{held.spec.endpoint} is controlled already, as {other.spec.role} of {where}"
        endings.let_go(desk, other)
    desk.save(held)
    watch(desk, held)
    return ""


def watch(desk: Desk, held: HeldTask) -> None:
    """Look after the link of a task from now on."""
    held.heard = desk.now.mono_s
    desk.after(LINK_LOST_S, partial(_look, desk, held))


def welcomed(held: HeldTask, message: Welcome) -> str:
    """Note who answers. Return what happened if it is not the process that we knew, else ""."""
    before, held_state = held.pid, held.state
    restarted = before != 0 and (message.pid != before or message.sequence < held.sequence)
    held.pid = message.pid
    if restarted or held.lost:
        held.sequence = -1  # another process counts anew; and what we said of a lost one is not what it says
    held.lost = False
    if restarted and held_state in (*_IN_RUN, TaskState.CONFIGURED) and message.state != held.machine_state:
        return f"was started anew by somebody while it was {held_state.name} (pid {before}, now {message.pid})"
    return ""


def claim(held: HeldTask, message: Refused) -> bool:
    """Take a higher epoch to a task that its last controller, gone perhaps, still holds; return whether.

    Only once, when it is taken: of two controllers that live, the one that was superseded gives way.
    """
    claimed = held.phase is Phase.STARTING and message.reason in (Refusal.STALE, Refusal.CONFLICT)
    if claimed:
        held.epoch = max(held.epoch, message.epoch + 1)
    return claimed


def is_coming_home(held: HeldTask) -> bool:
    """Whether a task is to be brought to STANDBY before anything else is done with it."""
    return held.spec.attached and held.phase is Phase.STARTING and not held.adopted and held.killing is None


def come_home(desk: Desk, held: HeldTask, failed: str | None = None) -> None:
    """Do the next thing that brings a task which was just taken to STANDBY."""
    if not is_coming_home(held) or not desk.holds(held):
        return
    if held.state is TaskState.STANDBY:
        held.phase = Phase.ACTIVE
        held.error = ""
        desk.save(held)
        desk.outbox.touch(held)
        return
    event = _HOME.get(held.state)
    if held.going is not None or not held.welcomed or (event is None and held.state is TaskState.UNKNOWN):
        return  # its next word brings us back
    held.homing += 1
    if failed is not None or event is None or held.homing > len(_HOME):
        held.phase = Phase.SUSPECT
        why = failed or "nothing leads there"
        held.error = f"was {held.state.name} when it was attached, and could not be brought to STANDBY: {why}"
        held.state = TaskState.ERROR
        desk.outbox.touch(held)
        return
    id = desk.own_id(held, f"home{held.homing}")
    held.going = Going(
        id=id, event=event, arguments={}, deadline=desk.now.mono_s + STEP_S, then=partial(come_home, desk, held)
    )
    desk.after(STEP_S, partial(commands.expire, desk, id, (held.spec.task,)))
    commands.step(desk, held)


def disconnected(desk: Desk, held: HeldTask) -> None:
    """The link is down; it is dialled again and again."""
    if held.phase is Phase.ACTIVE:
        liveness.silence(desk, held, f"its link to {held.spec.endpoint} is lost")


def _look(desk: Desk, held: HeldTask) -> None:
    """Look every LINK_LOST_S of silence: a link may be dead without knowing it."""
    if not desk.holds(held):
        return
    now = desk.now.mono_s
    silence_s = now - held.heard
    if silence_s + 1e-6 < LINK_LOST_S:
        desk.timers.at(held.heard + LINK_LOST_S, partial(_look, desk, held))
        return
    if held.state in _IN_RUN:
        held.lost = True
        held.state = TaskState.ERROR
        liveness.silence(desk, held, f"link lost: nothing heard from {held.spec.endpoint} for {silence_s:.0f} s")
    held.welcomed = False
    desk.emit(Close(task=held.spec.task))
    desk.emit(Open(task=held.spec.task, endpoint=held.spec.endpoint))
    desk.after(LINK_LOST_S, partial(_look, desk, held))
