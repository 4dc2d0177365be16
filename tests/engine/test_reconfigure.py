"""Changing properties of tasks of a CONFIGURED environment."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest

from libecs.engine import reconfigure
from libecs.engine.effects import Call, Received
from libecs.fsm import EnvState, Mode, TaskEvent, TaskState
from libecs.wire import client
from libecs.wire.client import Finished
from libecs.workflow.role import Channel, Workflow
from tests.engine.bench import CLIENT, Bench
from tests.engine.flows import call, group, task, workflow


def flow(*more: object, live: bool = True, variables: Mapping[str, str] | None = None) -> Workflow:
    """Two direct tasks `a` and `b` with properties, one basic one `p` whose command has a variable."""
    made = workflow(
        task("a"),
        task("b"),
        task("p", mode=Mode.BASIC),
        *more,  # type: ignore[arg-type]
        variables={"gain": "1", **(variables or {})},
    )
    direct = attrs.evolve(
        made.classes["DIRECT"],
        properties={"threshold": "{{ gain }}0", "mask": "ff", "fixed": "x"},
        defaults={"colour": "red"},
        reconfigure="live" if live else "reset",
    )
    basic = attrs.evolve(made.classes["BASIC"], arguments=("--gain", "{{ gain }}"), properties={"threshold": "1"})
    return attrs.evolve(made, classes={**made.classes, "DIRECT": direct, "BASIC": basic})


def change(bench: Bench, tasks: str = "**", operation: str = "change", **values: str) -> Finished | None:
    environment = next(iter(bench.core.environments))
    bench.ask(client.Reconfigure(operation=operation, environment=environment, values=values, tasks=tasks))
    return bench.answers.get(operation)


def made(live: bool = True, *more: object) -> Bench:
    bench = Bench(flow(*more, live=live))
    bench.create()
    bench.nodes["n1"].commands.clear()
    return bench


def told(bench: Bench) -> list[tuple[str, str, dict[str, str]]]:
    """Return (role, event, properties) of all commands."""
    one = bench.nodes["n1"]
    return [
        (one.specs[name].role, message.event.name, dict(message.each[i]) if message.each else {})
        for message in one.commands
        for i, name in enumerate(message.tasks)
    ]


def test_a_live_task_is_told_what_changed_and_nothing_else() -> None:
    bench = made()

    answer = change(bench, "a", threshold="5")

    assert answer is not None
    assert (answer.code, answer.state, answer.environment) == ("", EnvState.CONFIGURED, bench.show().environment)
    assert told(bench) == [("w.a", "RECONFIGURE", {"threshold": "5"})]
    assert bench.states()[-1] == "CONFIGURED"
    begun = [event for event in bench.events if event.transition == "RECONFIGURE"]
    assert [event.kind for event in begun if "step" not in event.kind] == ["transition.begin", "transition.end"]


def test_a_task_that_is_not_live_is_reset_and_configured_with_everything_in_its_process() -> None:
    bench = made(False)
    pids = [one.pid for one in bench.show().tasks]

    answer = change(bench, "a", threshold="5")

    assert answer is not None
    assert answer.code == ""
    environment = bench.show().environment
    whole = {"environment_id": environment, "threshold": "5", "mask": "ff", "fixed": "x"}
    assert told(bench) == [("w.a", "RESET", {}), ("w.a", "CONFIGURE", whole)]
    assert [one.pid for one in bench.show().tasks] == pids
    assert {one.state for one in bench.show().tasks} == {TaskState.CONFIGURED}


def test_a_device_of_fairmq_is_never_live() -> None:
    one = workflow(task("a", mode=Mode.FAIRMQ))
    fairmq = attrs.evolve(one.classes["FAIRMQ"], properties={"x": "1"}, reconfigure="live")
    bench = Bench(attrs.evolve(one, classes={**one.classes, "FAIRMQ": fairmq}))
    bench.create()
    bench.nodes["n1"].commands.clear()

    change(bench, x="2")

    assert [event for _, event, _ in told(bench)] == ["RESET", "CONFIGURE"]


def test_a_variable_changes_all_that_is_made_of_it_for_the_chosen_tasks_only() -> None:
    bench = made()

    change(bench, "a", gain="7")

    assert told(bench) == [("w.a", "RECONFIGURE", {"threshold": "70"})]


def test_a_variable_of_the_class_can_be_changed_too() -> None:
    bench = made()

    answer = change(bench, "a", colour="blue")

    assert answer is not None
    assert answer.code == ""
    assert told(bench) == []  # nothing is made of it


def test_only_tasks_that_become_different_are_touched() -> None:
    bench = made()
    change(bench, "a", "one", threshold="5")
    bench.nodes["n1"].commands.clear()

    answer = change(bench, "**", "two", threshold="5")

    assert answer is not None
    assert answer.code == ""
    assert told(bench) == [("w.b", "RECONFIGURE", {"threshold": "5"})]


def test_values_that_are_there_already_change_nothing() -> None:
    bench = made()

    answer = change(bench, threshold="10", mask="ff")

    assert answer is not None
    assert answer.code == ""
    assert told(bench) == []


def test_a_program_has_its_new_command_at_the_next_start() -> None:
    bench = made()
    before = bench.nodes["n1"].find("w.p")

    answer = change(bench, "p", gain="9")

    assert answer is not None
    assert answer.code == ""
    one = bench.nodes["n1"]
    assert before not in one.tasks
    (now,) = [name for name in one.tasks if one.specs[name].role == "w.p"]
    assert one.specs[now].command.argv[1:] == ("--gain", "9")
    assert one.tasks[now].state is TaskState.CONFIGURED
    assert not bench.records["condemned"]
    bench.control("START_ACTIVITY")
    assert bench.state is EnvState.RUNNING


def test_a_program_whose_command_stays_is_left_alone() -> None:
    bench = made()
    before = bench.nodes["n1"].find("w.p")

    change(bench, "p", gain="1")

    assert before in bench.nodes["n1"].tasks


def test_all_kinds_of_tasks_change_in_one_plan() -> None:
    bench = made(False)

    answer = change(bench, gain="3")

    assert answer is not None
    assert answer.code == ""
    events = [(role, event) for role, event, _ in told(bench)]
    assert events == [
        ("w.a", "RESET"),
        ("w.b", "RESET"),
        ("w.a", "CONFIGURE"),
        ("w.b", "CONFIGURE"),
        ("w.p", "CONFIGURE"),
    ]


@pytest.mark.parametrize("live", [True, False])
def test_new_values_stay_after_reset_and_restart(live: bool) -> None:
    bench = made(live)
    change(bench, "a", "one", threshold="5")
    change(bench, "b", "two", gain="7")
    bench.control("RESET")
    bench.restart()
    bench.nodes["n1"].commands.clear()

    bench.control("CONFIGURE")

    told_now = {role: properties["threshold"] for role, _, properties in told(bench) if properties}
    assert told_now == {"w.a": "5", "w.b": "70"}


@pytest.mark.parametrize("live", [True, False])
def test_the_record_of_the_next_run_knows_the_new_configuration(live: bool) -> None:
    bench = made(live)
    bench.control("START_ACTIVITY")
    bench.control("STOP_ACTIVITY")
    change(bench, "a", threshold="5")
    bench.restart()
    bench.control("START_ACTIVITY")

    before, after = bench.run_info(1).configuration, bench.run_info(2).configuration
    assert {path for path in before if before[path] != after[path]} == {"w.a"}
    environment = bench.core.environments[bench.show().environment]
    from libecs.engine import payload

    for one in environment.runners():
        if one.mode is Mode.DIRECT:
            assert payload.digest(payload.configuration(environment, one), one.id) == after[one.path]


def test_ten_points_keep_all_processes() -> None:
    bench = made()
    pids = [one.pid for one in bench.show().tasks]
    for point in range(10):
        answer = change(bench, "**", f"change{point}", threshold=str(100 + point))
        assert answer is not None
        assert answer.code == ""
        bench.control("START_ACTIVITY")
        bench.control("STOP_ACTIVITY")

    assert [one.pid for one in bench.show().tasks] == pids
    assert len(bench.core.runbook.runs) == 10


# refusals


def unchanged(bench: Bench, answer: Finished | None, code: str) -> Finished:
    assert answer is not None
    assert answer.code == code
    assert told(bench) == []
    record = next(iter(bench.core.environments.values())).record
    assert (record.properties, record.operation) == ({}, "")
    assert bench.show().transition == ""
    return answer


def test_an_unknown_key_is_refused_with_the_one_that_was_meant() -> None:
    bench = made()

    answer = unchanged(bench, change(bench, "a", treshold="5"), "E_INVALID")

    assert answer.message == "'treshold' is neither a property nor a variable of the chosen tasks"
    assert answer.hint == "did you mean threshold?"
    assert bench.state is EnvState.CONFIGURED


def test_one_unknown_key_among_good_ones_changes_nothing() -> None:
    bench = made()

    answer = unchanged(bench, change(bench, threshold="5", nonsense="1", more="2"), "E_INVALID")

    assert "'nonsense'" in answer.message
    assert "'more'" in answer.message


def test_a_property_of_another_task_is_unknown_to_the_chosen_one() -> None:
    bench = made()

    unchanged(bench, change(bench, "p", mask="0"), "E_INVALID")


def test_a_property_of_a_program_is_none() -> None:
    bench = made()

    unchanged(bench, change(bench, "p", threshold="5"), "E_INVALID")


@pytest.mark.parametrize("pattern", ["x", "**.c", "w.aa"])
def test_a_pattern_that_chooses_no_task_is_refused(pattern: str) -> None:
    bench = made()

    answer = unchanged(bench, change(bench, pattern, threshold="5"), "E_INVALID")

    assert f"matches {pattern!r}" in answer.message


def test_a_hook_is_no_task_to_be_chosen() -> None:
    bench = made(True, task("h", mode=Mode.BASIC, trigger="after_NOTHING"))

    unchanged(bench, change(bench, "h", gain="5"), "E_INVALID")


def test_a_pattern_that_is_none_is_refused() -> None:
    bench = made()

    unchanged(bench, change(bench, "a..b", threshold="5"), "E_USAGE")


def test_no_values_are_refused() -> None:
    bench = made()

    unchanged(bench, change(bench), "E_INVALID")


def test_properties_of_channels_cant_be_changed() -> None:
    one = flow()
    channel = Channel(name="data", type="push")
    role = attrs.evolve(one.roles[1], bind=(channel,))
    bench = Bench(attrs.evolve(one, roles=(one.roles[0], role, *one.roles[2:])))
    bench.create()
    bench.nodes["n1"].commands.clear()

    answer = unchanged(bench, change(bench, "a", **{"chans.data.0.type": "pull"}), "E_INVALID")

    assert "comes from the channels of a task" in answer.message


@pytest.mark.parametrize("event", ["RESET", "START_ACTIVITY"])
def test_an_environment_that_is_not_configured_refuses(event: str) -> None:
    bench = made()
    bench.control(event)
    bench.nodes["n1"].commands.clear()

    answer = unchanged(bench, change(bench, threshold="5"), "E_STATE")

    assert "RECONFIGURE is not possible" in answer.message


def test_an_environment_in_error_refuses() -> None:
    bench = made()
    bench.kill("w.a", signal=9)
    bench.nodes["n1"].commands.clear()

    unchanged(bench, change(bench, threshold="5"), "E_STATE")


def test_a_busy_environment_refuses() -> None:
    bench = Bench(flow(call("c", "x.Slow()", "before_RESET")), integrations={"x.Slow": lambda one: None})
    bench.create()
    bench.control("RESET")

    answer = change(bench, threshold="5")

    assert answer is not None
    assert answer.code == "E_CONFLICT"


def test_an_environment_that_is_not_there_refuses() -> None:
    bench = made()
    bench.ask(client.Reconfigure(operation="x", environment="none", values={"a": "b"}))

    assert bench.answers["x"].code == "E_NOT_FOUND"


def test_a_value_that_breaks_a_text_is_refused_and_nothing_has_changed() -> None:
    one = flow()
    direct = attrs.evolve(one.classes["DIRECT"], properties={"n": "{{ json.Unmarshal(gain)[0] }}"})
    one = attrs.evolve(one, classes={**one.classes, "DIRECT": direct}, user_vars={"gain": "[1]"})
    bench = Bench(one)
    bench.create()
    bench.nodes["n1"].commands.clear()

    answer = change(bench, "a", gain="[]")

    assert answer is not None
    assert answer.code in ("E_EXPRESSION", "E_TEMPLATE")
    assert told(bench) == []
    assert bench.state is EnvState.CONFIGURED
    assert bench.show().transition == ""
    assert not bench.records["reconfiguration"]
    again = change(bench, "a", "again", gain="[2]")
    assert again is not None
    assert (again.code, told(bench)) == ("", [("w.a", "RECONFIGURE", {"n": "2"})])


# failures


def test_a_live_task_that_refuses_takes_the_environment_to_error() -> None:
    bench = made()
    bench.nodes["n1"].refuse["w.a", "RECONFIGURE"] = "not while the pump is on"

    answer = change(bench, threshold="5")

    assert answer is not None
    assert answer.code == "E_TRANSITION"
    assert bench.state is EnvState.ERROR
    assert not bench.records["reconfiguration"]
    assert bench.show().cause == "RECONFIGURE failed: w.a: on node n1 not while the pump is on"


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("restart", [True, False])
def test_what_a_task_refuses_is_put_back_so_that_the_environment_can_be_recovered(live: bool, restart: bool) -> None:
    bench = made(live)
    change(bench, "a", "good", threshold="7", colour="blue")
    refused = "RECONFIGURE" if live else "CONFIGURE"
    bench.nodes["n1"].refuse["w.a", refused] = "too much"
    change(bench, "**", "bad", threshold="900", gain="3")
    assert bench.state is EnvState.ERROR
    if restart:
        bench.restart()
    record = next(iter(bench.core.environments.values())).record
    assert record.properties == {"w.a": {"threshold": "7"}}
    assert {path: dict(table) for path, table in record.overlay.items() if path != "w"} == {"w.a": {"colour": "blue"}}

    del bench.nodes["n1"].refuse["w.a", refused]
    bench.control("RECOVER")
    bench.nodes["n1"].commands.clear()
    bench.control("CONFIGURE")

    assert bench.state is EnvState.CONFIGURED
    told_now = {role: properties.get("threshold") for role, _, properties in told(bench)}
    assert told_now == {"w.a": "7", "w.b": "10", "w.p": None}
    one = bench.nodes["n1"]
    (program,) = [one.specs[name] for name in one.tasks if one.specs[name].role == "w.p"]
    assert program.command.argv[-1] == "1"


def test_a_task_that_is_not_critical_may_refuse() -> None:
    bench = made(True, task("n", critical=False))
    bench.nodes["n1"].refuse["w.n", "RECONFIGURE"] = "no"

    answer = change(bench, threshold="5")

    assert answer is not None
    assert answer.code == ""
    assert [event.role for event in bench.events if event.kind == "transition.step" and not event.ok] == ["w.n"]


def test_a_dead_task_is_passed_over_and_takes_the_value_in_its_next_life() -> None:
    bench = made(True, task("n", critical=False))
    bench.kill("w.n", signal=9)

    change(bench, "n", threshold="5")

    assert told(bench) == []
    assert next(iter(bench.core.environments.values())).record.properties == {"w.n": {"threshold": "5"}}


def test_only_the_answer_ends_the_step_of_a_live_task_and_not_its_state() -> None:
    bench = made()
    bench.nodes["n1"].deaf = True
    change(bench, "a", threshold="5")
    bench.change("w.a", last_log="still here")
    assert bench.show().transition == "RECONFIGURE"

    bench.wait(40.0)

    assert bench.state is EnvState.ERROR


def test_a_task_that_dies_meanwhile_ends_it() -> None:
    bench = made()
    bench.nodes["n1"].deaf = True
    change(bench, "a", threshold="5")
    bench.kill("w.a", signal=11)

    assert bench.state is not EnvState.ERROR or "signal 11" in bench.show().cause
    bench.wait(20.0)
    assert "signal 11" in bench.show().cause


# crashes of the core


def test_a_core_that_died_in_the_middle_goes_on_with_the_same_command() -> None:
    bench = made()
    one = bench.nodes["n1"]
    one.deaf = True
    change(bench, "a", threshold="5")
    bench.restart()
    one.deaf = False
    bench.wait(3.0)

    ids = [message.id for message in one.heard if message.event is TaskEvent.RECONFIGURE]
    assert len(ids) > 1
    assert len(set(ids)) == 1
    assert told(bench) == [("w.a", "RECONFIGURE", {"threshold": "5"})]
    assert bench.show().transition == ""
    assert not bench.records["reconfiguration"]
    assert change(bench, "a", threshold="5") is not None  # the operation's answer is known


@pytest.mark.parametrize("live", [True, False])
def test_a_core_that_dies_after_any_input_ends_up_with_the_same_configuration(live: bool) -> None:
    """Count the inputs of an undisturbed history, then crash after each."""
    for crash_after in range(1, 60):
        bench = made(live)
        environment = bench.show().environment
        message = client.Reconfigure(operation="change", environment=environment, values={"gain": "4"})
        bench.queue.append(Received(CLIENT, message))
        handled = 0
        while bench.queue and handled < crash_after:
            bench.unix += 1
            bench.perform(bench.core.handle(bench.queue.popleft(), bench.now))  # type: ignore[arg-type]
            handled += 1
        over = not bench.queue
        bench.restart()
        bench.wait(5.0)

        assert bench.show().transition == ""
        assert bench.state is EnvState.CONFIGURED
        one = bench.nodes["n1"]
        final = {role: properties for role, event, properties in told(bench) if event in ("RECONFIGURE", "CONFIGURE")}
        assert final["w.a"]["threshold"] == "40"
        commands = [one.specs[name].command.argv[-1] for name in one.tasks if one.specs[name].role == "w.p"]
        assert commands == ["4"]
        if over:
            return
    raise AssertionError("the history does not end")


def test_many_tasks_are_compared_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconfigure, "PORTION", 3)
    one = workflow(group("g"), *(task(f"g.t{i}") for i in range(10)))
    direct = attrs.evolve(one.classes["DIRECT"], properties={"x": "1"}, reconfigure="live")
    bench = Bench(attrs.evolve(one, classes={**one.classes, "DIRECT": direct}))
    bench.create()
    bench.nodes["n1"].commands.clear()

    answer = change(bench, "g.*", x="2")

    assert answer is not None
    assert answer.code == ""
    assert len(told(bench)) == 10
    assert len(bench.nodes["n1"].commands) == 1


def test_destroying_by_force_ends_a_comparison() -> None:
    bench = made()
    environment = bench.show().environment
    message = client.Reconfigure(operation="change", environment=environment, values={"gain": "4"})
    bench.queue.append(Received(CLIENT, message))
    bench.queue.append(Received(CLIENT, client.Destroy(operation="end", environment=environment, force=True)))
    bench.run()

    assert bench.core.environments == {}
    assert bench.answers["change"].code == "E_CONFLICT"
    assert not bench.records["reconfiguration"]


def test_the_same_operation_twice_changes_once() -> None:
    bench = made()
    change(bench, "a", threshold="5")
    bench.restart()
    again = change(bench, "a", threshold="5")

    assert again is not None
    assert again.code == ""
    assert len(told(bench)) == 1


def test_a_value_that_replaces_a_tree_of_properties_leaves_nothing_of_it() -> None:
    one = flow(live=False)
    direct = attrs.evolve(one.classes["DIRECT"], properties={"config": "{{ ToPtree('{}', 'json') }}"})
    bench = Bench(attrs.evolve(one, classes={**one.classes, "DIRECT": direct}))
    bench.create()
    first = told(bench)[0][2]
    bench.nodes["n1"].commands.clear()
    assert first["config"] in first

    change(bench, "a", config="plain")

    configured = next(properties for _, event, properties in told(bench) if event == "CONFIGURE")
    assert configured["config"] == "plain"
    assert not any(name.startswith("__ptree__") for name in configured)


def test_a_change_while_a_call_is_pending_keeps_the_call() -> None:
    held: list[Call] = []
    bench = Bench(
        flow(call("c", "x.Slow()", "before_CONFIGURE", "before_RESET")),
        integrations={"x.Slow": lambda one: held.append(one)},
    )
    bench.create()
    change(bench, "a", threshold="5")

    assert not bench.cancelled
    assert len(held) == 1
