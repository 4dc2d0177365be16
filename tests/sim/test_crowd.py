"""The rules of the house: the checker finds cores that look away, each by the rule that fits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libecs.engine import locks, questions, rules
from libecs.engine.effects import Replay
from libecs.sim.engines import RealEngines
from libecs.sim.scenario import draw
from libecs.sim.world import World

pytestmark = pytest.mark.timeout(300)

SEEDS = 150


def looks_away(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "trespass", lambda *arguments: None)


def knows_no_roles(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "denial", lambda who, verb: None)


def believes_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "asked_by", lambda message, who: message)


def believes_senders(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rules, "is_owner", lambda who: True)
    patch.setattr(rules, "speaks_for", lambda who, name: True)


def shares_detectors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(locks.Locks, "conflict", lambda self, env, detectors: None)


def forgets_locks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(locks.Locks, "load", lambda self, detector, value: None)


def keeps_no_log(patch: pytest.MonkeyPatch) -> None:
    asked = rules.asked
    patch.setattr(
        rules,
        "asked",
        lambda message, who, decision, *more: asked(
            message, who, "denied" if decision == "accepted" else decision, *more
        ),
    )


@pytest.mark.parametrize(
    ("mutate", "broken"),
    [
        (looks_away, {"lock", "allowed"}),
        (knows_no_roles, {"allowed"}),
        (believes_names, {"lock", "allowed"}),
        (believes_senders, {"truth", "liveness", "calm", "error-without-cause", "allowed"}),
        (shares_detectors, {"detector"}),
        (forgets_locks, {"lock"}),
        (keeps_no_log, {"audit"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_core_that_looks_away_is_found(
    mutate: Callable[[pytest.MonkeyPatch], None], broken: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    found: set[str] = set()
    for seed in range(SEEDS):
        world = World(draw(seed), RealEngines())
        if not world.crowd.there:
            continue
        found = {violation.rule for violation in world.run().violations}
        if found & broken:
            return
    raise AssertionError(f"{SEEDS} histories break only {found}")


def test_a_crowd_does_what_it_is_there_for() -> None:
    counts: dict[str, int] = {}
    for seed in range(40):
        world = World(draw(seed), RealEngines())
        if world.crowd.there:
            assert world.run().violations == ()
            for name, count in {**world.checker.house.counts, "forged": world.crowd.said}.items():
                counts[name] = counts.get(name, 0) + count

    assert counts["denied"] > 100
    assert counts["locks"] > 20
    assert counts["autos"] > 5
    assert counts["forged"] > 100


def test_a_listener_that_gets_what_it_has_already_comes_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "Replay", lambda peer, since: Replay(peer=peer, since=max(1, since - 5)))
    seed = next(seed for seed in range(SEEDS) if World(draw(seed), RealEngines()).crowd.there)

    assert World(draw(seed), RealEngines()).run().violations == ()
