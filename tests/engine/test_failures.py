"""Many failures are told in few words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libecs.engine.failures import FEW, MAX_BYTES, described, grouped
from libecs.wire.codec import pack_value
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow


def test_few_failures_are_told_as_they_are() -> None:
    failures = {f"w.t{n}": f"on node n{n} no card" for n in range(FEW)}

    assert grouped(failures) == failures
    assert described(failures) == "w.t0: on node n0 no card (and 7 more)"
    assert described({"w.a": "no"}) == "w.a: no"


def test_equal_reasons_are_one_the_most_frequent_first() -> None:
    failures = {
        "w.odd": "on node n9 exited with code 1; last log: bye",
        **{f"w.a{n}": "on node flp012 no such card; last log: card 3b:00.0" for n in range(23)},
        **{f"w.b{n}": f"on node flp{n:03} did not answer in time" for n in range(5)},
        "w.root": "no run number: the counter gave none",
    }

    assert grouped(failures) == {
        "23 tasks on flp012 (w.a0, w.a1, w.a2, …)": "no such card; last log: card 3b:00.0",
        "5 tasks on 5 nodes (flp000, flp001, flp002, …) (w.b0, w.b1, w.b2, …)": "did not answer in time",
        "w.odd": "on node n9 exited with code 1; last log: bye",
        "w.root": "no run number: the counter gave none",
    }
    assert described(failures) == (
        "23 tasks on flp012 (w.a0, w.a1, w.a2, …): no such card; last log: card 3b:00.0 (and 7 others)"
    )


def test_what_finds_no_room_is_counted() -> None:
    told = grouped({f"w.t{n}": f"on node n{n} reason {n} {'x' * 1000}" for n in range(100)})

    assert list(told)[-1].endswith(" more tasks")
    assert list(told.values())[-1].startswith("for ")


@given(st.dictionaries(st.text(min_size=1, max_size=300), st.text(max_size=3000), max_size=40))
def test_what_is_told_is_short_whatever_the_failures(failures: dict[str, str]) -> None:
    told = grouped(failures)

    size = sum(len((path + text).encode("utf-8", "replace")) for path, text in told.items())
    assert size <= max(MAX_BYTES, 2600 if len(told) == 1 else 0)
    assert bool(told) is bool(failures)
    if failures:
        assert len(described(failures)) <= 2000


def test_a_hundred_tasks_that_fail_at_once_are_one_short_answer() -> None:
    names = tuple(f"n{n}" for n in range(1, 6))
    bench = Bench(workflow(*(task(f"t{n}", node=names[n % 5]) for n in range(500))), nodes=names)
    for name in names:
        for n in range(0, 500, 5):
            bench.nodes[name].refuse[f"w.t{n}", "CONFIGURE"] = "no such card /dev/cru0"

    bench.create()

    answer = bench.answers["op1"]
    assert len(pack_value(answer)) <= 2048
    assert answer.failures == {"100 tasks on n1 (w.t0, w.t5, w.t10, …)": "no such card /dev/cru0"}
    assert answer.cause == "CONFIGURE failed: 100 tasks on n1 (w.t0, w.t5, w.t10, …): no such card /dev/cru0"
    assert len(pack_value(bench.core.environments[next(iter(bench.core.environments))].record)) < 10_000
