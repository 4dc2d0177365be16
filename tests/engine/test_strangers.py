"""A node is believed about its own tasks alone, whatever it says of those of others."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from libecs.engine.effects import Disconnected
from libecs.fsm import EnvState, Mode, TaskState
from libecs.wire import client, node
from libecs.wire.node import Exit, ExitCause, Failure, Held, Phase, TaskStatus
from libecs.wire.telemetry import LogLine, MetricSpan, Severity
from tests.engine.bench import CLIENT, Bench, FakeNode
from tests.engine.flows import task, workflow
from tests.engine.test_pool import keep, two

DEAD = TaskStatus(
    task="", phase=Phase.EXITED, state=TaskState.ERROR, exit=Exit(cause=ExitCause.EXITED, code=1), error="a lie"
)


def update(evil: FakeNode, name: str) -> object:
    return node.Update(session=evil.session, sequence=1000, tasks=(attrs.evolve(DEAD, task=name),))


def announce(evil: FakeNode, name: str) -> object:
    held = Held(status=attrs.evolve(DEAD, task=name), environment="x", role="w.a", class_name="DIRECT")
    own = [
        Held(status=status, environment=evil.specs[one].environment, role=evil.specs[one].role, class_name="DIRECT")
        for one, status in evil.tasks.items()
    ]
    return node.Announce(session=evil.session, sequence=1000, tasks=(held, *own))


def done(evil: FakeNode, name: str) -> object:
    return node.Answer(session=evil.session, sequence=1000, id="x.1", state=TaskState.DONE, done=(name,))


def done_there(evil: FakeNode, name: str) -> object:
    environment = next(iter(evil.specs.values())).environment
    return node.Answer(
        session=evil.session, sequence=1000, id=f"{environment}.1", state=TaskState.STANDBY, done=(name,)
    )


def failed(evil: FakeNode, name: str) -> object:
    return node.Answer(
        session=evil.session,
        sequence=1000,
        id="x.1",
        state=TaskState.ERROR,
        failed=(Failure(task=name, state=TaskState.ERROR, reason="a lie"),),
    )


LIES = [update, announce, done, done_there, failed]


@pytest.mark.parametrize("lie", LIES)
def test_a_node_cannot_harm_the_task_of_another_one(lie: Callable[[FakeNode, str], object]) -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create(EnvState.RUNNING)
    before, events = bench.show(), len(bench.events)
    victim = bench.nodes["n1"].find("w.a")

    bench.send("n2", lie(bench.nodes["n2"], victim))

    assert bench.show().tasks == before.tasks
    assert bench.state is EnvState.RUNNING
    assert [event.kind for event in bench.events[events:]] == []
    (line,) = bench.audit[-1:]
    assert (line.decision, "another node" in line.text) == ("denied", True)


@pytest.mark.parametrize("lie", LIES[:3])
def test_a_node_cannot_harm_an_idle_task_of_another_one(lie: Callable[[FakeNode, str], object]) -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create()
    keep(bench)
    victim = bench.nodes["n1"].find("w.a")

    bench.send("n2", lie(bench.nodes["n2"], victim))

    assert bench.core.pool.idle[victim].is_ready
    assert len(bench.core.pool.idle) == 2


def test_a_node_cannot_say_that_a_condemned_task_of_another_one_is_gone() -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create()
    victim = bench.nodes["n1"].find("w.a")
    bench.nodes["n1"].deaf = True
    bench.destroy(force=True)
    assert victim in bench.core.sessions.condemned.of("n1")

    bench.send("n2", done(bench.nodes["n2"], victim))

    assert victim in bench.core.sessions.condemned.of("n1")


def test_a_node_tells_nothing_of_what_the_tasks_of_another_one_measured() -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create(EnvState.RUNNING)
    bench.ask(client.Watch(request="w", metrics=True, lines=True))
    victim, evil = bench.nodes["n1"].find("w.a"), bench.nodes["n2"]
    number = bench.show().run_number
    span = MetricSpan(name="evil", unit="", n=1, sum=1.0, min=1.0, max=1.0, last=1.0, unix_ms=1)
    line = LogLine(severity=Severity.INFO, text="a lie")
    told = node.TaskTelemetry(task=victim, run=number, metrics=(span,), lines=(line,))

    bench.send("n2", node.Telemetry(session=evil.session, tasks=(told,)))
    bench.wait(2)

    assert "evil" not in repr(bench.told.get(CLIENT, []))
    assert "a lie" not in repr(bench.told.get(CLIENT, []))
    assert [metric.name for metric in bench.run_info(number).metrics] == []


def test_a_node_still_speaks_of_its_own_tasks_and_of_those_that_nobody_knows() -> None:
    bench = Bench(two(), ("n1", "n2"))
    bench.create(EnvState.RUNNING)
    audited = len(bench.audit)

    bench.change("w.b", error="a word")
    bench.send("n2", update(bench.nodes["n2"], "a task of yesterday"))

    assert bench.task("w.b").error == "a word"
    assert bench.audit[audited:] == []


def test_hooks_are_those_of_the_node_that_runs_them() -> None:
    flow = workflow(task("a", node="n1"), task("h", node="n2", mode=Mode.HOOK, trigger="before_CONFIGURE"))
    bench = Bench(flow, ("n1", "n2"))
    bench.create(EnvState.CONFIGURED)

    assert bench.nodes["n2"].hooks_run
    assert bench.state is EnvState.CONFIGURED
    assert [line for line in bench.audit if line.decision == "denied"] == []


# two executors with one key, as of a machine that was copied


def greet(bench: Bench, started: str, boot: str, peer: str = "copy") -> type:
    """Let an executor say that it is n1; return what kind of answer it gets."""
    told = len(bench.sent)
    hello = attrs.evolve(
        bench.nodes["n1"].hello(), life="n1/7", host="10.0.0.9", facts={"boot_id": boot, "started_ms": started}
    )
    bench.send(peer, hello)
    (answer,) = (message for to, message in bench.sent[told:] if to == peer)
    if isinstance(answer, node.NodeRefused):
        assert answer.reason.startswith("n1 is here already, from 10.0.0.9: ")
    return type(answer)


def refusals(bench: Bench) -> list[str]:
    return [event.text for event in bench.events if event.kind == "node" and event.state == "REFUSED"]


def test_a_second_executor_on_another_machine_is_refused_while_the_first_is_heard() -> None:
    bench = Bench(workflow(task("a")))
    assert greet(bench, "first", "boot 1", "one") is node.Welcome

    for _ in range(3):
        assert greet(bench, "second", "boot 2", "two") is node.NodeRefused
    assert greet(bench, "first", "boot 1", "one") is node.Welcome
    assert len(refusals(bench)) == 1
    assert refusals(bench)[0].endswith("two executors have its key; the other one is at 10.0.0.9")

    bench.wait(2)
    assert greet(bench, "second", "boot 2", "two") is node.NodeRefused
    bench.wait(1)
    assert greet(bench, "second", "boot 2", "two") is node.Welcome


def test_a_link_that_breaks_for_a_moment_gives_the_place_of_a_node_to_no_other_machine() -> None:
    bench = Bench(workflow(task("a")))
    assert greet(bench, "first", "boot 1", "one") is node.Welcome
    bench.queue.append(Disconnected("one"))
    bench.run()

    assert greet(bench, "second", "boot 2", "two") is node.NodeRefused
    assert greet(bench, "first", "boot 1", "one again") is node.Welcome


def test_an_executor_that_starts_anew_on_its_machine_is_let_in_at_once_and_the_one_before_it_not() -> None:
    bench = Bench(workflow(task("a")))
    assert greet(bench, "first", "boot 1", "one") is node.Welcome
    assert greet(bench, "second", "boot 1", "two") is node.Welcome

    assert greet(bench, "first", "boot 1", "one") is node.NodeRefused
    assert greet(bench, "second", "boot 1", "two") is node.Welcome
    bench.queue.append(Disconnected("two"))
    bench.run()

    assert greet(bench, "first", "boot 1", "one") is node.Welcome
    assert greet(bench, "second", "boot 1", "two") is node.NodeRefused


def test_executors_that_were_replaced_are_not_remembered_for_ever() -> None:
    bench = Bench(workflow(task("a")))

    for number in range(100):
        assert greet(bench, f"life {number}", "boot 1") is node.Welcome

    assert len(bench.core.sessions.nodes["n1"].replaced) == 20
