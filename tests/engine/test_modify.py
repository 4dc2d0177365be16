"""Taking roles out of environments that are CONFIGURED or RUNNING, and putting them back."""

from __future__ import annotations

import attrs
import pytest

from libecs.engine.effects import Received
from libecs.fsm import EnvState, Mode, TaskState
from libecs.wire import client
from libecs.wire.info import RunCondition
from libecs.wire.node import Exit, ExitCause, Phase
from libecs.workflow.role import Channel, Role, TaskTraits, Workflow
from tests.engine.bench import CLIENT, Bench
from tests.engine.flows import call, group, task, workflow

DETECTORS = ("its", "tpc", "mch", "emc")


def detectors(minimum: int = 0, **modes: Mode) -> Workflow:
    """Four detectors on two nodes, two tasks each, and a trigger."""
    roles: list[Role] = [task("trg", node="n1")]
    for n, name in enumerate(DETECTORS):
        node = f"n{n % 2 + 1}"
        mode = modes.get(name, Mode.DIRECT)
        roles += [group(name), task(f"{name}.ro", node=node, mode=mode), task(f"{name}.qc", node=node, critical=False)]
    made = workflow(*roles)
    return attrs.evolve(made, roles=(attrs.evolve(made.roles[0], min=minimum), *made.roles[1:]))


def up(state: EnvState = EnvState.RUNNING, flow: Workflow | None = None) -> Bench:
    bench = Bench(flow or detectors(), ("n1", "n2"))
    bench.create()
    if state is EnvState.RUNNING:
        bench.control("START_ACTIVITY")
    assert bench.state is state
    for one in bench.nodes.values():
        one.commands.clear()
        one.launched.clear()
    return bench


def told(bench: Bench) -> list[tuple[str, str]]:
    """Return (role, event) of all commands."""
    return [
        (one.specs[name].role, message.event.name)
        for one in bench.nodes.values()
        for message in one.commands
        for name in message.tasks
    ]


def picture(bench: Bench, but: str) -> list[object]:
    """Return what is known of the tasks that do not stand below a role."""
    return [attrs.evolve(one, age_ms=0) for one in bench.show().tasks if not one.role.startswith(f"w.{but}.")]


@pytest.mark.parametrize("state", [EnvState.CONFIGURED, EnvState.RUNNING])
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_excluded_and_included_and_the_others_are_not_touched(name: str, state: EnvState) -> None:
    bench = up(state)
    before = picture(bench, name)
    ids = {one.task: one.pid for one in bench.show().tasks if one.role.startswith(f"w.{name}.")}

    out = bench.modify(exclude=(name,))

    assert out is not None
    assert (out.code, out.state) == ("", state)
    info = bench.show()
    assert info.excluded == (f"w.{name}",)
    assert {role.path for role in info.roles if role.excluded} == {f"w.{name}", f"w.{name}.ro", f"w.{name}.qc"}
    assert {one.role for one in info.tasks if one.excluded} == {f"w.{name}.ro", f"w.{name}.qc"}
    assert set(bench.core.pool.idle) == set(ids)
    assert picture(bench, name) == before
    events = ["STOP", "RESET"] if state is EnvState.RUNNING else ["RESET"]
    assert told(bench) == [(f"w.{name}.{one}", event) for event in events for one in ("ro", "qc")]

    bench.modify(include=(f"w.{name}",))

    info = bench.show()
    assert (info.excluded, info.state) == ((), state)
    assert {one.task: one.pid for one in info.tasks if one.role.startswith(f"w.{name}.")} == ids  # out of the pool
    assert not bench.core.pool.idle
    assert picture(bench, name) == before
    assert {one.state.name for one in info.tasks} == {state.name}
    assert {role.state.name for role in info.roles} == {state.name}


def test_a_run_goes_on_degraded_for_the_span() -> None:
    bench = up()
    bench.unix += 1000
    bench.modify(exclude=("its",), requester="anna")
    assert bench.run_info(1).excluded == ("w.its",)
    bench.unix += 1000
    bench.modify(include=("its",))
    bench.control("STOP_ACTIVITY")

    run = bench.run_info(1)
    assert run.condition is RunCondition.DEGRADED
    assert run.excluded == ()
    (span,) = run.degraded
    assert (span.role, span.reason) == ("w.its", "excluded: taken out by anna")
    assert 900 < span.end_ms - span.start_ms < 1200
    assert [event.run_number for event in bench.events if event.kind == "run.start"] == [1]
    kinds = [(event.role, event.state) for event in bench.events if event.kind == "modify"]
    assert kinds == [("w.its", "EXCLUDED"), ("w.its", "INCLUDED")]


def test_what_is_excluded_is_left_out_of_later_transitions_and_hooks_and_calls_below_it_do_not_run() -> None:
    flow = workflow(
        task("a"),
        group("det"),
        task("det.ro"),
        attrs.evolve(call("det.c", "x.Go()", "before_START_ACTIVITY")),
        task("det.h", mode=Mode.HOOK, trigger="before_START_ACTIVITY"),
        call("c", "x.Root()", "before_START_ACTIVITY"),
    )
    bench = up(EnvState.CONFIGURED, flow)
    bench.modify(exclude=("det",))
    for one in bench.nodes.values():
        one.commands.clear()
    for event in ("START_ACTIVITY", "STOP_ACTIVITY", "RESET", "CONFIGURE"):
        answer = bench.control(event)
        assert answer is not None
        assert answer.code == ""

    assert [one for one in told(bench) if one[0] != "w.a"] == []
    assert [function for function, _ in bench.called()] == ["x.Root()"] or bench.called()[0][0].startswith("x.Root")
    assert not any(one.hooks_run for one in bench.nodes.values())

    bench.modify(include=("det",))
    bench.control("START_ACTIVITY")
    assert [one.hooks_run for one in bench.nodes.values() if one.hooks_run] == [["w.det.h"]]
    assert len(bench.calls) == 3


def test_a_node_stands_for_all_tasks_on_it() -> None:
    bench = up()
    bench.modify(exclude_nodes=("n2",))
    assert bench.show().excluded == ("w.tpc", "w.emc")

    bench.modify(include_nodes=("n2",))
    assert bench.show().excluded == ()
    assert bench.state is EnvState.RUNNING


def test_a_part_of_what_is_excluded_can_be_included_and_the_rest_later() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    bench.modify(include=("its.ro",))
    assert bench.show().excluded == ("w.its.qc",)
    assert [(span.role, bool(span.end_ms)) for span in bench.run_info(1).degraded] == [
        ("w.its", True),
        ("w.its.qc", False),
    ]
    bench.modify(include=("its.qc",))
    assert all(span.end_ms for span in bench.run_info(1).degraded)


def test_one_detector_can_be_exchanged_for_another() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    answer = bench.modify(exclude=("tpc",), include=("its",))
    assert answer is not None
    assert answer.code == ""
    assert bench.show().excluded == ("w.tpc",)


def test_a_basic_task_is_ended_and_started_again() -> None:
    bench = up(flow=detectors(its=Mode.BASIC))
    bench.modify(exclude=("its",))
    assert bench.nodes["n1"].killed == ["w.its.ro"]
    bench.modify(include=("its",))
    assert bench.nodes["n1"].launched == ["w.its.ro"]
    assert bench.task("w.its.ro").state is TaskState.RUNNING


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "nothing to modify"),
        ({"exclude": ("nowhere",)}, "no role of environment"),
        ({"include": ("its",)}, "is not excluded"),
        ({"exclude": ("its", "tpc", "mch", "emc", "trg")}, "nothing would be left"),
        ({"exclude": ("**",)}, "nothing would be left"),
        ({"exclude_nodes": ("n3",)}, "no task on node 'n3'"),
        ({"exclude": ("its",), "take_from": "x"}, "take_from says where"),
        ({"exclude": ("c",)}, "no role of environment"),
        ({"exclude": ("w",)}, "is the whole environment"),
        ({"exclude": ("a..b",)}, "no pattern"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(fields: dict[str, tuple[str, ...]], text: str) -> None:
    bench = up()
    answer = bench.modify(**fields)
    assert answer is not None
    assert answer.code in ("E_INVALID", "E_USAGE")
    assert text in answer.message
    assert told(bench) == []
    assert bench.show().excluded == ()


def test_a_role_is_excluded_once() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    answer = bench.modify(exclude=("its.ro",))
    assert answer is not None
    assert (answer.code, answer.message) == ("E_INVALID", "'its.ro' is excluded already")
    assert answer.hint == "excluded now: w.its"


def test_a_role_without_tasks_is_refused() -> None:
    bench = up(flow=workflow(task("a"), group("g"), task("g.h", mode=Mode.HOOK, trigger="before_RESET"), task("b")))
    answer = bench.modify(exclude=("g",))
    assert answer is not None
    assert "stands for no task" in answer.message


def test_only_an_environment_that_is_configured_or_running_can_be_modified() -> None:
    bench = up(EnvState.CONFIGURED)
    bench.control("RESET")
    answer = bench.modify(exclude=("its",))
    assert answer is not None
    assert answer.code == "E_STATE"
    assert "MODIFY" in answer.message


def test_a_busy_environment_is_not_modified() -> None:
    bench = up(EnvState.CONFIGURED)
    bench.nodes["n1"].deaf = True
    bench.control("START_ACTIVITY")
    answer = bench.modify(exclude=("its",))
    assert answer is not None
    assert answer.code == "E_CONFLICT"


def test_a_task_that_can_not_be_stopped_is_ended() -> None:
    bench = up()
    bench.nodes["n1"].refuse["w.its.ro", "STOP"] = "hardware is stuck"
    answer = bench.modify(exclude=("its",))
    assert answer is not None
    assert answer.code == ""
    assert bench.nodes["n1"].killed == ["w.its.ro"]
    assert [one.record.role for one in bench.core.pool.idle.values()] == ["w.its.qc"]
    assert bench.state is EnvState.RUNNING


def test_a_dead_node_is_excluded_from_a_run_that_goes_on() -> None:
    bench = up()
    bench.nodes["n2"].silent = True
    bench.wait(4.0)
    assert bench.state is EnvState.RUNNING

    answer = bench.modify(exclude_nodes=("n2",))

    assert answer is not None
    assert answer.code == ""
    assert bench.state is EnvState.RUNNING
    assert not bench.core.pool.idle
    spans = {(span.role, span.reason.partition(":")[0], bool(span.end_ms)) for span in bench.run_info(1).degraded}
    assert ("w.tpc", "excluded", False) in spans
    assert ("w.tpc.ro", "unknown", True) in spans

    bench.nodes["n2"].silent = False
    bench.send("n2", bench.nodes["n2"].hello())  # it comes back: what it holds is not wanted any more
    assert sorted(bench.nodes["n2"].killed) == ["w.emc.qc", "w.emc.ro", "w.tpc.qc", "w.tpc.ro"]
    assert bench.state is EnvState.RUNNING

    bench.modify(include_nodes=("n2",))
    assert bench.show().excluded == ()
    assert {one.state for one in bench.show().tasks} == {TaskState.RUNNING}


def test_what_is_on_a_node_that_did_not_survive_the_core_is_let_go_at_once() -> None:
    bench = up()
    bench.nodes["n2"].silent = True
    bench.restart()
    bench.wait(12.0)
    answer = bench.modify(exclude_nodes=("n2",))
    assert answer is not None
    assert answer.code == ""
    assert bench.state is EnvState.RUNNING
    assert bench.show().excluded == ("w.tpc", "w.emc")


def test_what_is_put_back_is_known_to_later_runs() -> None:
    bench = up(EnvState.CONFIGURED)
    bench.workflow = detectors()
    bench.modify(exclude=("its",))
    bench.modify(include=("its",))
    env = bench.core.environments[bench.show().environment]
    assert env.packed_configuration == bench.records["configuration"][env.id]


def test_a_critical_task_that_dies_while_it_is_taken_out_is_nobodys_loss() -> None:
    bench = up()
    bench.nodes["n1"].deaf = True
    bench.modify(exclude=("its",))
    bench.kill("w.its.ro", signal=9)
    bench.nodes["n1"].deaf = False
    bench.wait(3.0)

    assert bench.state is EnvState.RUNNING
    assert bench.show().excluded == ("w.its",)
    assert bench.nodes["n1"].killed == ["w.its.ro"]


def test_an_inclusion_that_fails_leaves_the_environment_as_it_was() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    before = picture(bench, "its")
    bench.nodes["n1"].refuse["w.its.ro", "CONFIGURE"] = "no clock"

    answer = bench.modify(include=("its",))

    assert answer is not None
    assert (answer.code, answer.state, answer.run_number) == ("E_TRANSITION", EnvState.RUNNING, 1)
    assert "no clock" in answer.message
    assert "stays excluded" in answer.message
    assert set(answer.failures) == {"w.its.ro"}
    assert bench.show().excluded == ("w.its",)
    assert bench.state is EnvState.RUNNING
    assert picture(bench, "its") == before
    assert [one.record.role for one in bench.core.pool.idle.values()] == ["w.its.qc"]
    assert bench.nodes["n1"].killed == ["w.its.ro"]  # nobody knows what state it is in
    assert bench.core.environments[bench.show().environment].modification is None

    bench.nodes["n1"].refuse.clear()
    again = bench.modify(include=("its",))
    assert again is not None
    assert again.code == ""


def test_a_part_that_dies_after_it_was_configured_fails_the_inclusion_and_not_the_run() -> None:
    bench = up()
    bench.modify(exclude=("its", "tpc"))
    bench.nodes["n2"].deaf = True
    bench.modify(include=("its", "tpc"), operation="back")
    bench.kill("w.its.ro", signal=11)
    bench.nodes["n2"].deaf = False
    bench.wait(3.0)

    assert bench.answers["back"].code == "E_TRANSITION"
    assert bench.state is EnvState.RUNNING
    assert bench.show().excluded == ("w.its", "w.tpc")


def test_what_finds_no_node_stays_excluded() -> None:
    bench = up()
    bench.modify(exclude=("tpc",))
    bench.core.pool.end(bench.core, list(bench.core.pool.idle))
    bench.nodes["n2"].silent = True
    bench.wait(11.0)
    answer = bench.modify(include=("tpc",))
    assert answer is not None
    assert answer.code == "E_TRANSITION"
    assert "machine_id" in answer.message
    assert bench.show().excluded == ("w.tpc",)
    assert bench.state is EnvState.RUNNING


def test_a_role_of_which_nothing_comes_back_is_not_included() -> None:
    bench = up(flow=workflow(task("a"), task("b", critical=False)))
    bench.modify(exclude=("b",))
    bench.core.pool.end(bench.core, list(bench.core.pool.idle))
    for one in bench.nodes.values():
        one.deaf = True
    bench.modify(include=("b",), operation="back")
    bench.wait(100.0)
    assert bench.answers["back"].code == "E_TRANSITION"
    assert bench.show().excluded == ("w.b",)


def test_the_loss_of_another_task_ends_the_modification_with_the_run() -> None:
    bench = up()
    bench.nodes["n1"].deaf = True
    bench.modify(exclude=("its",), operation="out")
    bench.kill("w.tpc.ro", signal=9)
    bench.nodes["n1"].deaf = False
    bench.wait(10.0)

    assert bench.state is EnvState.ERROR
    assert bench.answers["out"].code == "E_TRANSITION"
    assert bench.show().excluded == ()

    bench.control("RECOVER")
    assert bench.state is EnvState.DEPLOYED
    assert bench.control("CONFIGURE") is not None
    assert {one.state for one in bench.show().tasks} == {TaskState.CONFIGURED}


def test_what_was_being_included_is_let_go_when_the_environment_fails() -> None:
    bench = up()
    bench.modify(exclude=("tpc",))
    bench.nodes["n2"].deaf = True
    bench.modify(include=("tpc",), operation="back")
    bench.kill("w.its.ro", signal=9)
    assert bench.state is EnvState.ERROR or bench.show().transition == "GO_ERROR"
    bench.nodes["n2"].deaf = False
    bench.wait(10.0)

    assert bench.state is EnvState.ERROR
    assert bench.show().excluded == ("w.tpc",)
    assert not [one for one in bench.show().tasks if one.role.startswith("w.tpc") and not one.excluded]
    bench.control("RECOVER")
    assert bench.state is EnvState.DEPLOYED


def test_destroying_by_force_ends_what_is_being_modified() -> None:
    bench = up()
    bench.modify(exclude=("tpc",))
    bench.nodes["n2"].deaf = True
    bench.modify(include=("tpc",), operation="back")
    bench.destroy(force=True)
    bench.nodes["n2"].deaf = False
    bench.wait(60.0)
    assert bench.answers["back"].code == "E_CONFLICT"
    assert not bench.core.environments
    assert not bench.nodes["n1"].tasks
    assert len(bench.nodes["n2"].tasks) == len(bench.core.pool.idle)
    for table in ("environment", "placement", "plan", "modification", "launched", "configuration"):
        assert not bench.records.get(table), table


@pytest.mark.parametrize("rounds", range(14))
@pytest.mark.parametrize("verb", ["exclude", "include"])
def test_a_core_that_is_killed_at_any_step_goes_on(verb: str, rounds: int) -> None:
    bench = up()
    if verb == "include":
        bench.modify(exclude=("its",))
    pids = {one.role: one.pid for one in bench.show().tasks}
    asked = client.Modify(operation="m", environment=bench.show().environment, **{verb: ("its",)})
    bench.queue.append(Received(CLIENT, asked))
    for _ in range(rounds):
        if bench.queue:
            bench.perform(bench.core.handle(bench.queue.popleft(), bench.now))
    begun = "m" in bench.core.requests.operations
    bench.restart()
    bench.wait(8.0)

    assert bench.state is EnvState.RUNNING
    if not begun:
        bench.modify(operation="m", **{verb: ("its",)})
    assert bench.answers.get("m") is None or bench.answers["m"].code == ""
    assert bench.show().excluded == (("w.its",) if verb == "exclude" else ())
    assert {one.state for one in bench.show().tasks if not one.excluded} == {TaskState.RUNNING}
    others = {role: pid for role, pid in pids.items() if not role.startswith("w.its")}
    assert {one.role: one.pid for one in bench.show().tasks if not one.role.startswith("w.its")} == others
    assert bench.show().run_number == 1


def test_an_excluded_role_stays_so_over_a_restart_of_the_core() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    bench.restart()
    assert bench.show().excluded == ("w.its",)
    assert len(bench.core.pool.idle) == 2
    assert all(one.is_ready for one in bench.core.pool.idle.values())
    assert not [event for event in bench.events if event.kind == "orphan"]
    bench.control("STOP_ACTIVITY")
    bench.modify(include=("its",))
    assert {one.state for one in bench.show().tasks} == {TaskState.CONFIGURED}


def channelled() -> Workflow:
    """`sink` binds, `source` connects to it."""
    made = workflow(task("sink"), task("source"), task("other"))
    roles = list(made.roles)
    roles[1] = attrs.evolve(roles[1], bind=(Channel(name="data", type="pull"),))
    roles[2] = attrs.evolve(roles[2], connect=(Channel(name="out", type="push", target="w.sink:data"),))
    return attrs.evolve(made, roles=tuple(roles))


def configured(bench: Bench, role: str) -> dict[str, str]:
    """Return what a task was told by its last CONFIGURE."""
    return [
        dict(message.each[i])
        for one in bench.nodes.values()
        for message in one.commands
        for i, name in enumerate(message.tasks)
        if message.event.name == "CONFIGURE" and one.specs[name].role == role
    ][-1]


def test_what_is_put_back_has_the_address_that_others_connect_to() -> None:
    bench = Bench(channelled())
    bench.create()
    address = configured(bench, "w.source")["chans.out.0.address"]
    bench.modify(exclude=("sink",))
    bench.control("RESET")
    bench.control("CONFIGURE")  # the other end is out: its address is kept for it
    assert configured(bench, "w.source")["chans.out.0.address"] == address
    bench.modify(include=("sink",))
    port = address.rpartition(":")[2]
    assert configured(bench, "w.sink")["chans.data.0.address"].rpartition(":")[2] == port


def test_what_is_put_back_connects_to_living_peers() -> None:
    bench = Bench(channelled())
    bench.create()
    address = configured(bench, "w.source")["chans.out.0.address"]
    bench.modify(exclude=("source",))
    bench.modify(include=("source",))
    assert configured(bench, "w.source")["chans.out.0.address"] == address


# groups that can do without members


def test_fewer_members_than_the_minimum_are_refused() -> None:
    bench = up(flow=detectors(minimum=4))  # of five
    assert bench.modify(exclude=("its",)).code == ""  # type: ignore[union-attr]
    answer = bench.modify(exclude=("tpc",))
    assert answer is not None
    assert answer.code == "E_INVALID"
    assert answer.message == "w needs 4 whole members, 3 would be left"
    assert next(role for role in bench.show().roles if role.path == "w").min == 4


def test_a_death_is_borne_as_long_as_enough_members_are_whole() -> None:
    bench = up(flow=detectors(minimum=4))
    bench.kill("w.its.ro", signal=9)
    assert bench.state is EnvState.RUNNING
    assert bench.show().roles[0].state is TaskState.RUNNING
    (span,) = bench.run_info(1).degraded
    assert span.role == "w.its.ro"

    bench.kill("w.tpc.ro", signal=9)
    assert bench.state is EnvState.ERROR
    assert "w.tpc.ro" in bench.show().cause


def test_the_next_transitions_do_without_the_dead_member() -> None:
    bench = up(flow=detectors(minimum=4))
    bench.kill("w.its.ro", signal=9)
    for event, state in (
        ("STOP_ACTIVITY", "CONFIGURED"),
        ("START_ACTIVITY", "RUNNING"),
        ("STOP_ACTIVITY", "CONFIGURED"),
    ):
        answer = bench.control(event)
        assert answer is not None
        assert (answer.code, answer.state.name) == ("", state)
    run = bench.run_info(2)
    assert run.condition is RunCondition.DEGRADED
    assert [span.role for span in run.degraded] == ["w.its.ro"]


def test_a_start_with_fewer_members_than_the_minimum_is_refused() -> None:
    bench = up(EnvState.CONFIGURED, detectors(minimum=5))
    bench.nodes["n2"].silent = True
    bench.wait(4.0)
    answer = bench.control("START_ACTIVITY")
    assert answer is not None
    assert answer.code == "E_INVALID"
    assert answer.message.startswith("w needs 5 whole members and has 3")
    assert bench.state is EnvState.CONFIGURED


def test_what_finds_no_node_is_done_without_if_the_group_can() -> None:
    bench = Bench(detectors(minimum=3), ("n1",))  # its, mch and the trigger
    bench.create(target=EnvState.RUNNING)
    assert bench.state is EnvState.RUNNING
    assert {span.role for span in bench.run_info(1).degraded} == {"w.tpc.ro", "w.emc.ro"}


def test_what_finds_no_node_and_is_needed_is_an_error() -> None:
    bench = Bench(detectors(minimum=4), ("n1",))
    bench.create()
    assert bench.state is EnvState.ERROR


def test_failures_of_a_transition_are_judged_together() -> None:
    for refusing, state in ((("its",), EnvState.RUNNING), (("its", "mch"), EnvState.ERROR)):
        bench = up(EnvState.CONFIGURED, detectors(minimum=4))
        for name in refusing:
            bench.nodes["n1"].refuse[f"w.{name}.ro", "START"] = "no"
        bench.control("START_ACTIVITY")
        bench.wait(8.0)
        assert bench.state is state


# tasks whose death does not matter


def dropping(minimum: int = 0) -> Workflow:
    made = detectors(minimum)
    direct = attrs.evolve(made.classes["DIRECT"], on_exit="drop")
    roles = list(made.roles)
    n = next(n for n, role in enumerate(roles) if role.path == "w.its.ro")
    roles[n] = attrs.evolve(roles[n], task=TaskTraits(class_name="DROP", mode=Mode.DIRECT))
    return attrs.evolve(made, roles=tuple(roles), classes={**made.classes, "DROP": attrs.evolve(direct, name="DROP")})


def test_a_task_that_may_be_dropped_is_excluded_when_it_dies() -> None:
    bench = up(flow=dropping())
    bench.kill("w.its.ro", signal=9)
    assert bench.state is EnvState.RUNNING
    assert bench.show().excluded == ("w.its.ro",)
    assert bench.nodes["n1"].killed == ["w.its.ro"]
    (span,) = bench.run_info(1).degraded
    assert (span.role, span.end_ms) == ("w.its.ro", 0)
    bench.modify(include=("its.ro",))
    assert bench.task("w.its.ro").state is TaskState.RUNNING
    assert bench.run_info(1).degraded[0].end_ms


def test_a_task_that_may_be_dropped_is_missed_where_its_group_is_too_small_then() -> None:
    bench = up(flow=dropping(minimum=5))
    bench.kill("w.its.ro", signal=9)
    assert bench.state is EnvState.ERROR


def test_a_task_that_dies_in_a_transition_is_dropped_after_it() -> None:
    bench = up(EnvState.CONFIGURED, dropping())
    bench.nodes["n1"].deaf = True
    bench.control("START_ACTIVITY")
    bench.kill("w.its.ro", signal=9)
    bench.nodes["n1"].deaf = False
    bench.wait(8.0)
    assert bench.state is EnvState.RUNNING
    assert bench.show().excluded == ("w.its.ro",)


def test_the_last_task_is_not_dropped() -> None:
    made = workflow(task("a"))
    flow = attrs.evolve(made, classes={**made.classes, "DIRECT": attrs.evolve(made.classes["DIRECT"], on_exit="drop")})
    bench = up(flow=flow)
    bench.kill("w.a", signal=9)
    assert bench.state is EnvState.ERROR


def test_the_death_of_an_excluded_task_in_the_pool_is_told() -> None:
    bench = up()
    bench.modify(exclude=("its",))
    one = bench.nodes["n1"]
    name = one.find("w.its.ro")
    one.tasks[name] = attrs.evolve(
        one.tasks[name], phase=Phase.EXITED, state=TaskState.ERROR, exit=Exit(cause=ExitCause.SIGNALED, signal=9)
    )
    bench.send("n1", one.update(name))
    assert name not in bench.core.pool.idle
    assert bench.nodes["n1"].killed == ["w.its.ro"]
    told_of = [event for event in bench.events if event.kind == "pool" and event.state == "GONE"]
    assert [event.text for event in told_of] == ["1 task on node n1: killed by signal 9"]
    assert bench.state is EnvState.RUNNING
