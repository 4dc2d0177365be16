"""What happens in a round of chaos: which blows fall, when, and what the clients do meanwhile. A seed says all of it.

Blows are keyed to counted events of the journal, as a client sees them, and not to the clock: "after the seventh event
of this round, kill the core". So a round can be repeated on a faster machine, as far as processes let it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import attrs

KINDS: Mapping[str, int] = {
    "core": 24,
    "core-twice": 6,
    "executor": 18,
    "core+executor": 12,
    "everything": 6,
    "upgrade": 8,
    "upgrade-executor": 5,
    "pause": 6,
    "pause-executor": 4,
    "shim": 8,
    "task": 10,
    "shim+task": 3,
}
"""Kind of a blow to its weight.

core: SIGKILL. core-twice: again while it starts. everything: core and all executors. upgrade: SIGTERM and a new life.
pause: SIGSTOP and SIGCONT. shim, task: SIGKILL.
"""
MAY_HURT = frozenset({"task", "shim+task"})
"""Blows for which an environment may go to ERROR."""


@attrs.frozen(kw_only=True)
class Blow:
    """One fault."""

    kind: str
    after_events: int
    """Of the round; if there are not so many, it falls at the end of the work."""
    delay_ms: int
    """From there on: most lie between two steps of something."""
    gap_ms: int
    """How long the victim is away."""
    pick: float
    """0 to 1: which of several."""


@attrs.frozen(kw_only=True)
class Step:
    """One thing that a client does."""

    verb: str
    """create, start, stop, reconfigure, reset, configure, exclude, include, meddle, destroy."""
    value: int = 0


@attrs.frozen(kw_only=True)
class Script:
    """What one client does in a round with one environment of its own."""

    each: int
    """Recording tasks on each node."""
    steps: tuple[Step, ...]
    running: bool
    """Destroy it while it is RUNNING."""
    keep: bool
    """Leave its tasks to the idle pool."""


@attrs.frozen(kw_only=True)
class Round:
    """All of a round."""

    number: int
    seed: int
    scripts: tuple[Script, ...]
    blows: tuple[Blow, ...]

    @property
    def may_hurt(self) -> bool:
        """Whether an environment may go to ERROR in it."""
        return any(blow.kind in MAY_HURT for blow in self.blows)

    def document(self) -> dict[str, Any]:
        """Return it for people and for JSON."""
        return attrs.asdict(self)


def make_round(seed: int, number: int, *, modify: bool = True) -> Round:
    """Return round `number` of a seed. `modify`: with exclusions and the idle pool."""
    rng = random.Random(f"chaos {seed} {number}")
    scripts = tuple(_script(rng, modify) for _ in range(2))
    kinds = rng.choices(list(KINDS), weights=list(KINDS.values()), k=rng.choice((1, 1, 1, 2)))
    at = sorted(rng.randint(1, 70) for _ in kinds)
    blows = tuple(
        Blow(
            kind=kind,
            after_events=after,
            delay_ms=rng.choice((0, 0, 1, 2, 5, 10, 20)),
            gap_ms=_gap(rng, kind),
            pick=rng.random(),
        )
        for kind, after in zip(kinds, at, strict=True)
    )
    return Round(number=number, seed=seed, scripts=scripts, blows=blows)


def _gap(rng: random.Random, kind: str) -> int:
    if kind == "pause":
        return rng.choice((200, 500, 1200, 3000))
    if kind == "pause-executor":
        return rng.choice((200, 700, 1200))  # longer ones are LOST: that is what cut links are for
    if kind == "core-twice":
        return rng.randint(20, 600)
    return rng.choice((0, 0, 0, 50, 200))


def _script(rng: random.Random, modify: bool) -> Script:
    steps = [Step(verb="create", value=rng.randint(1, 9))]
    is_running = False
    is_out = False
    for _ in range(rng.randint(2, 6)):
        verbs = ["stop", "stop", "meddle"] if is_running else ["start", "start", "start", "reconfigure", "cycle"]
        if modify:
            verbs += ["include"] if is_out else ["exclude"]
        verb = rng.choice(verbs)
        if verb == "cycle":
            steps += [Step(verb="reset"), Step(verb="configure")]
            continue
        is_running = {"start": True, "stop": False}.get(verb, is_running)
        is_out = {"exclude": True, "include": False}.get(verb, is_out)
        steps.append(Step(verb=verb, value=rng.randint(10, 99)))
    keep = modify and rng.random() < 0.3
    running = is_running and rng.random() < 0.5
    if is_running and not running:
        steps.append(Step(verb="stop"))
    steps.append(Step(verb="destroy"))
    return Script(each=rng.choice((1, 1, 2)), steps=tuple(steps), running=running, keep=keep)
