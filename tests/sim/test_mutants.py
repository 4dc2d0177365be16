"""The checker finds engines that are broken on purpose: each within 200 seeds, by a rule that fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from libecs.engine.core import CoreEngine, CoreSettings
from libecs.engine.effects import (
    Adopt,
    Effect,
    Engine,
    Expanded,
    Input,
    Journal,
    Now,
    Persist,
    Publish,
    Received,
    RunNumberTaken,
    Send,
    Spawn,
)
from libecs.engine.records import OPERATION
from libecs.sim.engines import RealEngines
from libecs.sim.world import Engines, Records, play
from libecs.wire import node
from libecs.workflow.role import RoleKind

SEEDS = 200


class Wrapper:
    """An engine around an engine: sees inputs and effects, and may change them."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    @property
    def next_deadline(self) -> float | None:
        deadline: float | None = self.engine.next_deadline
        return deadline

    def handle(self, input: Input, now: Now) -> list[Effect]:
        return self.after(self.engine.handle(self.before(input), now))

    def before(self, input: Input) -> Input:
        return input

    def after(self, effects: list[Effect]) -> list[Effect]:
        return effects


class Broken(RealEngines):
    """Engines, one of which is wrapped."""

    def __init__(self, core: type[Wrapper] | None = None, executor: type[Wrapper] | None = None) -> None:
        self._core = core
        self._executor = executor

    def core(self, records: Records, now: Now, idempotent: frozenset[str]) -> tuple[Engine, list[Effect]]:
        engine, effects = super().core(records, now, idempotent)
        if self._core is None:
            return engine, effects
        wrapper = self._core(engine)
        return wrapper, wrapper.after(effects)

    def executor(self, node: str, records: Records, now: Now) -> Engine:
        engine = super().executor(node, records, now)
        return engine if self._executor is None else self._executor(engine)


class SendsBeforeItPersists(Wrapper):
    """Records are written one input later than they are acted on."""

    late: tuple[Effect, ...] = ()

    def after(self, effects: list[Effect]) -> list[Effect]:
        durable = [effect for effect in effects if isinstance(effect, Persist | Journal)]
        others = [effect for effect in effects if not isinstance(effect, Persist | Journal)]
        late, self.late = self.late, tuple(durable)
        return [*late, *others]


class CountsRunsInMemory(Wrapper):
    """Run numbers begin again with each life of the core."""

    number = 500

    def before(self, input: Input) -> Input:
        if isinstance(input, RunNumberTaken) and input.number:
            self.number += 1
            return attrs.evolve(input, number=self.number)
        return input


class KeepsNoAnswers(Wrapper):
    """Operations are not on disk: repeated after a crash, they are done again."""

    def after(self, effects: list[Effect]) -> list[Effect]:
        return [effect for effect in effects if not (isinstance(effect, Persist) and effect.table == OPERATION)]


class EveryTaskCounts(Wrapper):
    """Non-critical tasks are merged like critical ones."""

    critical = True

    def before(self, input: Input) -> Input:
        if isinstance(input, Expanded) and input.workflow is not None:
            roles = tuple(
                attrs.evolve(role, critical=self.critical) if role.kind is RoleKind.TASK else role
                for role in input.workflow.roles
            )
            return attrs.evolve(input, workflow=attrs.evolve(input.workflow, roles=roles))
        return input


class NoTaskCounts(EveryTaskCounts):
    """Critical tasks are merged like non-critical ones."""

    critical = False


class KillsWhatItFinds(Wrapper):
    """A core that comes back kills what is announced, as AliECS does."""

    first = True

    def handle(self, input: Input, now: Now) -> list[Effect]:
        effects = super().handle(input, now)
        if isinstance(input, Received) and isinstance(input.message, node.Announce) and self.engine.epoch > 1:
            names = tuple(held.status.task for held in input.message.tasks)
            session, epoch = input.message.session, self.engine.epoch
            kill = node.Kill(session=session, epoch=epoch, id="k0", tasks=names)
            return [*effects, Send(input.peer, kill)]
        return effects


class RepeatsEveryCall(RealEngines):
    """All calls are taken for idempotent."""

    def core(self, records: Records, now: Now, idempotent: frozenset[str]) -> tuple[Engine, list[Effect]]:
        names = ("sim.Quick", "sim.Slow", "sim.Set", "sim.Fail", "sim.Never")
        return super().core(records, now, frozenset(names))


class NeverDoubts(RealEngines):
    """A node that is silent is shown as it was."""

    def core(self, records: Records, now: Now, idempotent: frozenset[str]) -> tuple[Engine, list[Effect]]:
        settings = CoreSettings(instance="sim", idempotent_calls=idempotent, suspect_s=1e9, lost_s=1e9)
        engine = CoreEngine(settings, records)
        return engine, engine.start(now)


class AdoptsNothing(Wrapper):
    """An executor that forgets the tasks of its last life."""

    def before(self, input: Input) -> Input:
        return Adopt() if isinstance(input, Adopt) else input


class StartsTwice(Wrapper):
    """An executor that starts a task again when its launch is repeated."""

    def handle(self, input: Input, now: Now) -> list[Effect]:
        known = set(self.engine.tasks)
        effects = super().handle(input, now)
        if isinstance(input, Received) and isinstance(input.message, node.Launch):
            again = [spec for spec in input.message.tasks if spec.task in known]
            effects = [*effects, *(Spawn(spec=spec, endpoint=spec.endpoint) for spec in again)]
        return effects


class TellsTwice(Wrapper):
    """A core that gives a command a new id each time that it repeats it."""

    count = 0

    def after(self, effects: list[Effect]) -> list[Effect]:
        changed: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, node.Transit):
                self.count += 1
                message = attrs.evolve(effect.message, id=f"{effect.message.id}+{self.count}")
                changed.append(Send(effect.peer, message))
            else:
                changed.append(effect)
        return changed


class Boasts(Wrapper):
    """A core that publishes an event that is nowhere on disk."""

    def after(self, effects: list[Effect]) -> list[Effect]:
        return [effect for effect in effects if not isinstance(effect, Journal) or effect.event.sequence % 7]


class EndsNoRun(Wrapper):
    """The ends of runs are not written."""

    def after(self, effects: list[Effect]) -> list[Effect]:
        changed: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Journal) and effect.event.kind == "run.end":
                changed.append(Journal(attrs.evolve(effect.event, kind="run")))
            elif isinstance(effect, Publish):
                changed.append(Publish(tuple(event for event in effect.events if event.kind != "run.end")))
            else:
                changed.append(effect)
        return changed


MUTANTS: Mapping[str, tuple[Engines, set[str]]] = {
    "sends before it persists": (Broken(core=SendsBeforeItPersists), {"publish-before-commit"}),
    "counts runs in memory": (Broken(core=CountsRunsInMemory), {"run-number"}),
    "keeps no answers": (Broken(core=KeepsNoAnswers), {"same-answer", "liveness"}),
    "every task counts": (Broken(core=EveryTaskCounts), {"error-without-cause"}),
    "no task counts": (Broken(core=NoTaskCounts), {"critical-death"}),
    "kills what it finds": (Broken(core=KillsWhatItFinds), {"error-without-cause", "liveness"}),
    "repeats every call": (RepeatsEveryCall(), {"calls"}),
    "never doubts": (NeverDoubts(), {"shown-healthy"}),
    "adopts nothing": (Broken(executor=AdoptsNothing), {"error-without-cause", "liveness", "left-behind"}),
    "starts twice": (Broken(executor=StartsTwice), {"one-process", "started-twice"}),
    "tells twice": (Broken(core=TellsTwice), {"calm", "liveness", "error-without-cause", "exactly-once"}),
    "boasts": (Broken(core=Boasts), {"publish-before-commit", "event-sequence"}),
    "ends no run": (Broken(core=EndsNoRun), {"one-run"}),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_engine_is_found_within_200_seeds(name: str) -> None:
    engines, wanted = MUTANTS[name]
    found: set[str] = set()
    for seed in range(SEEDS):
        outcome = play(seed, engines)
        found = {violation.rule for violation in outcome.violations}
        if found & wanted:
            break

    assert found & wanted, f"{name}: not found in {SEEDS} seeds (last rules: {found})"
    assert f"--seed {seed}" in outcome.report()
