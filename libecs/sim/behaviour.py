"""What simulated tasks do wrong, and how long they take: values drawn from the seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import attrs

from libecs.fsm import Mode
from libecs.sim.voices import Voice, draw_voice
from libecs.wire.node import Exit, ExitCause

EVENTS: Mapping[Mode, tuple[str, ...]] = {
    Mode.DIRECT: ("CONFIGURE", "START", "STOP", "RESET", "EXIT"),
    Mode.FAIRMQ: (
        "INIT_DEVICE",
        "COMPLETE_INIT",
        "BIND",
        "CONNECT",
        "INIT_TASK",
        "RUN",
        "STOP",
        "RESET_TASK",
        "RESET_DEVICE",
        "END",
    ),
}
"""What a task can be told, in the words of its machine."""


@attrs.frozen(kw_only=True)
class Trouble:
    """One thing that a task does wrong, at the `nth` time that it is told `event` (its machine's own name)."""

    event: str
    kind: str
    """error, hang, freeze, die_before, die_during, die_after, slow."""
    nth: int = 1
    seconds: float = 0.0
    code: int = 1
    signal: int = 0

    @property
    def exit(self) -> Exit:
        """How the process ends, when it does."""
        return ended(self.code, self.signal)


@attrs.frozen(kw_only=True)
class Behaviour:
    """How one task behaves. Times in seconds; 0 = never, where a time is a moment."""

    boot_s: float = 0.01
    """From launch until the control endpoint answers."""
    step_s: tuple[float, float] = (0.001, 0.02)
    """How long a callback works."""
    launch_error: str = ""
    dies_booting: bool = False
    never_binds: bool = False
    troubles: tuple[Trouble, ...] = ()
    dies_running_s: float = 0.0
    """Seconds after the first start of a run."""
    dies_idle_s: float = 0.0
    """Seconds after launch."""
    exit: Exit = attrs.field(factory=lambda: Exit(cause=ExitCause.EXITED, code=1))
    end_of_stream_s: float = 0.0
    error_running_s: float = 0.0
    """Seconds after a start until the user's loop fails: ERROR by itself."""
    runs_s: float = 0.5
    """Life of the process of a basic task or hook; 0 = until it is told to end."""
    code: int = 0
    ignores_term: bool = False
    voice: Voice | None = None
    stuck_s: tuple[float, float] = (0.0, 0.0)
    """Seconds after a start when the user's loop stands still, though the task answers, and for how long; 0, 0 = never.
    """

    @property
    def healthy(self) -> bool:
        """Whether nothing about it is wrong. Slow is not wrong."""
        return not (
            self.launch_error
            or self.dies_booting
            or self.never_binds
            or any(trouble.kind != "slow" for trouble in self.troubles)
            or self.dies_running_s
            or self.dies_idle_s
            or self.error_running_s
            or self.code
        )


def ended(code: int = 0, signal: int = 0) -> Exit:
    """Return the end of a process by exit code, or by signal if there is one."""
    if signal:
        return Exit(cause=ExitCause.SIGNALED, signal=signal)
    return Exit(cause=ExitCause.EXITED, code=code)


def make_behaviour(random: Random, mode: Mode, *, trouble: float) -> Behaviour:
    """Draw a behaviour: with probability `trouble` something is wrong with the task."""
    boot_s = random.uniform(0.005, 0.3)
    step_s = (0.001, random.choice((0.005, 0.05, 0.4)))
    runs_s = random.uniform(0.05, 1.0) if mode is Mode.HOOK else random.choice((0.0, 0.0, 2.0))
    plain = Behaviour(boot_s=boot_s, step_s=step_s, runs_s=runs_s, voice=draw_voice(random))
    if random.random() >= trouble:
        if random.random() < 0.1:
            event = random.choice(EVENTS[mode]) if mode in EVENTS else ""
            return attrs.evolve(plain, troubles=(Trouble(event=event, kind="slow", seconds=random.uniform(0.5, 4.0)),))
        return plain
    exit = random.choice((ended(0), ended(1), ended(3), ended(signal=11), ended(signal=9)))
    if mode in (Mode.BASIC, Mode.HOOK):
        kind = random.choice(("launch", "code", "term"))
        if kind == "launch":
            return attrs.evolve(plain, launch_error="no such file")
        if kind == "code":
            return attrs.evolve(plain, code=random.choice((1, 127)), runs_s=random.uniform(0.05, 1.0))
        return attrs.evolve(plain, ignores_term=True)
    changes: Mapping[str, Callable[[], Behaviour]] = {
        "launch": lambda: attrs.evolve(plain, launch_error="no such file"),
        "boot": lambda: attrs.evolve(plain, dies_booting=True, exit=exit),
        "bind": lambda: attrs.evolve(plain, never_binds=True),
        "running": lambda: attrs.evolve(plain, dies_running_s=random.uniform(0.1, 3.0), exit=exit),
        "idle": lambda: attrs.evolve(plain, dies_idle_s=random.uniform(0.1, 8.0), exit=exit),
        "stream": lambda: attrs.evolve(plain, end_of_stream_s=random.uniform(0.1, 3.0)),
        "stuck": lambda: attrs.evolve(plain, stuck_s=(random.uniform(0.1, 2.0), random.choice((0.0, 2.0, 5.0)))),
        "loop": lambda: attrs.evolve(plain, error_running_s=random.uniform(0.1, 3.0)),
        "term": lambda: attrs.evolve(plain, ignores_term=True),
    }
    names = (*changes, *("event",) * 6)
    name = random.choice(names)
    if name in changes:
        return changes[name]()
    trouble_in = Trouble(
        event=random.choice(EVENTS[mode]),
        kind=random.choice(("error", "error", "hang", "freeze", "die_before", "die_during", "die_after", "slow")),
        nth=random.choice((1, 1, 1, 2)),
        seconds=random.uniform(1.0, 12.0),
        code=random.choice((0, 1, 2)),
        signal=random.choice((0, 0, 6, 9, 11)),
    )
    return attrs.evolve(plain, troubles=(trouble_in,))
