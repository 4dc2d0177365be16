"""Environments that take one run and end; runs that are taken again."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from libecs.access import Principal, Role
from libecs.engine.core import CoreSettings
from libecs.engine.effects import Expand, Expanded
from libecs.fsm import EnvState, Mode
from libecs.wire import client
from libecs.wire.client import Finished
from libecs.workflow.role import Workflow
from tests.engine.bench import Bench
from tests.engine.flows import call, task, workflow

ANNA = Principal(name="anna", role=Role.OPERATOR)
ROOT = Principal(name="root", role=Role.ADMIN)


def begin(flow: Workflow | None = None, **variables: str) -> Bench:
    bench = Bench(flow or workflow(task("a")))
    bench.ask(client.Create(operation="auto", workflow="t", auto=True, variables=variables), "c", ANNA)
    return bench


def over(bench: Bench) -> None:
    assert bench.core.environments == {}
    assert bench.nodes["n1"].tasks == {}
    assert [line.decision for line in bench.audit if line.operation == "auto"][-1] in ("done", "failed")
    assert [event.name for event in bench.events if event.kind == "operation.end"].count("auto") == 1


def test_an_auto_environment_takes_a_run_and_ends_when_somebody_stops_it() -> None:
    bench = begin()
    assert bench.state is EnvState.RUNNING
    info = bench.show()
    assert (info.auto, info.operation) == (True, "auto")
    assert "auto" not in bench.answers

    bench.control("STOP_ACTIVITY")

    over(bench)
    assert (bench.answers["auto"].code, bench.answers["auto"].run_number) == ("", 1)
    assert bench.states() == ["STANDBY", "DEPLOYED", "CONFIGURED", "RUNNING", "CONFIGURED", "DEPLOYED", "DONE"]
    assert bench.core.runbook.get(1).end_reason == "STOPPED"


def test_an_auto_environment_ends_when_its_time_is_over() -> None:
    bench = begin(workflow(task("a"), variables={"auto_stop_enabled": "true", "auto_stop_timeout": "3s"}))
    bench.wait(2.0)
    assert bench.state is EnvState.RUNNING

    bench.wait(3.0)

    over(bench)
    assert bench.core.runbook.get(1).end_reason == "TIMER"
    assert bench.answers["auto"].code == ""


def test_an_auto_environment_ends_with_its_data() -> None:
    bench = begin()

    bench.change("w.a", end_of_stream=True)

    over(bench)
    assert bench.core.runbook.get(1).end_reason == "END_OF_STREAM"


def test_an_auto_environment_whose_run_fails_is_destroyed_and_says_why() -> None:
    bench = begin()

    bench.kill("w.a", signal=11)

    over(bench)
    answer = bench.answers["auto"]
    assert (answer.code, answer.run_number) == ("E_RUN", 1)
    assert "w.a on node n1 killed by signal 11" in answer.cause


def test_an_auto_environment_that_never_runs_says_why() -> None:
    bench = Bench(workflow(task("a")))
    bench.nodes["n1"].refuse["w.a", "CONFIGURE"] = "no such card"
    bench.ask(client.Create(operation="auto", workflow="t", auto=True), "c", ANNA)

    over(bench)
    assert bench.answers["auto"].code == "E_RUN"
    assert "no such card" in bench.answers["auto"].cause
    assert bench.answers["auto"].run_number == 0


def test_an_auto_environment_that_is_destroyed_has_an_answer_too() -> None:
    flow = workflow(task("a"), call("c", "x.Slow()", "before_CONFIGURE"))
    bench = Bench(flow, integrations={"x.Slow": lambda call: None})
    bench.ask(client.Create(operation="auto", workflow="t", auto=True), "c", ANNA)

    bench.destroy(force=True)

    over(bench)
    assert bench.answers["auto"].code == "E_CONFLICT"
    assert "destroyed before it took its run" in bench.answers["auto"].message


def test_an_auto_environment_that_is_destroyed_while_it_runs_tells_its_run() -> None:
    bench = begin()

    bench.destroy(allow_running=True)

    over(bench)
    assert (bench.answers["auto"].code, bench.answers["auto"].run_number) == ("", 1)


def test_an_auto_environment_whose_workflow_cant_be_loaded_says_why() -> None:
    bench = Bench(workflow(task("a"), variables={"detectors": "its"}))
    bench.create()
    bench.ask(client.Create(operation="auto", workflow="t", auto=True), "c", ANNA)

    assert bench.answers["auto"].code == "E_CONFLICT"
    assert len(bench.core.environments) == 1


@pytest.mark.parametrize(
    "moment", ["before_CONFIGURE", "before_START_ACTIVITY", "before_STOP_ACTIVITY", "before_RESET"]
)
def test_an_auto_environment_goes_on_after_a_restart(moment: str) -> None:
    held: list[Any] = []
    settings = CoreSettings(instance="test", idempotent_calls=frozenset({"x.Slow"}))
    flow = workflow(task("a"), call("c", "x.Slow()", moment))
    bench = Bench(flow, integrations={"x.Slow": held.append}, settings=settings)
    bench.ask(client.Create(operation="auto", workflow="t", auto=True), "c", ANNA)
    bench.integrations.clear()
    if bench.state is EnvState.RUNNING:
        bench.integrations["x.Slow"] = held.append  # answers None: the call goes on
        bench.control("STOP_ACTIVITY")
        bench.integrations.clear()
    assert held

    bench.restart()
    if bench.core.environments and bench.state is EnvState.RUNNING:
        bench.control("STOP_ACTIVITY")

    over(bench)
    bench.ask(client.Create(operation="auto", workflow="t", auto=True), "c", ANNA)
    assert (bench.answers["auto"].code, bench.answers["auto"].run_number) == ("", 1)


def test_an_auto_environment_is_ended_by_nobody_that_a_lock_binds() -> None:
    bench = begin(workflow(task("a"), variables={"detectors": "its"}))
    bench.ask(client.Lock(operation="l", detectors=("its",), force=True), "r", ROOT)

    bench.change("w.a", end_of_stream=True)

    over(bench)


# runs again


class Repeater(Bench):
    """A bench whose workflows have a commit."""

    revision = "c0ffee"

    def _perform_one(self, effect: object) -> None:
        if isinstance(effect, Expand):
            self.expanded.append(effect)
            workflow = attrs.evolve(self.workflow, revision=self.revision, repository="cw")
            self.queue.append(Expanded(job=effect.job, workflow=workflow))
        else:
            super()._perform_one(effect)

    @property
    def expanded(self) -> list[Expand]:
        return self.__dict__.setdefault("_expanded", [])  # type: ignore[no-any-return] # __dict__ holds anything


def after_a_run(*nodes: str) -> Repeater:
    bench = Repeater(workflow(task("a", node="n1"), task("b"), task("p", mode=Mode.BASIC)), nodes=nodes or ("n1", "n2"))
    bench.ask(client.Create(operation="first", workflow="cw/workflows/t@main", variables={"x": "1"}), "c", ANNA)
    bench.control("START_ACTIVITY")
    bench.destroy(force=True)
    return bench


def again(bench: Bench, force: bool = False, **fields: Any) -> Finished:
    told = bench.ask(
        client.Create(
            operation=f"again{len(bench.sent)}", workflow=fields.pop("workflow", ""), repeat=1, force=force, **fields
        ),
        "c",
        ANNA,
    )
    assert isinstance(told[-1], Finished)
    return told[-1]


def test_a_run_is_repeated_with_its_commit_its_variables_and_its_places() -> None:
    bench = after_a_run()
    placement = bench.run_info(1).placement

    done = again(bench)

    assert (done.code, done.state) == ("", EnvState.CONFIGURED)
    assert bench.expanded[-1].workflow == "cw/workflows/t@c0ffee"
    assert bench.expanded[-1].variables["x"] == "1"
    bench.control("START_ACTIVITY")
    run = bench.run_info(2)
    assert run.placement == placement
    assert run.configuration == bench.run_info(1).configuration
    assert (run.revision, run.user_variables) == ("c0ffee", {"x": "1"})
    bench.restart()
    assert bench.state is EnvState.RUNNING


def test_a_run_can_be_repeated_by_itself() -> None:
    bench = after_a_run()
    bench.ask(client.Create(operation="auto", workflow="", repeat=1, auto=True), "c", ANNA)
    assert bench.state is EnvState.RUNNING
    bench.control("STOP_ACTIVITY")

    over(bench)


def test_what_cant_be_the_same_is_listed_and_nothing_is_changed() -> None:
    bench = after_a_run()
    bench.nodes["n1"].silent = True
    bench.wait(4.0)
    bench.revision = "decaf"
    specs = {name: len(one.specs) for name, one in bench.nodes.items()}

    refused = again(bench)

    assert refused.code == "E_INVALID"
    assert "run 1 can't be repeated as it was: commit: was c0ffee and is decaf" in refused.message
    assert "w.a: can't be placed" in refused.message
    assert bench.core.environments == {}
    assert not bench.records["placement"]
    assert {name: len(one.specs) for name, one in bench.nodes.items()} == specs


def test_another_place_or_configuration_is_a_difference_that_can_be_forced() -> None:
    bench = after_a_run()
    workflow_now = bench.workflow
    classes = {
        name: attrs.evolve(one, properties={"rate": "2"} if name == "DIRECT" else {})
        for name, one in workflow_now.classes.items()
    }
    roles = tuple(
        attrs.evolve(role, name="q", path="w.q") if role.path == "w.p" else role for role in workflow_now.roles
    )
    bench.workflow = attrs.evolve(workflow_now, classes=classes, roles=roles)

    refused = again(bench)
    forced = again(bench, force=True)

    assert refused.code == "E_INVALID"
    assert refused.message == (
        "run 1 can't be repeated as it was: w.q: was not there; w.p: is not there any more; "
        "2 tasks: its configuration differs (w.a, w.b)"
    )
    assert refused.failures == {
        "w.q": "was not there",
        "w.p": "is not there any more",
        "w.a": "its configuration differs",
        "w.b": "its configuration differs",
    }
    assert refused.hint == "by force it is made all the same"
    assert forced.code == ""
    (event,) = [event for event in bench.events if event.kind == "repeat"]
    assert "its configuration differs" in event.text


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"workflow": "x"}, "E_USAGE"), ({"variables": {"x": "1"}}, "E_USAGE")],
)
def test_a_run_is_repeated_as_it_was_or_not_at_all(fields: dict[str, Any], code: str) -> None:
    assert again(after_a_run(), **fields).code == code


def test_a_run_that_is_not_on_record_is_not_repeated() -> None:
    bench = Bench(workflow(task("a")))

    assert again(bench).code == "E_NOT_FOUND"


@pytest.mark.parametrize(
    ("request_", "text"), [("", "does not say"), ("script-3/workflows/x", "was written in a script")]
)
def test_a_run_whose_workflow_is_nowhere_is_not_repeated(request_: str, text: str) -> None:
    bench = after_a_run()
    bench.core.runbook.runs[1] = attrs.evolve(bench.core.runbook.runs[1], request=request_)

    refused = again(bench)

    assert refused.code == "E_INVALID"
    assert text in refused.message


def test_an_environment_that_is_compared_is_busy_and_can_be_destroyed() -> None:
    bench = after_a_run()
    effects = bench.core.handle(_received(client.Create(operation="r", workflow="", repeat=1)), bench.now)
    (environment,) = bench.core.environments
    bench.core.handle(Expanded(job=environment, workflow=attrs.evolve(bench.workflow, revision="c0ffee")), bench.now)
    del effects

    busy = bench.core.handle(
        _received(client.Control(operation="x", environment=environment, event="DEPLOY")), bench.now
    )
    bench.perform(busy)
    assert bench.answers["x"].code == "E_CONFLICT"
    bench.destroy(environment, force=True)

    assert bench.core.environments == {}
    assert bench.answers["r"].code == "E_CONFLICT"


def _received(message: object) -> Any:
    from libecs.engine.effects import Received

    return Received("c", message)


# workflows that come along


def test_files_that_come_along_are_expanded_and_then_forgotten() -> None:
    bench = Repeater(workflow(task("a")))
    files = {"workflows/x.yaml": "name: x"}
    bench.ask(client.Create(operation="1", workflow="x", files=files), "c", ROOT)

    assert bench.expanded[-1].files == files
    assert bench.answers["1"].code == ""
    (environment,) = bench.core.environments.values()
    assert environment.record.files == {}
    bench.control("START_ACTIVITY")
    bench.destroy(force=True)
    assert bench.run_info(1).request == f"script-{environment.id}/workflows/x"
    assert "was written in a script" in again(bench).message


def test_files_are_denied_to_operators_unless_the_core_allows_it() -> None:
    files = {"workflows/x.yaml": "name: x"}
    message = client.Create(operation="1", workflow="x", files=files)
    strict, open_ = (
        Repeater(workflow(task("a"))),
        Repeater(workflow(task("a")), settings=CoreSettings(instance="t", allow_scripts=True)),
    )
    strict.ask(message, "c", ANNA)
    open_.ask(message, "c", ANNA)
    open_.ask(attrs.evolve(message, operation="2", files={"x": "y" * 2**21}), "c", ANNA)

    assert strict.answers["1"].code == "E_DENIED"
    assert "1" not in strict.core.requests.operations
    assert open_.answers["1"].code == ""
    assert open_.answers["2"].code == "E_INVALID"
