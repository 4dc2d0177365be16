"""Commands of an executor's tasks: each is a walk through the moves of a transitioner, with an id and a deadline.

A command has one answer, which is kept and given again when the command is repeated. What a task is told carries the
command's id too, so that the task knows it again after the executor was replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from libecs.engine import lines, programs
from libecs.engine import transitioner as moves
from libecs.engine.desk import Desk
from libecs.engine.effects import MakeFolder, Send
from libecs.engine.held import Going, HeldTask, run_number
from libecs.fsm import Mode, TaskEvent, TaskState, next_task, target_of
from libecs.wire import node, task
from libecs.wire.node import Failure, Phase

_WAYS_BACK = (TaskEvent.STOP, TaskEvent.RESET, TaskEvent.RECOVER)
MAX_QUEUE = 4
"""Commands that wait for one task."""
_ENDS_OF_RUN = (TaskEvent.STOP, TaskEvent.RESET, TaskEvent.RECOVER)


def transit(desk: Desk, message: node.Transit) -> None:
    """Begin a command on each of its tasks, or answer at once."""
    target = target_of(message.event)
    made: set[str] = set()
    for i, name in enumerate(message.tasks):
        held = desk.tasks.get(name)
        if held is None:
            gone = "has ended" if name in desk.gone else "is not known here"
            failure = Failure(task=name, state=TaskState.UNKNOWN, reason=f"task {gone}")
            desk.outbox.answer(message.id, name, failure, target)
        elif message.id in held.answers:
            desk.outbox.answer(message.id, name, held.answers[message.id], held.state)  # of now: it may have moved on
        elif held.going is not None:
            if held.going.id != message.id and not _waits(desk, held, message, i):
                busy = held.failure(f"is busy with {held.going.event.name}")
                desk.outbox.answer(message.id, name, busy, target)
        elif held.killing is not None or held.phase is Phase.EXITED:
            reason = held.exit.describe() if held.exit else "is being ended"
            desk.outbox.answer(message.id, name, held.failure(reason), target)
        else:
            arguments = {**message.arguments, **(message.each[i] if message.each else {})}
            due = desk.now.mono_s + message.deadline_s
            if message.event is TaskEvent.START and (folder := arguments.get("run_dir", "")) and folder not in made:
                made.add(folder)
                desk.emit(MakeFolder(folder))
            held.going = Going(id=message.id, event=message.event, arguments=arguments, deadline=due)
            step(desk, held)
    desk.after(message.deadline_s, partial(expire, desk, message.id, message.tasks))


def _waits(desk: Desk, held: HeldTask, message: node.Transit, number: int) -> bool:
    """Put a way back behind the command that a task works on, however long that takes; tell whether that can be."""
    going = held.going
    if message.event not in _WAYS_BACK or going is None or going.then is not None or held.killing is not None:
        return False
    if any(one.id == message.id for one in held.queue):
        return True
    if len(held.queue) >= MAX_QUEUE:
        return False
    arguments = {**message.arguments, **(message.each[number] if message.each else {})}
    due = desk.now.mono_s + message.deadline_s
    held.queue.append(
        Going(id=message.id, event=message.event, arguments=arguments, deadline=due, seconds=message.deadline_s)
    )
    return True


def _next(desk: Desk, held: HeldTask) -> None:
    """Begin what has waited for the command that is over, if it can be done still."""
    if not held.queue or held.going is not None:
        return
    if held.killing is not None or held.phase is Phase.EXITED:
        reason = held.exit.describe() if held.exit else "is being ended"
        waited, held.queue = held.queue, []
        for one in waited:
            desk.outbox.answer(one.id, held.spec.task, held.failure(reason), target_of(one.event))
        return
    going = held.going = held.queue.pop(0)
    if going.deadline <= desk.now.mono_s:  # its caller has given up, and it is to be done all the same
        going.deadline = desk.now.mono_s + going.seconds
        desk.after(going.seconds, partial(expire, desk, going.id, (held.spec.task,)))
    step(desk, held)


def expire(desk: Desk, id: str, names: Sequence[str]) -> None:
    """A deadline of command `id` has passed, for those tasks that still work on it and were not given more time."""
    for name in names:
        held = desk.tasks.get(name)
        late = next((one for one in held.queue if one.id == id), None) if held is not None else None
        if held is not None and held.going is not None and late is not None and desk.now.mono_s >= late.deadline:
            failure = held.failure(f"could not begin {late.event.name} in time: is busy with {held.going.event.name}")
            held.remember(id, failure)
            desk.outbox.answer(id, name, failure, target_of(late.event))
        if held is None or held.going is None or held.going.id != id:
            continue
        left = held.going.deadline - desk.now.mono_s
        if left > 0:
            desk.after(left, partial(expire, desk, id, (name,)))
            continue
        event = held.going.event.name
        waited = "" if held.welcomed or not held.controlled else ", its control link is not up"
        finish(desk, held, f"did not finish {event} in time, last state {held.state.name}{waited}")


def step(desk: Desk, held: HeldTask) -> None:
    """Do the next thing that the command of a task needs."""
    going = held.going
    assert going is not None
    if held.controlled and not held.welcomed:
        return  # Welcome brings us back
    state = held.machine_state if held.controlled else held.state
    move = moves.TRANSITIONERS[held.spec.mode](going.event, state, held.alive)
    if isinstance(move, moves.Tell):
        _tell(desk, held, going, move)
    elif isinstance(move, moves.Reached):
        if held.spec.mode is Mode.BASIC:
            held.state = next_task(held.state, going.event)
        elif held.controlled:
            held.state = moves.task_state(held.machine, held.machine_state)
        finish(desk, held, going.failed or None)
    elif isinstance(move, moves.Impossible):
        finish(desk, held, going.failed or move.reason)
    elif isinstance(move, moves.StartProcess):
        if problem := programs.start(desk, held, going):
            finish(desk, held, problem)
    elif isinstance(move, moves.EndProcess):
        programs.end(desk, held, going)


def _tell(desk: Desk, held: HeldTask, going: Going, move: moves.Tell) -> None:
    arguments = going.arguments if going.step == 0 else {}
    if going.event is TaskEvent.START and going.step == 0:
        held.end_of_stream = False
    going.told, going.source = move.event, move.source
    going.step += 1
    id = going.id + _suffix(held, move.event)
    told = task.Transition(id=id, event=move.event, source=move.source, arguments=arguments)
    desk.emit(Send(held.spec.task, told))


def _suffix(held: HeldTask, event: int) -> str:
    """A command of a FairMQ device is several events, each with an id of its own."""
    return f"#{event}" if held.spec.mode is Mode.FAIRMQ else ""


def tell_again(desk: Desk, held: HeldTask) -> None:
    """Repeat the event that a task works on: its link broke, and what was under way may be lost."""
    going = held.going
    if going is None:
        return
    if going.told:
        id = going.id + _suffix(held, going.told)
        arguments = going.arguments if going.step == 1 else {}
        again = task.Transition(id=id, event=going.told, source=going.source, arguments=arguments)
        desk.emit(Send(held.spec.task, again))
    else:
        step(desk, held)


def moved(desk: Desk, held: HeldTask) -> None:
    """The device may now be where a command that waited for it can go on."""
    if held.going is not None and held.going.told == 0:
        step(desk, held)


def finish(desk: Desk, held: HeldTask, reason: str | None) -> None:
    """End the command of a task, with the reason if it failed."""
    going = held.going
    assert going is not None
    held.going = None
    if going.event is TaskEvent.START and reason is None:
        held.run = run_number(going.arguments)
    if going.event in _ENDS_OF_RUN and reason is None:
        held.end_of_stream = False  # else an Update that meets the next START would end that run too
    if going.event is TaskEvent.STOP:
        desk.bulletins.hurry(held.spec.task)
    if going.then is not None:
        going.then(reason)
        return
    _answer(desk, held, going, reason)
    _next(desk, held)


def _answer(desk: Desk, held: HeldTask, going: Going, reason: str | None) -> None:
    failure = None if reason is None else held.failure(reason)
    if failure is not None and held.controlled and held.state is TaskState.ERROR:
        held.error = held.error or failure.reason  # the Update that tells the ERROR may come before the Answer
    elif failure is None and going.event is TaskEvent.RECOVER:
        held.error = ""
    held.remember(going.id, failure)
    desk.save(held)
    desk.outbox.answer(going.id, held.spec.task, failure, target_of(going.event))
    if failure is not None:
        desk.outbox.touch(held)


def _lie(source: int, message: task.Result) -> str:
    """Return what is wrong with the answer of an OCC task that says it has done what it was told; "" = nothing."""
    event = TaskEvent(message.event)
    if message.state == next_task(TaskState(source), event):
        return ""
    known = message.state in TaskState.__members__.values()
    state = TaskState(message.state).name if known else f"a state {message.state} that does not exist"
    return f"says that it has done {event.name}, and is in {state}"


def result(desk: Desk, held: HeldTask, message: task.Result) -> None:
    """Take a task's answer to the event that it was told. The state that came with it is taken over already."""
    going = held.going
    if going is None or message.id != going.id + _suffix(held, message.event) or going.told != message.event:
        return  # too late: the states that came with it are known by their numbers
    source, going.told = going.source, 0
    if message.ok:
        if held.spec.mode is Mode.DIRECT or going.failed:
            finish(desk, held, going.failed or _lie(source, message) or None)
        else:
            step(desk, held)
        return
    reason = lines.clean(message.error) or f"answered {going.event.name} with failure"
    back = moves.rollback(source, message.event) if held.spec.mode is Mode.FAIRMQ and not going.failed else None
    if back is not None and held.machine_state == back.source:
        going.failed = reason
        _tell(desk, held, going, back)
    else:
        finish(desk, held, going.failed or reason)
