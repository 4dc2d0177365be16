"""Commands that are not answered are told again: when, and to whom."""

from __future__ import annotations

import pytest

from libecs.engine.telling import Telling
from libecs.fsm import EnvState, TaskEvent
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow


def told(bench: Bench, node: str) -> int:
    return sum(1 for one in bench.nodes[node].heard if one.event is TaskEvent.CONFIGURE)


def silent_bench() -> Bench:
    """Return a bench with a node that answers and one that does not, in the middle of CONFIGURE."""
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.create(EnvState.DEPLOYED)
    bench.nodes["n2"].deaf = True
    bench.control("CONFIGURE")
    return bench


def test_who_has_answered_is_not_told_again() -> None:
    bench = silent_bench()

    bench.wait(1.0)

    assert (told(bench, "n1"), told(bench, "n2")) == (1, 2)


def test_the_pauses_between_repetitions_grow() -> None:
    bench = silent_bench()

    times = []
    for second in range(1, 40):
        before = told(bench, "n2")
        bench.wait(1.0)
        if told(bench, "n2") > before:
            times.append(second)

    assert times == [1, 3, 7, 15, 23, 31, 39]


def test_a_node_that_comes_back_is_told_at_once_and_the_others_are_not() -> None:
    bench = silent_bench()
    bench.nodes["n2"].deaf = False

    bench.send("n2", bench.nodes["n2"].hello())

    assert (told(bench, "n1"), told(bench, "n2")) == (1, 2)
    assert bench.state.name == "CONFIGURED"


def test_the_clock_starts_when_the_last_node_has_been_told() -> None:
    telling = Telling()
    telling.queued("n1")
    telling.queued("n2")
    assert telling.again_at is None

    telling.sent("n1", 10.0)
    assert telling.again_at is None
    assert not telling.is_due("n2", 20.0)
    telling.sent("n2", 12.0)

    assert [telling.again_at] == [13.0]
    assert telling.is_due("n1", 11.0)
    assert not telling.is_due("n2", 12.5)
    assert telling.is_due("n3", 0.0)


@pytest.mark.parametrize(("times", "seconds"), [(0, 1.0), (1, 2.0), (3, 8.0), (9, 8.0)])
def test_intervals_double_up_to_the_longest(times: int, seconds: float) -> None:
    telling = Telling()

    for _ in range(times):
        telling.longer()

    assert telling.interval_s == seconds
