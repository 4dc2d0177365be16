"""Idle tasks: kept, found again, taken into use, ended."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from libecs.engine.effects import Call, CallDone
from libecs.engine.pool import class_key
from libecs.fsm import EnvState, Mode, TaskState
from libecs.wire import client
from libecs.wire.node import Phase
from libecs.workflow.role import Channel, Workflow
from tests.engine.bench import Bench
from tests.engine.detectors import configured, detectors, up
from tests.engine.flows import call, task, workflow


def keep(bench: Bench, **options: Any) -> str:
    """Destroy the only environment but for its tasks; return its id."""
    name = bench.show().environment
    answer = bench.destroy(keep_tasks=True, **options)
    assert answer is not None
    assert answer.code == ""
    return name


def pids(bench: Bench) -> dict[str, int]:
    return {one.role: one.pid for one in bench.show().tasks}


def two() -> Workflow:
    made = workflow(task("a", node="n1"), task("b", node="n2"))
    direct = attrs.evolve(made.classes["DIRECT"], properties={"x": "{{ x }}"}, arguments=("--go",))
    return attrs.evolve(made, classes={**made.classes, "DIRECT": direct}, user_vars={"x": "1"})


@pytest.mark.parametrize("state", [EnvState.DEPLOYED, EnvState.CONFIGURED, EnvState.RUNNING])
@pytest.mark.parametrize("force", [False, True])
def test_tasks_that_are_kept_are_used_again_with_other_channels_and_properties(state: EnvState, force: bool) -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create(state)
    before = pids(bench)
    keep(bench, force=force, allow_running=True)
    assert len(bench.core.pool.idle) == 2
    assert not [one for one in bench.nodes.values() if one.killed]
    assert {one.state for node in bench.nodes.values() for one in node.tasks.values()} == {TaskState.STANDBY}

    flow = two()
    roles = (flow.roles[0], attrs.evolve(flow.roles[1], bind=(Channel(name="data", type="pull"),)), flow.roles[2])
    bench.workflow = attrs.evolve(flow, roles=roles, user_vars={"x": "2"})
    bench.create()

    assert pids(bench) == before
    assert bench.state is EnvState.CONFIGURED
    assert configured(bench, "w.a")["x"] == "2"
    assert "chans.data.0.address" in configured(bench, "w.a")
    assert not bench.core.pool.idle
    assert not bench.records.get("idle")
    placed = bench.core.environments[bench.show().environment].cast.placed
    assert {one.reason for one in placed.values()} == {f"idle task {one.task}" for one in placed.values()}
    said = [
        (event.state, event.name, [role for role, _ in event.tasks]) for event in bench.events if event.kind == "pool"
    ]
    assert said == [("IDLE", "n1", ["w.a"]), ("IDLE", "n2", ["w.b"]), ("USED", "n1", ["w.a"]), ("USED", "n2", ["w.b"])]


def test_a_task_that_is_being_ended_by_force_is_not_kept() -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create(EnvState.DEPLOYED)
    bench.nodes["n1"].deaf = True  # its end is on the way
    ended = bench.task("w.a").task
    assert bench.ask(client.EndTasks(operation="e", tasks=(ended,), force=True))[-1].code == ""  # type: ignore[attr-defined] # Finished

    bench.ask_later(client.Destroy(operation="d", environment=bench.show().environment, keep_tasks=True))
    bench.run()
    assert ended not in bench.core.pool.idle
    assert len(bench.core.pool.idle) == 1

    bench.nodes["n1"].deaf = False
    bench.wait(6.0)
    assert bench.nodes["n1"].killed == ["w.a"]
    assert not bench.records.get("condemned")


def test_another_command_needs_another_process() -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create()
    before = pids(bench)
    keep(bench)
    flow = two()
    direct = attrs.evolve(flow.classes["DIRECT"], arguments=("--stay",))
    bench.workflow = attrs.evolve(flow, classes={**flow.classes, "DIRECT": direct})
    bench.create()
    assert not set(pids(bench).values()) & set(before.values())
    assert len(bench.core.pool.idle) == 2


def test_commands_that_differ_in_ids_alone_are_the_same() -> None:
    flow = two()
    texts = ("--id", "{{ task_id }}", "--session", "{{ environment_id }}")
    direct = attrs.evolve(flow.classes["DIRECT"], arguments=texts)
    bench = Bench(attrs.evolve(flow, classes={**flow.classes, "DIRECT": direct}), ("n1", "n2"))
    bench.create()
    before = pids(bench)
    keep(bench)
    bench.create()
    assert pids(bench) == before


def test_constraints_count_for_idle_tasks_too() -> None:
    bench = Bench(workflow(task("a", node="n1")), ("n1", "n2"))
    bench.create()
    keep(bench)
    bench.workflow = workflow(task("a", node="n2"))
    bench.create()
    assert bench.nodes["n2"].launched == ["w.a"]
    assert len(bench.core.pool.idle) == 1


def test_an_idle_task_is_taken_once() -> None:
    bench = Bench(workflow(task("a", node="n1")), ("n1",))
    bench.create()
    keep(bench)
    bench.workflow = workflow(task("a"), task("b"))
    bench.create()
    assert bench.nodes["n1"].launched == ["w.a", "w.b"]
    assert len({one.pid for one in bench.show().tasks}) == 2


def test_what_idle_tasks_use_counts_until_they_are_used() -> None:
    flow = workflow(task("a", node="n1"))
    wants = attrs.evolve(flow.classes["DIRECT"].wants, cpu=2.0, memory_mb=100.0, ports=(9100,))
    classes = {**flow.classes, "DIRECT": attrs.evolve(flow.classes["DIRECT"], wants=wants)}
    bench = Bench(attrs.evolve(flow, classes=classes))
    bench.create()
    keep(bench)
    (offer,) = bench.core.offers()
    assert (offer.used_cpus, offer.used_memory_mb, offer.used_ports) == (2.0, 100.0, frozenset({9100}))
    bench.create()
    (offer,) = bench.core.offers()
    assert (offer.used_cpus, offer.used_memory_mb, offer.used_ports) == (2.0, 100.0, frozenset({9100}))
    assert bench.nodes["n1"].launched == ["w.a"]


def test_basic_tasks_end_when_the_others_are_kept() -> None:
    bench = Bench(workflow(task("a"), task("p", mode=Mode.BASIC), task("d", mode=Mode.FAIRMQ)))
    bench.create(EnvState.RUNNING)
    keep(bench, allow_running=True)
    assert bench.nodes["n1"].killed == ["w.p"]
    assert [one.record.role for one in bench.core.pool.idle.values()] == ["w.a", "w.d"]


def test_a_broken_environment_keeps_what_is_well() -> None:
    bench = Bench(workflow(task("a"), task("b"), task("c")))
    bench.create()
    bench.kill("w.b", signal=9)
    assert bench.state is EnvState.ERROR
    keep(bench)
    assert [one.record.role for one in bench.core.pool.idle.values()] == ["w.a", "w.c"]
    assert bench.nodes["n1"].killed == ["w.b"]


def test_idle_tasks_survive_a_restart_of_the_core() -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create()
    before = pids(bench)
    keep(bench)
    bench.restart()
    assert not [event for event in bench.events if event.kind == "orphan"]
    bench.create()
    assert pids(bench) == before


def test_an_idle_task_is_not_used_before_its_node_has_told_of_it() -> None:
    bench = Bench(workflow(task("a")), ("n1",))
    bench.create()
    keep(bench)
    bench.nodes["n1"].silent = True
    bench.restart()
    (info,) = bench.core.pool.infos({})
    assert (info.phase, info.state) == (Phase.SUSPECT, TaskState.UNKNOWN)
    assert not bench.core.pool.of_class("DIRECT")


@pytest.mark.parametrize("rounds", range(14))
def test_a_core_that_is_killed_while_tasks_are_kept_or_used_loses_none(rounds: int) -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create()
    before = pids(bench)
    bench.workflow = two()
    bench.ask_later(client.Destroy(operation="d", environment=bench.show().environment, keep_tasks=True))
    bench.some(rounds)
    bench.restart()
    bench.wait(8.0)
    if bench.core.environments:
        keep(bench)
    assert len(bench.core.pool.idle) == 2
    bench.ask_later(client.Create(operation="c", workflow="test"))
    bench.some(rounds)
    bench.restart()
    bench.wait(8.0)
    if not bench.core.environments:
        bench.create()
    if bench.state is EnvState.ERROR:  # it began before its nodes had come back
        bench.control("RECOVER")
        bench.control("CONFIGURE")
    assert bench.state is EnvState.CONFIGURED
    assert pids(bench) == before
    assert not bench.core.pool.idle
    assert not [event for event in bench.events if event.kind == "orphan"]


def test_an_idle_task_that_its_node_lost_leaves_the_pool() -> None:
    bench = Bench(workflow(task("a")), ("n1",))
    bench.create()
    keep(bench)
    bench.nodes["n1"].tasks.clear()
    bench.send("n1", bench.nodes["n1"].hello())
    assert not bench.core.pool.idle
    assert not bench.records["idle"]


def test_nothing_is_kept_on_a_node_that_is_drained_and_what_is_idle_there_ends() -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create()
    keep(bench)
    bench.ask(client.Drain(operation="drain", node="n1"))
    assert [one.record.node for one in bench.core.pool.idle.values()] == ["n2"]
    assert bench.nodes["n1"].killed == ["w.a"]
    bench.workflow = workflow(task("c", node="n2"))
    bench.create()
    bench.ask(client.Drain(operation="drain2", node="n2"))
    keep(bench)
    assert not bench.core.pool.idle
    assert bench.nodes["n2"].killed == ["w.b", "w.c"]


def test_idle_tasks_are_ended_on_request() -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create()
    keep(bench)
    bench.ask(client.EndTasks(operation="end"))
    assert bench.answers["end"].code == ""
    assert not bench.core.pool.idle
    assert bench.nodes["n1"].killed == ["w.a"]


def test_a_task_that_has_not_heard_of_its_new_use_is_told_again() -> None:
    bench = Bench(workflow(task("a")), ("n1",))
    bench.create()
    keep(bench)
    one = bench.nodes["n1"]
    one.deaf = True
    bench.ask_later(client.Create(operation="c", workflow="test"))
    bench.run()
    (name,) = one.tasks
    bench.send("n1", one.update(name))  # of the time before: it says nothing of the new use
    assert bench.task("w.a").phase is Phase.ASSIGNED
    one.deaf = False
    bench.wait(3.0)
    assert bench.answers["c"].code == ""
    assert one.tasks[name].use == bench.show().environment


def test_an_idle_task_that_dies_before_it_is_used_is_replaced() -> None:
    held: list[Call] = []
    bench = Bench(workflow(task("a"), call("c", "x.Slow()", "before_DEPLOY")), integrations={"x.Slow": held.append})
    bench.create()
    bench.queue.append(CallDone(call=held[0].call, ok=True))
    bench.run()
    keep(bench)
    bench.create()  # placed; its hook goes on
    bench.kill("w.a", signal=9)
    bench.queue.append(CallDone(call=held[1].call, ok=True))
    bench.run()
    assert bench.state is EnvState.CONFIGURED
    assert bench.nodes["n1"].launched == ["w.a", "w.a"]
    assert bench.nodes["n1"].killed == ["w.a"]
    bench.restart()
    assert bench.state is EnvState.CONFIGURED


def test_tasks_go_from_one_environment_to_another() -> None:
    bench = up(EnvState.RUNNING)
    first = bench.show().environment
    bench.workflow = detectors()
    bench.modify(exclude=("tpc",))
    bench.core.pool.end(bench.core, list(bench.core.pool.idle))
    second = bench.create()
    assert second != first
    bench.modify(second, exclude=("its",))
    bench.core.pool.end(bench.core, list(bench.core.pool.idle))
    had = {one.role: one.pid for one in bench.show(first).tasks if one.role.startswith("w.its.")}
    others = [one for one in bench.show(first).tasks if not one.role.startswith(("w.its.", "w.tpc."))]
    for one in bench.nodes.values():
        one.commands.clear()
        one.launched.clear()

    answer = bench.modify(second, include=("its.ro", "its.qc"), take_from=first)

    assert answer is not None
    assert (answer.code, answer.environment) == ("", second)
    assert not any(one.launched for one in bench.nodes.values())
    assert bench.show(first).excluded == ("w.its", "w.tpc")
    assert {one.role: one.pid for one in bench.show(second).tasks if one.role.startswith("w.its.")} == had
    assert [one for one in bench.show(first).tasks if not one.role.startswith(("w.its.", "w.tpc."))] == others
    assert not bench.core.pool.idle
    assert bench.show(first).state is EnvState.RUNNING


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"take_from": "nowhere"}, "E_NOT_FOUND", "no environment nowhere"),
        ({"take_from": "self"}, "E_INVALID", "not from itself"),
        ({"take_from": "standing"}, "E_CONFLICT", "gives up no tasks now: DEPLOYED"),
    ],
)
def test_who_can_not_give_up_tasks_is_named(fields: dict[str, str], code: str, text: str) -> None:
    bench = up(EnvState.CONFIGURED)
    bench.workflow = workflow(task("x"))
    standing = bench.create(EnvState.DEPLOYED)
    first = next(iter(bench.core.environments))
    bench.modify(first, exclude=("its",))
    names = {"self": first, "standing": standing}
    answer = bench.modify(first, include=("its",), take_from=names.get(fields["take_from"], fields["take_from"]))
    assert answer is not None
    assert answer.code == code
    assert text in answer.message


def test_an_environment_gives_up_only_what_fits_and_not_its_last_task() -> None:
    bench = up(EnvState.CONFIGURED)
    first = next(iter(bench.core.environments))
    bench.workflow = workflow(task("x", node="n1"))
    small = bench.create()
    bench.modify(first, exclude=("its.ro",))
    answer = bench.modify(first, include=("its.ro",), take_from=small)
    assert answer is not None
    assert answer.message == f"nothing would be left of environment {small}"
    bench.workflow = workflow(task("x", mode=Mode.FAIRMQ, node="n1"))
    other = bench.create()
    answer = bench.modify(first, include=("its.ro",), take_from=other)
    assert answer is not None
    assert answer.code == "E_INVALID"
    assert "has no task of the classes" in answer.message


def test_a_core_that_is_killed_while_one_environment_waits_for_another_goes_on() -> None:
    for rounds in range(16):
        bench = up(EnvState.CONFIGURED)
        first = bench.show().environment
        second = bench.create()
        bench.modify(second, exclude=("its",))
        bench.core.pool.end(bench.core, list(bench.core.pool.idle))
        bench.run()
        bench.ask_later(client.Modify(operation="m", environment=second, include=("its",), take_from=first))
        bench.some(rounds)
        begun = "m" in bench.core.requests.operations
        bench.restart()
        bench.wait(10.0)
        if begun:
            assert bench.answers.get("m") is None or bench.answers["m"].code == "", rounds
            assert bench.show(second).excluded == (), rounds
            assert len(bench.show(first).excluded) == 1, rounds
        for name in (first, second):
            states = {one.state for one in bench.show(name).tasks if not one.excluded}
            assert states == {TaskState.CONFIGURED}, rounds
            assert not bench.show(name).transition


def test_an_environment_that_fails_meanwhile_gives_up_nothing_and_nobody_waits_for_ever() -> None:
    bench = up(EnvState.CONFIGURED)
    first = bench.show().environment
    second = bench.create()
    bench.modify(second, exclude=("its",))
    bench.core.pool.end(bench.core, list(bench.core.pool.idle))
    bench.nodes["n1"].deaf = True
    bench.modify(second, include=("its",), take_from=first, operation="m")
    env = bench.core.environments[first]
    name = env.cast.by_role[next(iter(env.cast.placed))].id
    one = next(one for one in bench.nodes.values() if name in one.tasks)
    one.tasks[name] = attrs.evolve(one.tasks[name], phase=Phase.EXITED, state=TaskState.ERROR)
    bench.send(one.name, one.update(name))
    bench.nodes["n1"].deaf = False
    bench.wait(60.0)
    assert bench.show(first).state is EnvState.ERROR
    assert "m" in bench.answers
    assert bench.answers["m"].code == "E_TRANSITION"
    assert bench.show(second).state is EnvState.CONFIGURED
    assert bench.show(second).excluded == ("w.its",)


def test_what_runs_were_configured_with_compares_whoever_took_them() -> None:
    flow = two()
    texts = {"x": "{{ x }}", "me": "{{ task_id }}", "session": "s-{{ environment_id }}-{{ task_hostname }}"}
    direct = attrs.evolve(flow.classes["DIRECT"], properties=texts)
    roles = (flow.roles[0], attrs.evolve(flow.roles[1], bind=(Channel(name="data", type="pull"),)), flow.roles[2])
    bench = Bench(attrs.evolve(flow, roles=roles, classes={**flow.classes, "DIRECT": direct}), ("n1", "n2"))
    bench.create(EnvState.RUNNING)
    bench.create(EnvState.RUNNING)  # other ids and ports
    bench.destroy(next(iter(bench.core.environments)), keep_tasks=True, allow_running=True)
    bench.create(EnvState.RUNNING)  # tasks of the first
    one, two_, three = (bench.run_info(number).configuration for number in (1, 2, 3))
    assert one == two_ == three
    bench.workflow = attrs.evolve(bench.workflow, user_vars={"x": "2"})
    bench.create(EnvState.RUNNING)
    assert not set(bench.run_info(4).configuration.items()) & set(one.items())


def test_a_task_that_may_be_in_the_middle_of_something_is_not_kept() -> None:
    bench = up(EnvState.CONFIGURED, workflow(task("a", node="n1"), task("b", node="n2")))
    bench.control("RESET")
    bench.nodes["n2"].deaf = True
    bench.control("CONFIGURE")
    bench.kill("w.a", signal=9)
    assert bench.state is EnvState.ERROR
    bench.destroy(keep_tasks=True)
    bench.wait(10.0)
    assert not bench.core.pool.idle
    bench.nodes["n2"].deaf = False
    bench.wait(10.0)
    assert bench.nodes["n2"].killed == ["w.b"]


def test_a_task_that_did_not_answer_well_is_not_kept() -> None:
    bench = Bench(workflow(task("a"), task("b", critical=False)))
    bench.nodes["n1"].refuse["w.b", "CONFIGURE"] = "not now"
    bench.create()
    keep(bench)
    assert [one.record.role for one in bench.core.pool.idle.values()] == ["w.a"]
    assert bench.nodes["n1"].killed == ["w.b"]


def test_classes_are_the_same_in_other_revisions() -> None:
    assert class_key("readout") == class_key("readout")
    assert class_key("repo@abc:readout") == class_key("repo@def:readout")
    assert class_key("repo@abc:readout") != class_key("other@abc:readout")
    assert class_key("@abc:readout") == "readout"
