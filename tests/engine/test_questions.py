"""What clients ask that changes nothing."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from libecs.access import VERBS, Principal, Role
from libecs.engine.core import CoreSettings
from libecs.engine.effects import Facts, LookUp, RecallEvents, Received, Replay, Send
from libecs.fsm import EnvState
from libecs.wire import client, node
from libecs.wire.client import Finished, Refused
from tests.engine.bench import Bench, FakeNode
from tests.engine.flows import group, task, workflow

ANNA = Principal(name="anna", role=Role.OPERATOR, detectors=frozenset({"its"}))


def bench_of_two() -> Bench:
    bench = Bench(workflow(task("a", node="n1"), task("b", node="n2")), nodes=("n1", "n2"))
    bench.create()
    return bench


def one(told: list[object]) -> Any:
    (answer,) = told
    return answer


def test_nodes_are_shown_with_what_they_hold_and_how_they_are() -> None:
    bench = bench_of_two()
    bench.nodes["n2"].silent = True
    bench.wait(2.0)

    nodes = {info.node: info for info in one(bench.ask(client.ShowNodes(request="n"))).nodes}

    assert [(info.reach, info.tasks) for info in nodes.values()] == [("UP", 1), ("SUSPECT", 1)]
    assert nodes["n1"].age_ms == 0
    assert nodes["n2"].age_ms >= 1500
    assert nodes["n1"].attributes == {"machine_id": "n1"}


def test_a_node_that_has_not_come_to_this_life_is_away() -> None:
    bench = bench_of_two()
    bench.nodes["n2"].silent = True
    bench.restart()

    nodes = {info.node: info for info in one(bench.ask(client.ShowNodes(request="n"))).nodes}

    assert (nodes["n2"].reach, nodes["n2"].tasks, nodes["n2"].host) == ("AWAY", 1, "")


def test_a_node_whose_link_is_down_is_not_shown_as_healthy() -> None:
    from libecs.engine.effects import Disconnected

    bench = bench_of_two()
    bench.queue.append(Disconnected("n2"))
    bench.run()

    nodes = {info.node: info for info in one(bench.ask(client.ShowNodes(request="n"))).nodes}

    assert (nodes["n1"].reach, nodes["n2"].reach) == ("UP", "SUSPECT")


@pytest.mark.parametrize(("said", "skew"), [("1700000005000", "4999"), ("nonsense", None), ("9" * 20, None)])
def test_a_nodes_clock_is_compared_with_ours(said: str, skew: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    hello = FakeNode.hello
    monkeypatch.setattr(
        FakeNode, "hello", lambda self: attrs.evolve(hello(self), facts={"unix_ms": said, "kernel": "6"})
    )
    bench = Bench(workflow(task("a")))

    (info,) = one(bench.ask(client.ShowNodes(request="n"))).nodes

    assert info.facts["kernel"] == "6"
    assert info.facts.get("clock_skew_ms") == skew


def test_tasks_of_all_environments_and_of_nobody_are_listed() -> None:
    bench = bench_of_two()
    environment = next(iter(bench.core.environments))
    bench.records = {"core": bench.records["core"]}
    bench.restart()
    bench.workflow = workflow(task("c"))
    new = bench.create()

    tasks = one(bench.ask(client.ShowTasks(request="t"))).tasks
    mine = one(bench.ask(client.ShowTasks(request="t", environment=new))).tasks
    nobodys = one(bench.ask(client.ShowTasks(request="t", environment="-"))).tasks

    assert {(info.role, info.environment, info.orphan) for info in tasks} == {
        ("w.a", "", True),
        ("w.b", "", True),
        ("w.c", new, False),
    }
    assert [info.role for info in mine] == ["w.c"]
    assert {info.node for info in nobodys} == {"n1", "n2"}
    assert all(info.task.startswith(environment) and info.pid for info in nobodys)


def test_many_tasks_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from libecs.engine import questions

    monkeypatch.setattr(questions, "TASKS_PART", 2)
    bench = Bench(workflow(*(task(f"t{n}") for n in range(5))))
    bench.create()

    told: list[Any] = list(bench.ask(client.ShowTasks(request="t")))

    assert [(len(part.tasks), part.more) for part in told] == [(2, True), (2, True), (1, False)]
    empty: list[Any] = list(bench.ask(client.ShowTasks(request="t", environment="none")))
    assert [(part.tasks, part.more) for part in empty] == [((), False)]


def test_operations_are_listed_and_followed() -> None:
    bench = bench_of_two()
    environment = next(iter(bench.core.environments))
    for fake in bench.nodes.values():
        fake.deaf = True
    bench.ask(client.Control(operation="go", environment=environment, event="START_ACTIVITY"), "c", ANNA)

    listed = one(bench.ask(client.ShowOperations(request="o"))).operations
    assert [(info.operation, info.verb, info.requester, info.done) for info in listed] == [
        ("op1", "Create", "", True),
        ("go", "Control", "anna", False),
    ]
    assert [info.event for info in listed] == ["", "START_ACTIVITY"]
    assert listed[1].begun_ms > listed[0].begun_ms > 0
    assert [info.operation for info in one(bench.ask(client.ShowOperations(request="o", limit=1))).operations] == ["go"]
    assert isinstance(one(bench.ask(client.Follow(request="f", operation="go"), "follower")), client.Accepted)
    assert isinstance(one(bench.ask(client.Follow(request="f", operation="op1"), "follower")), Finished)
    unknown = one(bench.ask(client.Follow(request="f", operation="no"), "follower"))
    assert (unknown.request, unknown.code) == ("f", "E_NOT_FOUND")

    for fake in bench.nodes.values():
        fake.deaf = False
    before = len(bench.sent)
    bench.wait(3.0)
    followed = [told for peer, told in bench.sent[before:] if peer == "follower" and isinstance(told, Finished)]
    assert [(told.operation, told.code) for told in followed] == [("go", "")]


def test_an_operation_can_be_followed_by_who_comes_after_a_restart() -> None:
    bench = bench_of_two()
    environment = next(iter(bench.core.environments))
    for fake in bench.nodes.values():
        fake.deaf = True
    bench.ask(client.Control(operation="go", environment=environment, event="START_ACTIVITY"))
    bench.restart()
    bench.ask(client.Follow(request="f", operation="go"), "late")
    for fake in bench.nodes.values():
        fake.deaf = False
    bench.wait(3.0)

    assert bench.answers["go"].run_number == 1
    assert ("late", bench.answers["go"]) in bench.sent


def test_events_of_the_past_are_asked_of_the_journal() -> None:
    bench = bench_of_two()

    assert bench.ask(client.ShowEvents(request="e", since=5, limit=10**9), "c") == []

    (recall,) = bench.asked
    assert isinstance(recall, RecallEvents)
    assert (recall.peer, recall.question.since, recall.question.limit) == ("c", 5, 10_000)


@pytest.mark.parametrize("since", [-(2**63), 2**64 - 1])
def test_numbers_of_events_that_no_journal_has_are_none_for_it(since: int) -> None:
    bench = bench_of_two()

    bench.ask(client.ShowEvents(request="e", since=since), "c")
    bench.ask(client.Subscribe(request="s", since=since), "c")

    asked = [one.question.since for one in bench.asked if isinstance(one, RecallEvents)]
    asked += [one.since for one in bench.asked if isinstance(one, Replay)]
    assert len(asked) == len(bench.asked) > 0
    assert all(0 <= number < 2**63 - 1 for number in asked)


def test_only_what_is_there_is_watched() -> None:
    bench = bench_of_two()

    told = one(bench.ask(client.Watch(request="w", environment="x" * 1000, metrics=True), "c"))

    assert (type(told), told.code) == (client.Refused, "E_NOT_FOUND")
    assert len(told.message) < 300
    assert isinstance(one(bench.ask(client.Watch(request="w", environment="gone"), "c")), client.Environments)


def test_the_core_says_what_it_is_and_who_asks() -> None:
    bench = Bench(workflow(task("a")), settings=CoreSettings(instance="test", version="1.2"))
    bench.create()
    bench.queue.append(Facts(facts={"host": "head"}, problems=("the disk is nearly full",)))
    bench.run()

    info = one(bench.ask(client.Info(request="i"), "c", ANNA))

    assert (info.instance, info.version, info.epoch, info.environments, info.tasks, info.nodes) == (
        "test",
        "1.2",
        1,
        1,
        1,
        1,
    )
    assert (info.you, info.role, info.detectors) == ("anna", "operator", ("its",))
    assert info.sequence == len(bench.events)
    assert info.facts == {"host": "head"}
    assert info.problems == ("the disk is nearly full",)
    assert info.started_ms > 0


def test_a_sign_of_life_tells_the_last_event() -> None:
    bench = bench_of_two()

    pong = one(bench.ask(client.Ping(request="p")))

    assert (pong.sequence, pong.epoch, pong.unix_ms) == (len(bench.events), 1, bench.unix)


@pytest.mark.parametrize(
    "question", [client.Show(request="q"), client.ShowTasks(request="q"), client.Ping(request="q")]
)
def test_a_question_is_answered_and_nothing_else(question: Any) -> None:
    core = bench_of_two().core

    effects = core.handle(Received("c", question, ANNA), core.now)

    assert [type(effect) for effect in effects] == [Send]


def test_a_keepalive_that_says_nothing_new_has_no_effect() -> None:
    core = bench_of_two().core
    known = core.sessions.nodes["n1"]
    keepalive = node.NodeKeepalive(session=known.session or 0, sequence=known.sequence)

    assert core.handle(Received(known.peer, keepalive, Principal(name="n1", role=Role.NODE)), core.now) == []


def test_what_the_host_knows_is_looked_up_with_the_nodes_as_they_are() -> None:
    bench = bench_of_two()

    bench.ask(client.Consult(request="q", subject="environment.plan", arguments={"workflow": "x"}), "c")

    (asked,) = bench.asked
    assert isinstance(asked, LookUp)
    assert [offer.name for offer in asked.offers] == ["n1", "n2"]


# roles


def query(bench: Bench, **arguments: str) -> Any:
    document = one(bench.ask(client.Consult(request="q", subject="role.query", arguments=arguments)))
    return json.loads(document.json) if not document.code else document


def test_roles_are_queried_by_a_glob() -> None:
    bench = Bench(workflow(group("g"), task("g.a"), task("b"), variables={"x": "1"}))
    environment = bench.create()

    found = query(bench, environment=environment, glob="g*.**")

    assert [(role["path"], role["kind"], role["state"], role["node"]) for role in found["roles"]] == [
        ("w.g.a", "task", "CONFIGURED", "n1"),
    ]
    assert found["roles"][0]["variables"]["x"] == "1"
    everything = query(bench, environment=environment)["roles"]
    assert [(role["path"], role["kind"]) for role in everything][:2] == [("w", "aggregator"), ("w.g", "aggregator")]
    assert len(everything) == 4


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"environment": "none"}, "E_NOT_FOUND"),
        ({"environment": "", "glob": "a..b"}, "E_USAGE"),
        ({"env": "x"}, "E_USAGE"),
    ],
)
def test_a_query_that_cant_be_answered_says_why(arguments: dict[str, str], code: str) -> None:
    bench = Bench(workflow(task("a")))
    environment = bench.create()
    if arguments.get("environment") == "":
        arguments = {**arguments, "environment": environment}

    assert query(bench, **arguments).code == code


def test_a_query_of_too_many_roles_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from libecs.engine import questions

    monkeypatch.setattr(questions, "MAX_OPERATIONS", 2)
    bench = Bench(workflow(task("a"), task("b")))

    assert query(bench, environment=bench.create()).code == "E_USAGE"


# what tasks wrote


def test_the_end_of_a_tasks_output_comes_from_its_node() -> None:
    bench = bench_of_two()
    fake = bench.nodes["n2"]
    name = fake.find("w.b")
    assert bench.ask(client.ReadLog(request="r", task=name, stream="stderr", bytes=10**9), "c") == []
    (id,) = bench.core.questions._readings

    for other, text in (("other", "no"), (id, "hello\n"), (id, "again")):
        read = node.OutputRead(session=fake.session, id=other, task=name, text=text, truncated=True)
        bench.send("n2", read)

    logs = [told for peer, told in bench.sent if isinstance(told, client.Log)]
    assert logs == [
        client.Log(request="r", task=name, node="n2", stream="stderr", text="hello\n", truncated=True),
    ]


def test_a_node_that_does_not_read_in_time_is_named() -> None:
    bench = bench_of_two()
    fake = bench.nodes["n1"]
    assert bench.ask(client.ReadLog(request="r", task=fake.find("w.a")), "c") == []
    before = len(bench.sent)

    bench.wait(7.0)

    late = [told for peer, told in bench.sent[before:] if peer == "c"]
    assert [(told.request, told.code) for told in late if isinstance(told, Refused)] == [("r", "E_UNREACHABLE")]


def test_an_output_that_cant_be_read_says_why() -> None:
    bench = bench_of_two()
    fake = bench.nodes["n1"]
    bench.ask(client.ReadLog(request="r", task=fake.find("w.a")), "c")
    (id,) = bench.core.questions._readings

    bench.send("n2", node.OutputRead(session=bench.nodes["n2"].session, id=id, task="x", text="a lie"))
    bench.send("n1", node.OutputRead(session=fake.session, id=id, task="x", error="there is no such file"))

    refused = bench.sent[-1][1]
    assert isinstance(refused, Refused)
    assert refused.code == "E_NOT_FOUND"
    assert "there is no such file" in refused.message


@pytest.mark.parametrize(
    ("task_id", "stream", "code"),
    [("none", "stdout", "E_NOT_FOUND"), ("a", "stdin", "E_USAGE"), ("b", "stdout", "E_UNREACHABLE")],
)
def test_what_cant_be_read_is_refused_at_once(task_id: str, stream: str, code: str) -> None:
    from libecs.engine.effects import Disconnected

    bench = bench_of_two()
    bench.queue.append(Disconnected("n2"))
    bench.run()
    ids = {name: fake.find(f"w.{name}") for name, fake in (("a", bench.nodes["n1"]), ("b", bench.nodes["n2"]))}

    refused = one(bench.ask(client.ReadLog(request="r", task=ids.get(task_id, task_id), stream=stream)))

    assert (refused.request, refused.code) == ("r", code)


def test_readings_are_bounded_and_forgotten_with_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from libecs.engine import questions
    from libecs.engine.effects import Disconnected

    monkeypatch.setattr(questions, "MAX_READINGS", 2)
    bench = bench_of_two()
    name = bench.nodes["n1"].find("w.a")
    told = [bench.ask(client.ReadLog(request=f"r{n}", task=name), "c") for n in range(3)]

    assert [len(some) for some in told] == [0, 0, 1]
    bench.queue.append(Disconnected("c"))
    bench.run()
    assert bench.core.questions._readings == {}


def test_an_environment_is_shown_with_its_detectors_and_variables() -> None:
    bench = Bench(workflow(task("a"), variables={"detectors": "tpc,its"}))
    bench.create(x="1")

    info = bench.show()

    assert info.detectors == ("its", "tpc")
    assert info.variables == {"x": "1"}
    assert (info.operation, info.auto, info.excluded) == ("", False, ())
    assert info.state is EnvState.CONFIGURED


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.SERVICE])
@pytest.mark.parametrize("subject", sorted(verb.partition(".")[2] for verb in VERBS if verb.startswith("Consult.")))
def test_what_the_host_looks_up_for_a_viewer_is_masked(subject: str, role: Role) -> None:
    bench = bench_of_two()
    who = Principal(name="w", role=role)

    bench.ask(client.Consult(request="c", subject=subject, arguments={}), who=who)

    looked = [effect for effect in bench.asked if isinstance(effect, LookUp)]
    allowed = role in VERBS[f"Consult.{subject}"].roles
    assert [one.masked for one in looked] == ([role is Role.VIEWER] if allowed and subject != "role.query" else [])
