"""The programs of basic tasks: started at START, with what is known of the run by then, and ended at STOP."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import attrs

from libecs.engine.desk import Desk
from libecs.engine.effects import Forget, Signal
from libecs.engine.held import Going, HeldTask, run_number
from libecs.errors import InvalidInput
from libecs.wire.node import TaskSpec

SIGKILL = 9
STOP_S = 5.0
"""Seconds that a program has after its stop signal, where its template says nothing."""
RESERVE_S = 1.0
"""A program that does not end by its stop signal is killed this long before its command is late."""
RUN_DIR, RUN_NUMBER = "{{run_dir}}", "{{run_number}}"
"""What the core leaves in the texts of a basic task, because it is not known before START."""
_HINTS = {RUN_DIR: "give the control system a folder for runs", RUN_NUMBER: "use it where there is a run"}


def start(desk: Desk, held: HeldTask, going: Going) -> str:
    """Start the program of a basic task. Return why that can't be, "" if it is on the way."""
    try:
        spec = in_run(held.spec, going.arguments)
    except InvalidInput as error:
        return error.message
    held.pid, held.exit, held.error, held.end_of_stream = 0, None, "", False
    held.last_log, held.complained = "", float("-inf")
    held.run = run_number(going.arguments)
    desk.save(held)
    desk.emit(Forget(task=held.spec.task))
    desk.spawn(held, spec)
    return ""


def in_run(spec: TaskSpec, arguments: Mapping[str, str]) -> TaskSpec:
    """Return what a basic task is started with in the run that START tells of.

    Raises:
        InvalidInput: the texts of the task say something of the run that START does not tell.
    """
    texts = (*spec.command.argv, *spec.command.environment.values())
    number = run_number(arguments)
    known = {RUN_DIR: arguments.get("run_dir", ""), RUN_NUMBER: str(number) if number else ""}
    wanted = {literal: known[literal] for literal in known if any(literal in text for text in texts)}
    if not wanted:
        return spec
    for literal, value in wanted.items():
        if not value:
            raise InvalidInput(f"its command needs {literal}, and there is none", hint=_HINTS[literal])

    def fill(text: str) -> str:
        for literal, value in wanted.items():
            text = text.replace(literal, value)
        return text

    command = attrs.evolve(
        spec.command,
        argv=tuple(fill(argument) for argument in spec.command.argv),
        environment={name: fill(value) for name, value in spec.command.environment.items()},
    )
    return attrs.evolve(spec, command=command)


def end(desk: Desk, held: HeldTask, going: Going) -> None:
    """Ask a program to end; kill it if it does not."""
    spec = held.spec
    desk.save(held)
    desk.emit(Signal(task=spec.task, number=spec.stop_signal))
    if spec.stop_signal != SIGKILL:
        left = going.deadline - desk.now.mono_s - RESERVE_S
        desk.after(max(RESERVE_S / 2, min(stop_seconds(spec), left)), partial(_expired, desk, held, held.pid))


def stop_seconds(spec: TaskSpec) -> float:
    """Return the seconds that a program has after its stop signal."""
    return spec.stop_s if spec.stop_s > 0 else STOP_S


def _expired(desk: Desk, held: HeldTask, pid: int) -> None:
    if held.alive and held.pid == pid and held.killing is None and desk.holds(held):
        held.error = f"did not end by signal {held.spec.stop_signal} and was killed"
        desk.emit(Signal(task=held.spec.task, number=SIGKILL))
