"""One environment never waits for another: with the same clock, the trouble of A does not move the ticks of B."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import attrs
import pytest

from libecs.engine.core import CoreEngine
from libecs.engine.effects import Expand
from libecs.fsm import EnvState, Mode
from libecs.sim.behaviour import Behaviour, Trouble
from libecs.sim.clients import Operation
from libecs.sim.engines import RealEngines
from libecs.sim.process import EngineProcess
from libecs.sim.scenario import draw
from libecs.sim.world import World
from libecs.wire.client import Control, Create, Destroy, Modify, Reconfigure
from libecs.wire.info import Event
from libecs.wire.node import TaskSpec
from libecs.workflow.role import Role, RoleKind, TaskClass, TaskTraits, Workflow

pytestmark = pytest.mark.timeout(300)

A, B = "quiet-a", "quiet-b"
Ends = list[tuple[str, float]]


def flow(name: str) -> Workflow:
    """Six direct tasks and three devices, anywhere."""
    roles = [Role(name="root", path="root", parent=-1, kind=RoleKind.AGGREGATOR)]
    classes = {}
    for n in range(9):
        mode = Mode.DIRECT if n < 6 else Mode.FAIRMQ
        task = f"{name}{n}"
        classes[task] = TaskClass(name=task, mode=mode, command=f"/bin/{task}", properties={"rate": "1"})
        traits = TaskTraits(class_name=task, mode=mode)
        roles.append(Role(name=task, path=f"root.{task}", parent=0, kind=RoleKind.TASK, task=traits))
    return Workflow(name=name, roles=tuple(roles), classes=classes, revision="local")


class Even(Random):
    """Everything takes what it always takes."""

    def random(self) -> float:
        return 0.5

    def choice(self, seq: Any) -> Any:
        return seq[0]

    def randint(self, a: int, b: int) -> int:
        return a


class Quiet(World):
    """Two nodes, no entropy at all, and no faults but those of one test, which are A's. Ticks are on a grid of a
    millisecond: two inputs in one tick are no news for either.
    """

    def __init__(self, behave: Callable[[TaskSpec], Behaviour], expand_a_s: float) -> None:
        self._how = behave
        scenario = attrs.evolve(draw(0), nodes=2, clients=1, operations=0, workflows=1, modifies=False, codec=False)
        super().__init__(scenario, RealEngines())
        self.services.workflows = {A: flow("a"), B: flow("b")}
        expand = self.services.expand

        def expand_later(life: int, effect: Expand) -> None:
            self.agenda.after(expand_a_s if effect.workflow == A else 0.05, lambda: expand(life, effect))

        self.services.expand = expand_later  # type: ignore[method-assign]
        for process in (self.core, *self.nodes):
            process._schedule = partial(on_the_grid, process)  # type: ignore[method-assign]

    def _random(self, purpose: str) -> Random:
        return Even()

    def _behave(self, spec: TaskSpec) -> Behaviour:
        return self._how(spec)

    def ask(self, at: float, request: Any) -> None:
        client = self.clients[0]
        self.shared.operations[request.operation] = Operation(request=request, client=client.name, begun_s=at)
        self.agenda.at(at, lambda: client._send(client.name, request))


def on_the_grid(process: EngineProcess) -> None:
    if not process._scheduled and not process.stopped:
        process._scheduled = True
        next_ms = math.floor(process.agenda.mono_s * 1000 + 1e-6) + 1
        process.agenda.at(next_ms / 1000, partial(process._tick, process.life))


def steady(spec: TaskSpec) -> Behaviour:
    """Everything takes what it takes, always the same."""
    return Behaviour(boot_s=0.02, step_s=(0.01, 0.01))


def troubled(*troubles: Trouble) -> Callable[[TaskSpec], Behaviour]:
    def behave(spec: TaskSpec) -> Behaviour:
        if spec.role == "root.a3":
            return attrs.evolve(steady(spec), troubles=troubles)
        return steady(spec)

    return behave


def ticks(behave: Callable[[TaskSpec], Behaviour] = steady, expand_a_s: float = 0.05) -> tuple[Ends, Ends]:
    """Return when B's transitions end, and when A's do."""
    world = Quiet(behave, expand_a_s)
    world.core.start()
    for node in world.nodes:
        node.start()
        world.links[node.name].dial()
    world._run_until(1.0)
    world.ask(1.0, Create(operation="a", workflow=A, target=EnvState.RUNNING))
    world.ask(1.23, Create(operation="b", workflow=B, target=EnvState.RUNNING))
    world._run_until(4.0)
    assert isinstance(world.core.engine, CoreEngine)
    a, b = world.core.engine.environments
    requests = (
        Modify(operation="b1", environment=b, exclude=("b3",)),
        Modify(operation="b2", environment=b, include=("b3",)),
        Control(operation="b3", environment=b, event="STOP_ACTIVITY"),
        Reconfigure(operation="b4", environment=b, values={"rate": "7"}),
        Control(operation="b5", environment=b, event="RESET"),
        Destroy(operation="b6", environment=b),
    )
    for n, request in enumerate(requests):
        world.ask(4.33 + n, request)
    world._run_until(16.0)
    assert not world.history.violations
    return ends(world, b), ends(world, a)


def ends(world: World, environment: str) -> Ends:
    return [
        (line.detail.transition, line.mono_s)
        for line in world.history.lines
        if line.what == "journal"
        and isinstance(line.detail, Event)
        and line.detail.kind == "transition.end"
        and line.detail.environment == environment
    ]


TRANSITIONS = [
    "DEPLOY",
    "CONFIGURE",
    "START_ACTIVITY",
    "MODIFY",
    "MODIFY",
    "STOP_ACTIVITY",
    "RECONFIGURE",
    "RESET",
    "DESTROY",
]


@pytest.mark.parametrize(
    "behave",
    [
        troubled(Trouble(event="CONFIGURE", kind="hang", seconds=60.0)),
        troubled(Trouble(event="CONFIGURE", kind="slow", seconds=5.0)),
        troubled(Trouble(event="START", kind="freeze", seconds=60.0)),
        lambda spec: attrs.evolve(steady(spec), never_binds=spec.role == "root.a3"),
        lambda spec: attrs.evolve(steady(spec), boot_s=6.0 if spec.role == "root.a3" else 0.02),
    ],
    ids=["a hung task", "a slow CONFIGURE", "a task that freezes", "a task that never answers", "a slow launch"],
)
def test_the_trouble_of_one_environment_does_not_delay_another(behave: Callable[[TaskSpec], Behaviour]) -> None:
    calm, a_calm = ticks()
    assert [name for name, _ in calm] == TRANSITIONS
    same, a_troubled = ticks(behave)
    assert same == calm
    assert a_troubled != a_calm


def test_a_slow_expansion_does_not_delay_another_environment() -> None:
    calm, a_calm = ticks()
    same, a_late = ticks(expand_a_s=1.0)
    assert same == calm
    assert a_late[0][1] == pytest.approx(a_calm[0][1] + 0.95, abs=0.01)


def test_two_runs_of_the_same_are_the_same() -> None:
    assert ticks() == ticks()
