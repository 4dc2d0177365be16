"""Who hears whom: the engines of a core and of an executor over a wire that loses words or holds them up, or that stand
still.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import pytest

from libecs.engine.core import CoreEngine, CoreSettings
from libecs.engine.effects import Adopt, Connected, Effect, Input, Journal, Now, Received, Send, Tick
from libecs.engine.executor import ExecutorEngine, ExecutorSettings
from libecs.engine.outbox import CORE
from libecs.wire import node

STEP_S = 0.01
WAY_S = 0.02
"""Time that a message takes."""


class Pair:
    """A core and one node. `lost` holds the sides whose words are lost, `held` those whose words are held up and come
    later, `paused` those that stand still.
    """

    def __init__(self, phase_s: float = 0.0) -> None:
        """`phase_s`: how much later than the core the node begins."""
        self.now = 100.0
        self.lost: set[str] = set()
        self.held: set[str] = set()
        self.paused: set[str] = set()
        self.seen: list[tuple[float, str, str]] = []
        """(seconds since `mark`, state, text) of events of the node."""
        self.marked = 0.0
        self.on_the_way: deque[tuple[float, str, Input]] = deque()
        self.keepalives = 0
        self.core = CoreEngine(CoreSettings(instance="i"), {})
        self.executor = ExecutorEngine(ExecutorSettings(node="n1", instance="i"), {})
        self._perform("core", self.core.start(self._time()))
        self.run(phase_s)
        self._put("node", Adopt(survivors=()))
        self._put("node", Connected(CORE))
        self.run(3.0)
        self.mark()

    def _time(self) -> Now:
        return Now(self.now, int(self.now * 1000))

    def mark(self) -> None:
        self.marked, self.keepalives = self.now, 0
        self.seen.clear()

    def _put(self, side: str, input: Input) -> None:
        engine = self.core if side == "core" else self.executor
        self._perform(side, engine.handle(input, self._time()))

    def _perform(self, side: str, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Journal) and effect.event.kind == "node":
                self.seen.append((round(self.now - self.marked, 2), effect.event.state, effect.event.text))
            elif isinstance(effect, Send) and side not in self.lost:
                self.keepalives += isinstance(effect.message, node.NodeKeepalive)
                other, sender = ("node", CORE) if side == "core" else ("core", "n1")
                self.on_the_way.append((self.now + WAY_S, other, Received(sender, effect.message)))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += STEP_S
            waiting, self.on_the_way = self.on_the_way, deque()
            for at, side, input in waiting:
                sender = "node" if side == "core" else "core"
                if at > self.now or side in self.paused or sender in self.held:
                    self.on_the_way.append((at, side, input))
                else:
                    self._put(side, input)
            for side, engine in (("core", self.core), ("node", self.executor)):
                due = engine.next_deadline
                if side not in self.paused and due is not None and due <= self.now:
                    self._put(side, Tick())

    def states(self) -> list[str]:
        return [state for _, state, _ in self.seen]


@pytest.fixture(params=[0.0, 0.13, 0.31, 0.49])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


@pytest.mark.parametrize("lost", [{"node"}, {"core"}, {"core", "node"}])
@pytest.mark.parametrize("moment_s", [0.0, 0.11, 0.24, 0.37, 0.48])
def test_a_direction_that_is_lost_is_seen_as_soon_as_a_whole_cut(pair: Pair, lost: set[str], moment_s: float) -> None:
    pair.run(moment_s)
    pair.mark()

    pair.lost = set(lost)
    pair.run(5.0)
    (suspect_s, suspect, text), (lost_s, is_lost, _) = pair.seen
    pair.mark()
    pair.lost = set()
    pair.run(1.2)

    assert (suspect, is_lost) == ("SUSPECT", "LOST")
    assert 0.9 < suspect_s < 1.75
    assert 1.9 < lost_s < 2.75
    assert text.startswith("silent" if "node" in lost else "does not hear the core")
    assert pair.states() == ["UP"]


@pytest.mark.parametrize("cut_s", [0.7, 1.2, 1.4, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("first", ["", "core", "node"])
@pytest.mark.parametrize("moment_s", [0.0, 0.2, 0.4])
def test_a_node_whose_words_of_a_cut_come_all_at_once_is_heard_again_and_that_is_all(
    pair: Pair, cut_s: float, first: str, moment_s: float
) -> None:
    pair.run(moment_s)
    pair.mark()
    pair.held = {"core", "node"}
    pair.run(cut_s)

    pair.held.discard(first)
    pair.run(0.2)
    pair.held.clear()
    pair.run(3.0)

    assert pair.states() in ([], ["SUSPECT", "UP"], ["SUSPECT", "LOST", "UP"])
    assert all(text.startswith("silent") for _, state, text in pair.seen if state != "UP")
    assert pair.states() or cut_s < 1.5
    assert not pair.states() or cut_s > 0.9


def test_a_node_that_is_heard_again_and_still_hears_nothing_is_told_so_soon(pair: Pair) -> None:
    pair.lost = {"core"}
    pair.held = {"node"}
    pair.run(3.0)
    pair.mark()

    pair.held.clear()
    pair.run(1.5)

    assert pair.states() == ["UP", "SUSPECT", "LOST"]
    assert 0.5 < pair.seen[1][0] < 1.4
    assert pair.seen[1][2].startswith("does not hear the core")


def test_nobody_is_late_while_all_is_heard(pair: Pair) -> None:
    pair.run(60.0)

    assert pair.seen == []
    assert 119 <= pair.keepalives <= 121


@pytest.mark.parametrize("pause_s", [0.4, 0.9, 1.3, 1.7, 2.6, 4.0, 7.0])
@pytest.mark.parametrize("moment_s", [0.0, 0.1, 0.2, 0.3, 0.4])
def test_a_core_that_stood_still_does_not_take_its_nodes_for_deaf(pair: Pair, pause_s: float, moment_s: float) -> None:
    pair.run(moment_s)
    pair.paused = {"core"}
    pair.run(pause_s)
    pair.paused = set()
    pair.run(3.0)

    assert pair.seen == []


@pytest.mark.parametrize("pause_s", [0.4, 0.7, 0.95])
def test_a_node_that_stood_still_for_a_moment_is_not_late(pair: Pair, pause_s: float) -> None:
    pair.paused = {"node"}
    pair.run(pause_s)
    pair.paused = set()
    pair.run(3.0)

    assert pair.seen == []


def test_what_a_deaf_node_tells_of_its_tasks_does_not_make_it_one_that_answers(pair: Pair) -> None:
    pair.lost = {"core"}
    pair.run(1.8)
    assert pair.states() == ["SUSPECT"]

    one = pair.core.sessions.nodes["n1"]
    assert one.session is not None
    pair._put("core", Received("n1", node.Update(session=one.session, sequence=one.sequence + 1, tasks=())))

    assert pair.states() == ["SUSPECT"]
    assert one.sequence == 2


def test_a_node_of_an_older_version_that_tells_nothing_of_what_it_hears_is_believed(pair: Pair) -> None:
    one = pair.core.sessions.nodes["n1"]
    assert one.session is not None
    pair.lost = {"core"}
    pair.paused = {"node"}
    for _ in range(10):
        pair.run(0.5)
        pair._put("core", Received("n1", node.NodeKeepalive(session=one.session, sequence=one.sequence)))

    assert pair.seen == []


def test_a_node_that_claims_never_to_have_heard_anything_harms_itself_alone(pair: Pair) -> None:
    one = pair.core.sessions.nodes["n1"]
    assert one.session is not None

    pair._put("core", Received("n1", node.NodeKeepalive(session=one.session, sequence=1, unheard_ms=2**62)))

    assert pair.states() == ["SUSPECT", "LOST"]
    assert pair.now - one.heard <= 3600.0
