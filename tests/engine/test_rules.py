"""Who may ask for what: every verb for every role, on the object that is executed, with its line in the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import pytest

from libecs.access import OWNER, VERBS, Principal, Role
from libecs.engine import rules
from libecs.engine.effects import DoWork, Received, Replay
from libecs.fsm import EnvState
from libecs.wire import client, node
from libecs.wire.client import Finished, Refused
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow

VIEWER = Principal(name="vera", role=Role.VIEWER, key="vvvvvvvv")
OPERATOR = Principal(name="olga", role=Role.OPERATOR, key="oooooooo")
ADMIN = Principal(name="anna", role=Role.ADMIN, key="aaaaaaaa")
SERVICE = Principal(name="bookkeeping", role=Role.SERVICE, key="ssssssss")
NODE = Principal(name="n1", role=Role.NODE, key="nnnnnnnn")
EVERYBODY = (VIEWER, OPERATOR, ADMIN, SERVICE, NODE)


def request(verb: str, environment: str = "", number: int = 0) -> object:
    """Return a request of each kind."""
    id = f"{verb}-{number}"
    name, _, rest = verb.partition(".")
    if name == "Work":
        return client.Work(operation=id, name=rest)
    if name == "Consult":
        return client.Consult(request=id, subject=rest)
    special: dict[str, object] = {
        "Create": client.Create(operation=id, workflow="test"),
        "Control": client.Control(operation=id, environment=environment, event="RESET"),
        "Destroy": client.Destroy(operation=id, environment=environment),
        "Reconfigure": client.Reconfigure(operation=id, environment=environment, values={"x": "1"}),
        "Modify": client.Modify(operation=id, environment=environment, exclude=("w.a",)),
        "Lock": client.Lock(operation=id, detectors=("its",)),
        "Unlock": client.Unlock(operation=id, detectors=("its",)),
        "Lock.force": client.Lock(operation=id, detectors=("its",), force=True),
        "Unlock.force": client.Unlock(operation=id, detectors=("its",), force=True),
        "EndTasks": client.EndTasks(operation=id),
        "Annotate": client.Annotate(operation=id, run=1, note="good"),
        "Drain": client.Drain(operation=id, node="n1"),
        "ReadLog": client.ReadLog(request=id, task="none"),
        "Follow": client.Follow(request=id, operation="none"),
    }
    if verb in special:
        return special[verb]
    return getattr(client, name)(request=id)


def is_denied(told: Iterable[object]) -> bool:
    return any(isinstance(one, (Finished, Refused)) and one.code == "E_DENIED" for one in told)


def a_bench(**variables: str) -> tuple[Bench, str]:
    bench = Bench(workflow(task("a"), task("b"), variables=variables))
    return bench, bench.create()


@pytest.mark.parametrize("verb", sorted(VERBS))
@pytest.mark.parametrize("who", EVERYBODY, ids=lambda who: who.role.name)
def test_each_verb_is_for_the_roles_that_the_table_says(verb: str, who: Principal) -> None:
    bench, environment = a_bench()
    lines, told_before = len(bench.audit), len(bench.sent)

    told = bench.ask(request(verb, environment), "c", who)

    allowed = who.role in VERBS[verb].roles
    denied = [line for line in bench.audit[lines:] if line.decision == "denied"]
    if who.role is Role.NODE:
        assert told == []
        assert len(bench.sent) == told_before
        assert len(denied) == 1
        return
    assert is_denied(told) is not allowed
    assert [line.verb for line in denied] == ([] if allowed else [verb])
    if not allowed:
        (line,) = denied
        assert line.principal == who
        assert f"{who.name} ({who.role.name.lower()}) may not {verb}" in line.text
        assert not [name for name in bench.core.requests.operations if name.startswith(verb)]


@pytest.mark.parametrize(
    "message", [client.Work(operation="x", name="key.steal"), client.Consult(request="x", subject="")]
)
def test_what_is_not_in_the_table_is_denied_to_admins_too(message: object) -> None:
    bench, _ = a_bench()

    (told,) = bench.ask(message, "c", ADMIN)

    assert isinstance(told, (Finished, Refused))
    assert told.code == "E_DENIED"
    assert "there is no such verb" in told.message
    assert bench.asked == []


def test_who_asks_is_the_key_and_not_what_the_message_says() -> None:
    bench, _ = a_bench()

    bench.ask(client.Create(operation="mine", workflow="test", requester="anna"), "c", OPERATOR)

    assert bench.core.requests.operations["mine"].requester == "olga"
    assert [line.requester for line in bench.audit if line.operation == "mine"] == ["olga", "olga"]
    environment = bench.core.requests.operations["mine"].environment
    assert bench.core.environments[environment].record.requester == "olga"


def test_the_owner_of_an_embedded_control_system_says_who_asks() -> None:
    bench, _ = a_bench()

    bench.ask(client.Create(operation="mine", workflow="test", requester="script"), "c", OWNER)

    assert bench.core.requests.operations["mine"].requester == "script"


def test_each_operation_has_a_line_when_it_is_accepted_and_one_at_its_end() -> None:
    bench, environment = a_bench()
    bench.audit.clear()

    bench.ask(client.Control(operation="go", environment=environment, event="START_ACTIVITY"), "c", OPERATOR)
    bench.ask(client.Control(operation="bad", environment=environment, event="CONFIGURE"), "c", OPERATOR)
    bench.nodes["n1"].refuse["w.a", "STOP"] = "stuck"
    bench.ask(client.Control(operation="stop", environment=environment, event="STOP_ACTIVITY"), "c", OPERATOR)

    assert [(line.operation, line.decision) for line in bench.audit] == [
        ("go", "accepted"),
        ("go", "done"),
        ("bad", "refused"),
        ("stop", "accepted"),
        ("stop", "failed"),
    ]
    assert {line.object for line in bench.audit} == {environment}
    assert {line.verb for line in bench.audit} == {"Control"}
    assert "event=START_ACTIVITY" in bench.audit[0].text
    assert "E_STATE" in bench.audit[2].text
    assert "E_TRANSITION" in bench.audit[4].text


def test_repeating_an_operation_writes_no_second_line() -> None:
    bench, environment = a_bench()
    bench.audit.clear()

    for _ in range(5):
        bench.ask(client.Control(operation="go", environment=environment, event="START_ACTIVITY"), "c", OPERATOR)

    assert [line.decision for line in bench.audit] == ["accepted", "done"]


def test_an_operation_id_of_somebody_else_is_refused_and_touches_nothing() -> None:
    bench, environment = a_bench()
    bench.ask(client.Control(operation="go", environment=environment, event="START_ACTIVITY"), "c", OPERATOR)
    other = attrs.evolve(OPERATOR, name="oleg")

    (told,) = bench.ask(client.Destroy(operation="go", environment=environment, force=True), "d", other)
    (again,) = bench.ask(client.Destroy(operation="go", environment=environment, force=True), "c", OPERATOR)

    assert isinstance(told, Finished)
    assert isinstance(again, Finished)
    assert (told.code, again.code) == ("E_CONFLICT", "E_CONFLICT")
    assert "'go' is Control of olga already" in told.message
    assert bench.state is EnvState.RUNNING


@pytest.mark.parametrize("id", ["", "x" * 201])
def test_an_operation_needs_an_id_that_can_be_kept(id: str) -> None:
    bench, environment = a_bench()

    (told,) = bench.ask(client.Destroy(operation=id, environment=environment), "c", OPERATOR)

    assert isinstance(told, Finished)
    assert told.code == "E_CONFLICT"
    assert bench.state is EnvState.CONFIGURED


def test_the_end_of_an_operation_is_known_under_its_key_after_a_restart() -> None:
    bench, environment = a_bench()
    bench.nodes["n1"].deaf = True
    bench.ask(client.Control(operation="go", environment=environment, event="START_ACTIVITY"), "c", OPERATOR)
    bench.restart()
    bench.nodes["n1"].deaf = False
    bench.wait(3.0)

    done = bench.audit[-1]
    assert (done.operation, done.decision) == ("go", "done")
    assert (done.principal.name, done.principal.key, done.principal.role) == ("olga", "oooooooo", Role.OPERATOR)


# scope


def test_an_operator_touches_only_environments_of_his_detectors() -> None:
    bench, environment = a_bench(detectors='["its", "tpc"]')
    its = attrs.evolve(OPERATOR, detectors=frozenset({"its"}))
    both = attrs.evolve(OPERATOR, detectors=frozenset({"its", "tpc", "mft"}))

    for verb in ("Control", "Destroy", "Reconfigure", "Modify"):
        (told,) = bench.ask(request(verb, environment), "c", its)
        assert isinstance(told, Finished)
        assert told.code == "E_DENIED"
        assert f"olga (operator of its) may not touch environment {environment}: it holds tpc" in told.message
    bench.ask(client.Control(operation="go", environment=environment, event="RESET"), "c", both)

    assert bench.state is EnvState.DEPLOYED


def test_a_scope_is_checked_before_the_workflow_is_loaded_and_after() -> None:
    bench = Bench(workflow(task("a"), variables={"detectors": "tpc"}))
    its = attrs.evolve(OPERATOR, detectors=frozenset({"its"}))

    (early,) = bench.ask(client.Create(operation="1", workflow="t", variables={"detectors": "tpc"}), "c", its)
    late = bench.ask(client.Create(operation="2", workflow="t"), "c", its)

    assert isinstance(early, Finished)
    assert early.code == "E_DENIED"
    assert "1" not in bench.core.requests.operations
    assert isinstance(late[-1], Finished)
    assert late[-1].code == "E_DENIED"
    assert "detector tpc beyond the scope of olga" in late[-1].message
    assert bench.core.environments == {}
    assert bench.nodes["n1"].specs == {}
    assert [(line.operation, line.decision) for line in bench.audit] == [
        ("1", "denied"),
        ("2", "accepted"),
        ("2", "failed"),
    ]


# nodes


def hello(name: str = "n1") -> node.NodeHello:
    return attrs.evolve(Bench(workflow(task("a"))).nodes["n1"].hello(), node=name)


def test_a_node_speaks_for_itself_alone() -> None:
    bench, _ = a_bench()
    refused = bench.ask(hello("n2"), "forger", NODE)

    assert [type(one) for one in refused] == [node.NodeRefused]
    assert "n2" not in bench.core.sessions.nodes
    assert bench.audit[-1].decision == "denied"
    assert bench.audit[-1].text == "says that it is node n2"


@pytest.mark.parametrize("who", [VIEWER, OPERATOR, ADMIN, SERVICE, attrs.evolve(NODE, name="n2")])
def test_what_is_said_in_the_session_of_another_is_dropped(who: Principal) -> None:
    bench, _environment = a_bench()
    one = bench.nodes["n1"]
    lie = attrs.evolve(one.tasks[one.find("w.a")], phase=node.Phase.EXITED)
    messages: list[Any] = [
        node.Update(session=one.session, sequence=one.sequence + 1, tasks=(lie,)),
        node.Announce(session=one.session, sequence=one.sequence + 1, tasks=()),
        node.Answer(session=one.session, sequence=one.sequence + 1, id="x", state=lie.state, done=()),
        node.NodeKeepalive(session=one.session, sequence=one.sequence + 9),
        node.Fenced(session=one.session, epoch=99),
        node.Telemetry(session=one.session, tasks=()),
        node.OutputRead(session=one.session, id="x", task="x"),
    ]
    events = len(bench.events)

    for message in messages * 3:
        assert bench.ask(message, "forger", who) == []

    assert bench.state is EnvState.CONFIGURED
    assert len(bench.events) == events
    assert sum(bench.core.gate.dropped.values()) == len(messages) * 3
    named = [line.verb for line in bench.audit if line.decision == "denied"]
    assert sorted(named) == sorted(type(message).__name__ for message in messages)


def test_a_node_is_heard_under_its_own_key() -> None:
    bench = Bench(workflow(task("a")), nodes=())

    (welcome,) = bench.ask(hello(), "peer", NODE)

    assert isinstance(welcome, node.Welcome)
    keepalive = node.NodeKeepalive(session=welcome.session, sequence=0)
    bench.ask(keepalive, "another link of it", NODE)
    assert bench.core.gate.dropped == {}


def test_strangers_are_counted_and_not_without_bound() -> None:
    bench, _ = a_bench()
    for number in range(1100):
        bench.ask(node.NodeKeepalive(session=1, sequence=1), "x", attrs.evolve(VIEWER, name=f"v{number}"))

    assert len(bench.core.gate.dropped) == 1000
    assert len([line for line in bench.audit if line.decision == "denied"]) == 1000


# a disk that is full


def test_without_room_only_what_ends_something_is_begun() -> None:
    from libecs.engine.effects import Room

    bench, environment = a_bench()
    bench.control("START_ACTIVITY")
    bench.queue.append(Room(ok=False, text="the disk is full"))
    bench.run()

    told = bench.ask(client.Create(operation="new", workflow="test"), "c", OPERATOR)
    stopped = bench.ask(client.Control(operation="stop", environment=environment, event="STOP_ACTIVITY"), "c", OPERATOR)
    (info,) = bench.ask(client.Info(request="i"), "c", OPERATOR)

    assert isinstance(told[0], Finished)
    assert (told[0].code, told[0].message) == ("E_CONFLICT", "the disk is full")
    assert "new" not in bench.core.requests.operations
    assert isinstance(stopped[-1], Finished)
    assert stopped[-1].code == ""
    assert isinstance(info, client.CoreInfo)
    assert info.problems == ("the disk is full",)
    bench.queue.append(Room(ok=True))
    bench.run()
    assert bench.destroy() is not None
    assert bench.create()


# secrets


def test_secrets_are_in_no_line_and_shown_to_no_viewer() -> None:
    bench = Bench(workflow(task("a")))
    create = client.Create(operation="c", workflow="t", variables={"db_password": "hunter2", "mode": "x"})
    bench.ask(create, "c", OPERATOR)

    (seen,) = bench.ask(client.Show(request="s"), "v", VIEWER)
    (known,) = bench.ask(client.Show(request="s"), "o", OPERATOR)

    assert not [line for line in bench.audit if "hunter2" in line.text]
    assert "db_password=***" in bench.audit[0].text
    assert isinstance(seen, client.Environments)
    assert isinstance(known, client.Environments)
    assert seen.environments[0].variables == {"db_password": "***", "mode": "x"}
    assert known.environments[0].variables["db_password"] == "hunter2"


def test_a_viewer_sees_no_secrets_of_runs_and_roles() -> None:
    bench, environment = a_bench(token="abc")
    bench.control("START_ACTIVITY")

    (runs,) = bench.ask(client.ShowRuns(request="r", number=1), "v", VIEWER)
    (roles,) = bench.ask(
        client.Consult(request="q", subject="role.query", arguments={"environment": environment}), "v", VIEWER
    )

    assert isinstance(runs, client.Runs)
    assert runs.runs[0].variables["token"] == "***"
    assert isinstance(roles, client.Document)
    assert "abc" not in roles.json


def test_what_work_made_is_told_to_who_may_ask_for_it_and_in_no_event_or_line() -> None:
    from libecs.engine.effects import WorkDone

    bench, _ = a_bench()
    bench.ask(client.Work(operation="w", name="key.invite", arguments={"name": "x"}), "c", ADMIN)
    (work,) = bench.asked
    assert isinstance(work, DoWork)
    assert work.requester == "anna"
    bench.queue.append(WorkDone(operation="w", message='{"token": "t0k3n"}'))
    bench.run()

    assert bench.answers["w"].message == '{"token": "t0k3n"}'
    assert not [event for event in bench.events if "t0k3n" in event.text]
    assert not [line for line in bench.audit if "t0k3n" in line.text]
    (listed,) = bench.ask(client.ShowOperations(request="o"), "c", VIEWER)
    assert "t0k3n" not in str(listed)
    (again,) = bench.ask(client.Work(operation="w", name="key.invite", arguments={"name": "x"}), "c", ADMIN)
    assert again == bench.answers["w"]
    (followed,) = bench.ask(client.Follow(request="f", operation="w"), "c", OPERATOR)
    assert isinstance(followed, Refused)
    assert followed.code == "E_DENIED"


def test_long_arguments_are_cut() -> None:
    message = client.Create(operation="c", workflow="t", variables={"x": "y" * 10_000})

    assert len(rules.asked(message, OPERATOR, "accepted").text) <= rules.MAX_TEXT


def test_a_subscriber_gets_what_he_missed() -> None:
    bench, _ = a_bench()

    (answer,) = bench.ask(client.Subscribe(request="s", since=3), "c", VIEWER)

    assert isinstance(answer, client.Environments)
    assert answer.sequence == len(bench.events)
    assert bench.asked == [Replay(peer="c", since=3)]
    bench.queue.append(Received("c", client.Subscribe(request="s")))
    bench.run()
    assert len(bench.asked) == 1


def test_without_keys_a_link_for_telemetry_is_heard_though_it_has_said_no_name() -> None:
    bench = Bench(workflow(task("a")))
    bench.create()
    session = bench.nodes["n1"].session
    nameless = Principal(name="", role=Role.NODE, via="node")
    lines = len(bench.audit)

    bench.core.handle(Received("node:2", node.Telemetry(session=session, tasks=()), nameless), bench.now)
    bench.run()

    assert len(bench.audit) == lines
    assert bench.core.gate.dropped == {}
