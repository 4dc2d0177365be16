"""What a core makes of what a node says it runs."""

from __future__ import annotations

from libecs.engine.nodes import Condemned
from libecs.engine.reconcile import Known, reconcile
from libecs.fsm import TaskState
from libecs.wire.node import Held, Phase, TaskStatus


def held(name: str) -> Held:
    status = TaskStatus(task=name, phase=Phase.ACTIVE, state=TaskState.RUNNING)
    return Held(status=status, environment="e", role=f"w.{name}", class_name="c")


def test_what_is_known_and_runs_is_adopted() -> None:
    found = reconcile([Known(task="a", launched=True)], {}, [held("a")])

    assert [one.status.task for one in found.adopted] == ["a"]
    assert (found.orphans, found.condemned, found.lost, found.unlaunched) == ((), (), (), ())


def test_what_runs_and_nobody_knows_is_an_orphan_not_condemned() -> None:
    found = reconcile([], {}, [held("x")])

    assert [one.status.task for one in found.orphans] == ["x"]
    assert found.condemned == ()


def test_what_was_condemned_and_still_runs_is_ended() -> None:
    found = reconcile([], {"x": "n1"}, [held("x")])

    assert [one.status.task for one in found.condemned] == ["x"]
    assert found.orphans == ()


def test_what_does_not_run_is_lost_only_if_it_ever_ran() -> None:
    found = reconcile([Known(task="a", launched=True), Known(task="b", launched=False)], {}, [])

    assert found.lost == ("a",)
    assert found.unlaunched == ("b",)


def test_condemned_tasks_are_kept_by_node_until_they_are_gone() -> None:
    condemned = Condemned()

    assert condemned.add("n1", ["a", "b"]) == ["a", "b"]
    assert condemned.add("n1", ["a"]) == []
    assert set(condemned.of("n1")) == {"a", "b"}
    assert condemned.remove("a")
    assert not condemned.remove("a")
    assert set(condemned.of("n1")) == {"b"}
    assert condemned.of("n2") == {}
