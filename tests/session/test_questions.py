"""Questions, operations without an environment, and how their refusals become errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from libecs.client.ecs import AsyncEcs
from libecs.errors import Conflict, Denied, InvalidInput, NotFound, Unreachable, UsageError, WaitTimeout
from libecs.fsm import EnvState, Status, TaskState
from libecs.wire.client import (
    Accepted,
    Annotate,
    Consult,
    Create,
    Destroy,
    Document,
    Drain,
    EndTasks,
    Environments,
    Finished,
    Follow,
    Lock,
    Locks,
    Modify,
    Refused,
    Runs,
    Show,
    ShowLocks,
    ShowRuns,
    ShowTasks,
    Subscribe,
    Tasks,
    Unlock,
    Work,
)
from libecs.wire.info import EnvironmentInfo, LockInfo, RoleInfo, TaskInfo
from libecs.wire.node import Phase


def _silence(message: object) -> list[object]:
    return []


class Echo:
    """Says what it is told to say to each message, in the next turn of the loop."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.answers: dict[type, Callable[[Any], list[object]]] = {
            Subscribe: lambda message: [Environments(request=message.request, sequence=0, environments=())],
            Show: lambda message: [Environments(request=message.request, sequence=0, environments=())],
        }
        self._receive: Callable[[object], None] = lambda message: None

    def connect(self, receive: Callable[[object], None]) -> Echo:
        self._receive = receive
        return self

    def send(self, message: object) -> None:
        self.received.append(message)
        for answer in self.answers.get(type(message), _silence)(message):
            asyncio.get_running_loop().call_soon(self._receive, answer)

    def finish(self, kind: type, **fields: Any) -> None:
        self.answers[kind] = lambda message: [
            Accepted(operation=message.operation, environment=""),
            Finished(operation=message.operation, **fields),
        ]

    def refuse(self, kind: type, code: str, message: str, hint: str = "") -> None:
        self.answers[kind] = lambda question: [Refused(request=question.request, code=code, message=message, hint=hint)]


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def client(echo: Echo) -> AsyncIterator[AsyncEcs]:
    client = AsyncEcs(echo.connect, requester="me@here")
    await client.open()
    yield client
    await client.close()


def task(name: str) -> TaskInfo:
    return TaskInfo(
        task=name,
        role="",
        class_name="sink",
        mode="DIRECT",
        node="n1",
        critical=True,
        phase=Phase.ACTIVE,
        state=TaskState.STANDBY,
    )


async def test_a_refused_question_raises_what_the_core_says(echo: Echo, client: AsyncEcs) -> None:
    echo.refuse(ShowRuns, "E_DENIED", "viewers may not do that", "ask an admin")

    with pytest.raises(Denied) as caught:
        await client.runs()

    assert (caught.value.message, caught.value.hint) == ("viewers may not do that", "ask an admin")


async def test_a_session_that_may_not_even_look_says_so_when_it_is_opened(echo: Echo) -> None:
    echo.refuse(Subscribe, "E_DENIED", "your key was revoked")
    client = AsyncEcs(echo.connect, requester="me@here")

    with pytest.raises(Denied, match="your key was revoked"):
        await client.open()
    await client.close()


async def test_tasks_come_in_parts(echo: Echo, client: AsyncEcs) -> None:
    echo.answers[ShowTasks] = lambda message: [
        Tasks(request=message.request, tasks=(task("a"), task("b")), more=True),
        Tasks(request=message.request, tasks=(task("c"),), more=True),
        Tasks(request=message.request, tasks=()),
    ]

    assert [one.task for one in await client.tasks()] == ["a", "b", "c"]


async def test_an_environment_that_comes_in_parts_is_one(echo: Echo, client: AsyncEcs) -> None:
    def part(environment: str, *tasks: str) -> EnvironmentInfo:
        infos = tuple(map(task, tasks))
        roles = tuple(
            RoleInfo(path=name, kind="task", state=TaskState.RUNNING, status=Status.ACTIVE, critical=True)
            for name in tasks
        )
        return EnvironmentInfo(
            environment=environment, name="", workflow="", revision="", state=EnvState.RUNNING, tasks=infos, roles=roles
        )

    echo.answers[Show] = lambda message: [
        Environments(request=message.request, sequence=1, environments=(part("e", "a", "b"),), more=True),
        Environments(request=message.request, sequence=1, environments=(part("e", "c"),), more=True),
        Environments(request=message.request, sequence=1, environments=(part("e", "d"), part("f", "x"))),
    ]

    info = await client.show("e")

    assert [one.task for one in info.tasks] == ["a", "b", "c", "d"]
    assert [one.path for one in info.roles] == ["a", "b", "c", "d"]


async def test_parts_that_came_before_a_break_do_not_count_twice(echo: Echo, client: AsyncEcs) -> None:
    echo.answers[ShowTasks] = lambda message: [Tasks(request=message.request, tasks=(task("a"),), more=True)]
    asking = asyncio.create_task(client.tasks())
    while not any(isinstance(message, ShowTasks) for message in echo.received):
        await asyncio.sleep(0)
    await asyncio.sleep(0)

    echo.answers[ShowTasks] = lambda message: [Tasks(request=message.request, tasks=(task("a"), task("b")))]
    client.resend()

    assert [one.task for one in await asking] == ["a", "b"]


async def test_the_rest_of_an_answer_is_not_taken_for_the_whole_when_it_was_asked_again_meanwhile(
    echo: Echo, client: AsyncEcs
) -> None:
    echo.answers[ShowTasks] = lambda message: [Tasks(request=message.request, tasks=(task("a"),), more=True)]
    asking = asyncio.create_task(client.tasks())
    while not any(isinstance(message, ShowTasks) for message in echo.received):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    (asked,) = [message for message in echo.received if isinstance(message, ShowTasks)]

    # A process that was stopped for a while asks again on a link that never broke: all of both answers comes.
    echo.answers[ShowTasks] = lambda message: [
        Tasks(request=asked.request, tasks=(task("b"),)),
        Tasks(request=message.request, tasks=(task("a"),), more=True),
        Tasks(request=message.request, tasks=(task("b"),)),
    ]
    client.resend()

    assert [one.task for one in await asking] == ["a", "b"]


async def test_a_document_is_parsed_and_its_error_raised(echo: Echo, client: AsyncEcs) -> None:
    echo.answers[Consult] = lambda message: [Document(request=message.request, json='{"templates": []}')]
    assert await client.consult("template.list", repo="x", all=True) == {"templates": []}
    (asked,) = [message for message in echo.received if isinstance(message, Consult)]
    assert (asked.subject, asked.arguments) == ("template.list", {"repo": "x", "all": "true"})

    echo.answers[Consult] = lambda message: [
        Document(request=message.request, code="E_NOT_FOUND", message="no repository x", hint="coconut repository list")
    ]
    with pytest.raises(NotFound, match="no repository x") as caught:
        await client.consult("template.list")
    assert caught.value.hint == "coconut repository list"


async def test_what_work_made_is_parsed(echo: Echo, client: AsyncEcs) -> None:
    echo.finish(Work, message='{"expires_ms": 5}')
    assert await client.work("key.invite", name="anna") == {"expires_ms": 5}

    echo.finish(Work)
    assert await client.work("repository.refresh") == {}

    echo.finish(Work, code="E_CONFLICT", message="anna has two keys")
    with pytest.raises(Conflict, match="anna has two keys"):
        await client.work("key.invite", name="anna")


async def test_requests_carry_what_they_are_told(echo: Echo, client: AsyncEcs) -> None:
    for kind in (Drain, EndTasks, Annotate, Unlock, Lock):
        echo.finish(kind, message="{}")

    await client.drain("n1", reason="new disk")
    await client.drain("n1", on=False)
    await client.end_tasks("t1", "t2", force=True)
    await client.annotate(7, "a note", {"threshold": 3, "gone": ""})
    await client.take_locks(["its"], reason="scan", force=True)
    await client.unlock("its", force=True, reason="he left")

    drain, undrain, end, annotate, lock, unlock = echo.received[-6:]
    assert (drain.node, drain.on, drain.reason, undrain.on) == ("n1", True, "new disk", False)
    assert (end.tasks, end.force) == (("t1", "t2"), True)
    assert (annotate.run, annotate.note, annotate.tags) == (7, "a note", {"threshold": "3", "gone": ""})
    assert (lock.detectors, lock.reason, lock.force, lock.requester) == (("its",), "scan", True, "me@here")
    assert (unlock.detectors, unlock.reason, unlock.force) == (("its",), "he left", True)


async def test_an_operation_that_takes_long_is_named_by_the_timeout(echo: Echo, client: AsyncEcs) -> None:
    with pytest.raises(WaitTimeout, match=r"DRAIN did not end within 0\.01 s; it goes on as operation (\S+)") as caught:
        await client.drain("n1", timeout=0.01)

    (operation,) = client.pending
    assert operation in caught.value.message
    with pytest.raises(WaitTimeout, match=r"key\.revoke"):
        await client.finish(client.begin(Work(operation=client.new_id(), name="key.revoke")), 0.01)


async def test_the_end_of_somebody_elses_operation_is_heard(echo: Echo, client: AsyncEcs) -> None:
    echo.answers[Follow] = lambda message: [Finished(operation=message.operation, run_number=12)]
    assert (await client.follow("theirs-1")).run_number == 12

    echo.answers[Follow] = lambda message: [Finished(operation=message.operation, code="E_DENIED", message="no")]
    with pytest.raises(Denied):
        await client.follow("theirs-2")

    echo.refuse(Follow, "E_NOT_FOUND", "no operation theirs-3")
    with pytest.raises(NotFound, match="no operation theirs-3"):
        await client.follow("theirs-3")
    assert client.pending == {}


async def test_an_unknown_operation_does_not_hide_another_one(echo: Echo, client: AsyncEcs) -> None:
    going = asyncio.create_task(client.follow("theirs-1", timeout=60))
    await asyncio.sleep(0)
    assert client.pending == {"theirs-1": "operation"}

    echo.refuse(Follow, "E_NOT_FOUND", "no operation theirs-2")
    with pytest.raises(NotFound):
        await client.follow("theirs-2")

    assert not going.done()
    client.receive(Finished(operation="theirs-1"))
    await going


async def test_a_lock_is_taken_and_what_was_taken_given_back(echo: Echo, client: AsyncEcs) -> None:
    held: dict[str, LockInfo] = {"tpc": LockInfo(detector="tpc", owner="me", since_ms=1, reason="shift", fence=3)}

    def lock(message: Lock) -> list[object]:
        for name in message.detectors:
            held.setdefault(name, LockInfo(detector=name, owner="me", since_ms=2, reason=message.reason, fence=9))
        return [Finished(operation=message.operation)]

    echo.answers[Lock] = lock
    echo.answers[ShowLocks] = lambda message: [Locks(request=message.request, locks=tuple(held.values()))]
    echo.finish(Unlock, code="E_DENIED", message="its is ron's")

    async with client.lock("its", "tpc", reason="scan") as lock_:
        assert lock_.detectors == ("its", "tpc")

    assert [message.detectors for message in echo.received if isinstance(message, Unlock)] == [("its",)]
    assert repr(lock_) == "<lock on its, tpc, not taken by this>"


async def test_what_was_taken_by_force_meanwhile_does_not_keep_the_others_locked(echo: Echo, client: AsyncEcs) -> None:
    held: dict[str, LockInfo] = {}

    def lock(message: Lock) -> list[object]:
        held.update({name: LockInfo(detector=name, owner="me", since_ms=2, fence=9) for name in message.detectors})
        return [Finished(operation=message.operation)]

    def unlock(message: Unlock) -> list[object]:
        code = "E_DENIED" if any(held[name].owner != "me" for name in message.detectors) else ""
        for name in message.detectors if not code else ():
            del held[name]
        return [Finished(operation=message.operation, code=code)]

    echo.answers[Lock] = lock
    echo.answers[Unlock] = unlock
    echo.answers[ShowLocks] = lambda message: [Locks(request=message.request, locks=tuple(held.values()))]

    async with client.lock("its", "tpc"):
        held["tpc"] = LockInfo(detector="tpc", owner="ron", since_ms=3, fence=10)

    assert [lock.owner for lock in held.values()] == ["ron"]


async def test_somebody_elses_lock_is_a_conflict(echo: Echo, client: AsyncEcs) -> None:
    echo.answers[ShowLocks] = lambda message: [Locks(request=message.request, locks=())]
    echo.finish(Lock, code="E_CONFLICT", message="its is ron's since 12:00: noise scan")

    with pytest.raises(Conflict, match="noise scan"):
        async with client.lock("its"):
            raise AssertionError("never entered")


async def test_a_lock_that_is_given_after_an_interrupt_is_given_back(echo: Echo, client: AsyncEcs) -> None:
    held = (LockInfo(detector="tpc", owner="me", since_ms=1, reason="shift", fence=3),)
    echo.answers[ShowLocks] = lambda message: [Locks(request=message.request, locks=held)]
    echo.finish(Unlock)
    taking = asyncio.create_task(client.lock("its", "tpc").take())
    while not (asked := [message for message in echo.received if isinstance(message, Lock)]):
        await asyncio.sleep(0)

    taking.cancel()
    await asyncio.sleep(0)
    client.receive(Finished(operation=asked[0].operation))
    with pytest.raises(asyncio.CancelledError):
        await taking

    assert [message.detectors for message in echo.received if isinstance(message, Unlock)] == [("its",)]


async def test_an_environment_that_is_accepted_after_an_interrupt_is_destroyed(echo: Echo, client: AsyncEcs) -> None:
    echo.finish(Destroy)
    making = asyncio.create_task(client.create(Create(operation="", workflow="demo"), None))
    while not (asked := [message for message in echo.received if isinstance(message, Create)]):
        await asyncio.sleep(0)

    making.cancel()
    await asyncio.sleep(0)
    client.receive(Accepted(operation=asked[0].operation, environment="e1"))
    with pytest.raises(asyncio.CancelledError):
        await making

    assert [message.environment for message in echo.received if isinstance(message, Destroy)] == ["e1"]


async def test_a_workflow_of_a_script_travels_with_the_request(echo: Echo, client: AsyncEcs) -> None:
    import libecs

    echo.answers[Create] = lambda message: [
        Finished(operation=message.operation, code="E_DENIED", message="operators may not bring workflows along")
    ]
    lab = libecs.workflow("lab", tasks={"dut": libecs.task("./dut", properties={"threshold": 1})})

    with pytest.raises(Denied, match="may not bring workflows along"):
        await client.environment(lab, {"dut.threshold": 5, "hosts": ["a"]})

    (create,) = [message for message in echo.received if isinstance(message, Create)]
    assert (create.workflow, create.name, create.variables) == ("lab", "lab", {"hosts": '["a"]'})
    assert sorted(create.files) == ["tasks/dut.yaml", "workflows/lab.yaml"]
    assert '"threshold": "5"' in create.files["tasks/dut.yaml"]


async def test_a_run_is_repeated_by_its_number(echo: Echo, client: AsyncEcs) -> None:
    echo.answers[Create] = lambda message: [
        Finished(operation=message.operation, code="E_INVALID", message="node n7 is not here")
    ]

    with pytest.raises(InvalidInput, match="node n7"):
        await client.repeat(12, force=True)
    with pytest.raises(UsageError, match="target='RUNNING'"):
        client.repeat(12, target="RUNNING")

    (create,) = [message for message in echo.received if isinstance(message, Create)]
    assert (create.repeat, create.force, create.workflow) == (12, True, "")


async def test_a_question_that_waits_fails_when_the_session_ends(echo: Echo, client: AsyncEcs) -> None:
    asking = asyncio.create_task(client.nodes())
    await asyncio.sleep(0)

    await client.close()

    with pytest.raises(Unreachable, match="this session is closed"):
        await asking
    with pytest.raises(Unreachable):
        client.begin(Modify(operation=client.new_id(), environment="x"))
    assert await client.events(since=1).next() is None


async def test_answers_to_an_abandoned_question_are_ignored(echo: Echo, client: AsyncEcs) -> None:
    asking = asyncio.create_task(client.runs())
    while not any(isinstance(message, ShowRuns) for message in echo.received):
        await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)

    (asked,) = [message for message in echo.received if isinstance(message, ShowRuns)]
    client.receive(Runs(request=asked.request, runs=()))
    client.resend()

    assert len([message for message in echo.received if isinstance(message, ShowRuns)]) == 1
