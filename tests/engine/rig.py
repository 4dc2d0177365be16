"""One executor engine for tests: what comes in by hand, what goes out in a list."""

from __future__ import annotations

from typing import TypeVar

import attrs

from libecs.engine.effects import (
    Adopt,
    Connected,
    Effect,
    Input,
    Now,
    Persist,
    ProcessStarted,
    Received,
    Resume,
    Send,
    Survivor,
    Tick,
)
from libecs.engine.executor import ExecutorEngine, ExecutorSettings
from libecs.engine.outbox import CORE
from libecs.fairmq import DeviceState
from libecs.fsm import Mode, TaskEvent, TaskState
from libecs.wire import node, task
from libecs.wire.node import TaskSpec

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
    return attrs.evolve(base, **fields)  # type: ignore[arg-type] # fields of a test, by name


def result(id: str, event: int, state: int, ok: bool = True, sequence: int = 2, error: str = "") -> task.Result:
    return task.Result(id=id, ok=ok, state=state, event=event, sequence=sequence, error=error)


def configured(rig: Rig, mode: Mode = Mode.DIRECT) -> None:
    rig.launch(mode)
    state = TaskState.CONFIGURED if mode is Mode.DIRECT else DeviceState.READY
    rig.task(task.StateChanged(state=state, sequence=2))
    rig.out.clear()


def hook(rig: Rig, id: str = "h1", timeout_s: float = 0.0) -> None:
    rig.core(node.Trigger(session=9, epoch=5, id=id, tasks=(spec(Mode.HOOK, timeout_s=timeout_s),)))


def kill(rig: Rig, id: str = "k1") -> None:
    rig.core(node.Kill(session=9, epoch=5, id=id, tasks=("t",)))


def last_status(rig: Rig) -> node.TaskStatus:
    return rig.took(node.Update)[-1].tasks[-1]
