"""Operations that come twice, and operations that race: one effect each, one order of all."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import attrs
import pytest

from libecs.access import Principal, Role
from libecs.engine.effects import DoWork, Received, WorkDone
from libecs.fsm import EnvState
from libecs.wire import client
from libecs.wire.client import Finished
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow

ANNA = Principal(name="anna", role=Role.ADMIN)
BERT = Principal(name="bert", role=Role.ADMIN)

Request = Callable[[str, str], Any]
"""Operation and environment to a message."""

REQUESTS: dict[str, Request] = {
    "START": lambda id, env: client.Control(operation=id, environment=env, event="START_ACTIVITY"),
    "STOP": lambda id, env: client.Control(operation=id, environment=env, event="STOP_ACTIVITY"),
    "RESET": lambda id, env: client.Control(operation=id, environment=env, event="RESET"),
    "CONFIGURE": lambda id, env: client.Control(operation=id, environment=env, event="CONFIGURE"),
    "destroy": lambda id, env: client.Destroy(operation=id, environment=env),
    "destroy running": lambda id, env: client.Destroy(operation=id, environment=env, allow_running=True),
    "destroy force": lambda id, env: client.Destroy(operation=id, environment=env, force=True),
    "reconfigure": lambda id, env: client.Reconfigure(operation=id, environment=env, values={"gain": "7"}),
    "exclude": lambda id, env: client.Modify(operation=id, environment=env, exclude=("w.b",)),
    "lock": lambda id, env: client.Lock(operation=id, detectors=("its",)),
}
MORE: dict[str, Request] = {
    "create": lambda id, env: client.Create(operation=id, workflow="test"),
    "create auto": lambda id, env: client.Create(operation=id, workflow="test", auto=True),
    "unlock": lambda id, env: client.Unlock(operation=id, detectors=("its",)),
    "drain": lambda id, env: client.Drain(operation=id, node="n1"),
    "end tasks": lambda id, env: client.EndTasks(operation=id, tasks=(f"{env}t2",), force=True),
    "annotate": lambda id, env: client.Annotate(operation=id, run=1, note="good"),
    "work": lambda id, env: client.Work(operation=id, name="repository.refresh"),
}


def a_bench(state: EnvState) -> tuple[Bench, str]:
    flow = workflow(task("a"), task("b", critical=False), variables={"detectors": "its", "gain": "1"})
    bench = Bench(flow)
    classes = {
        name: attrs.evolve(one, properties={"gain": "{{ gain }}"} if name == "DIRECT" else {})
        for name, one in flow.classes.items()
    }
    bench.workflow = attrs.evolve(flow, classes=classes)
    environment = bench.create()
    if state is EnvState.DEPLOYED:
        bench.control("RESET")
    if state is EnvState.RUNNING:
        bench.control("START_ACTIVITY")
    bench.workflow = workflow(task("a"))  # what is created from now on takes no detector
    return bench, environment


def effects(bench: Bench) -> dict[str, Any]:
    """Return all that operations have done."""
    one = bench.nodes["n1"]
    return {
        "commands": [(told.event.name, len(told.tasks)) for told in one.commands],
        "launched": list(one.launched),
        "killed": sorted(one.killed),
        "environments": [env.state.name for env in bench.core.environments.values()],
        "runs": {number: (run.end_reason, len(run.notes)) for number, run in bench.core.runbook.runs.items()},
        "locks": {name: lock.owner for name, lock in bench.core.locks.held.items()},
        "fence": bench.core.locks.fence % 1000,
        "work": sum(1 for effect in bench.asked if isinstance(effect, DoWork)),
        "drained": list(bench.core.sessions.drained),
    }


def settle(bench: Bench) -> None:
    for effect in bench.asked:
        if isinstance(effect, DoWork):
            bench.queue.append(WorkDone(operation=effect.work.operation, message="{}"))
    bench.run()
    bench.wait(3.0)


@pytest.mark.parametrize("name", [*REQUESTS, *MORE])
@pytest.mark.parametrize("restart", [False, True], ids=["", "restarted"])
def test_an_operation_that_comes_a_hundred_times_has_one_effect_and_one_answer(name: str, restart: bool) -> None:
    state = EnvState.RUNNING if name in ("STOP", "annotate") else EnvState.CONFIGURED
    state = EnvState.DEPLOYED if name == "CONFIGURE" else state
    make = {**REQUESTS, **MORE}[name]
    once, environment = a_bench(state)
    once.ask(make("x", environment), "c", ANNA)
    settle(once)

    often, environment = a_bench(state)
    for number in range(100):
        often.queue.append(Received("c", make("x", environment), ANNA))
        if number % 7 == 0:
            often.run()
    settle(often)
    if restart:
        often.restart()
        for _ in range(10):
            often.ask(make("x", environment), "c", ANNA)
        settle(often)

    assert effects(often) == effects(once)
    answers: list[Finished] = []
    for _, told in often.sent:
        if isinstance(told, Finished) and told.operation == "x" and told not in answers:
            answers.append(told)
    assert [answer.code for answer in answers] == ([] if name == "create auto" else [""])
    assert [line.decision for line in often.audit if line.operation == "x"].count("accepted") == 1
    ends = [event for event in often.events if event.kind == "operation.end" and event.name == "x"]
    assert len(ends) == len(answers)


def race(first: str, second: str, state: EnvState, slow: bool) -> tuple[Bench, str]:
    """Let two people ask for something at once, or the second while the first goes on."""
    bench, environment = a_bench(state)
    one = bench.nodes["n1"]
    one.deaf = slow
    if slow:
        bench.ask(REQUESTS[first]("first", environment), "c", ANNA)
        bench.ask(REQUESTS[second]("second", environment), "d", BERT)
        one.deaf = False
    else:
        bench.queue.append(Received("c", REQUESTS[first]("first", environment), ANNA))
        bench.queue.append(Received("d", REQUESTS[second]("second", environment), BERT))
    bench.run()
    bench.wait(8.0)
    return bench, environment


@cache
def alone(*asked: tuple[str, Principal], state: EnvState) -> dict[str, Any]:
    """Return the end of requests that come one after the other."""
    bench, environment = a_bench(state)
    for number, (name, who) in enumerate(asked):
        bench.ask(REQUESTS[name](f"{number}", environment), "c", who)
        bench.wait(2.0)
    return end(bench)


def end(bench: Bench) -> dict[str, Any]:
    found = effects(bench)
    return {key: found[key] for key in ("environments", "runs", "locks", "drained")} | {
        "roles": sorted(one.role for one in bench.nodes["n1"].specs.values() if one.task in bench.nodes["n1"].tasks)
    }


@pytest.mark.parametrize("state", [EnvState.CONFIGURED, EnvState.RUNNING], ids=lambda state: state.name)
@pytest.mark.parametrize("slow", [False, True], ids=["", "slow"])
@pytest.mark.parametrize("second", REQUESTS)
@pytest.mark.parametrize("first", REQUESTS)
def test_two_that_race_come_one_after_the_other_and_the_loser_hears_of_whom(
    first: str, second: str, slow: bool, state: EnvState
) -> None:
    bench, environment = race(first, second, state, slow)
    answers = bench.answers
    codes = [answers[name].code for name in ("first", "second")]
    asked = ((first, ANNA), (second, BERT))
    done = [one for one, code in zip(asked, codes, strict=True) if not code]
    orders = [alone(*done, state=state), alone(*done[::-1], state=state)]

    shown = end(bench)
    assert any(
        all(shown[key] == order[key] for key in ("environments", "locks", "drained", "roles")) for order in orders
    ), (codes, shown, orders)
    assert set(codes) <= {"", "E_CONFLICT", "E_STATE", "E_DENIED", "E_NOT_FOUND", "E_INVALID"}
    loser = answers["second"]
    if loser.code == "E_CONFLICT" and second == "lock":
        assert "detector its has been locked by anna since 2023-11-14 " in loser.message
    elif loser.code == "E_CONFLICT":
        assert f"environment {environment}" in loser.message
        assert "is in progress, by anna since 2023-11-14 " in loser.message
    if loser.code == "E_DENIED":
        assert "which has been locked by anna since 2023-11-14 " in loser.message
    if answers["first"].code == "E_CONFLICT":
        assert second.startswith("destroy")
    for name in ("first", "second"):
        lines = [line.decision for line in bench.audit if line.operation == name]
        assert lines in (["accepted", "done"], ["accepted", "failed"], ["refused"], ["denied"])
        ends = [event for event in bench.events if event.kind == "operation.end" and event.name == name]
        assert len(ends) == (0 if lines == ["denied"] else 1)


def test_what_is_remembered_of_a_denied_request_has_a_size() -> None:
    bench, environment = a_bench(EnvState.CONFIGURED)
    viewer = Principal(name="eve", role=Role.VIEWER)

    (long,) = bench.ask(client.Destroy(operation="x" * 1_000_000, environment=environment), "c", viewer)
    (far,) = bench.ask(client.Destroy(operation="far", environment="e" * 1_000_000), "c", ANNA)
    (odd,) = bench.ask(client.Control(operation="odd", environment=environment, event="E" * 1_000_000), "c", ANNA)

    codes = [told.code for told in (long, far, odd) if isinstance(told, Finished)]
    assert codes == ["E_CONFLICT", "E_NOT_FOUND", "E_USAGE"]
    assert max(len(str(told)) for told in (long, far, odd)) < 12_000
    assert len(str(bench.core.requests.operations)) < 20_000


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "x" * 101, "a\0"])
def test_a_name_that_would_not_fit_a_list_is_refused(name: str) -> None:
    bench = Bench(workflow(task("a")))

    (told,) = bench.ask(client.Create(operation="1", workflow="test", name=name), "c", ANNA)

    assert isinstance(told, Finished)
    assert told.code == "E_USAGE"
    assert "is no name of an environment" in told.message
    assert told.message.isprintable()


def test_an_event_that_is_not_possible_is_refused_with_those_that_clients_may_send() -> None:
    bench = Bench(workflow(task("a")))
    environment = bench.create()

    refused = bench.control("STOP_ACTIVITY")

    assert refused is not None
    assert (refused.code, refused.hint) == ("E_STATE", f"coconut environment show {environment} tells how it is")
    assert refused.message == "STOP_ACTIVITY is not possible in CONFIGURED (allowed: RESET, START_ACTIVITY)"


def test_refusals_name_only_what_clients_may_send() -> None:
    bench = Bench(workflow(task("a")))
    environment = bench.create()
    bench.control("START_ACTIVITY")

    told = bench.ask(client.Reconfigure(operation="x", environment=environment, values={"gain": "7"}))
    told += bench.ask(client.Destroy(operation="y", environment=environment))

    allowed = "is not possible in RUNNING (allowed: STOP_ACTIVITY)"
    refusals = [one.message for one in told if isinstance(one, Finished)]
    assert refusals == [f"RECONFIGURE {allowed}", f"DESTROY {allowed}"]
