"""What scripts without asyncio see: the same objects, in the thread of one loop."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from libecs.client.bridge import Bridge
from libecs.client.ecs import AsyncEcs
from libecs.client.environment import AsyncEnvironment
from libecs.client.run import AsyncRun
from libecs.client.sync import Ecs
from libecs.client.syncenvironment import Environment, Run
from libecs.errors import Conflict, RunFailed
from libecs.fsm import EnvState
from libecs.wire.client import Control, Create, Destroy
from tests.session.conftest import FakeCore


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be a KeyboardInterrupt: who is started in the background of a shell inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_when(true: Callable[[], object]) -> threading.Thread:
    """Send this process Ctrl-C as soon as `true()` is."""

    def watch() -> None:
        pause = threading.Event()
        while not true():
            pause.wait(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_whole_session_reads_as_in_the_readme(core: FakeCore, lab: Ecs) -> None:
    with lab.environment("demo", {"n": 1}, name="lab") as env:
        assert env.state == "CONFIGURED"
        assert len(env.tasks("**.sink")) == 2
        with env.run(comment="night") as run:
            assert run.number == 1
            assert run.going
            run.wait(until=lambda view: view.elapsed_s >= 0)
        assert run.record is not None
        assert (run.condition, run.end_reason, run.record.comment) == ("GOOD", "USER", "night")
        assert env.control("RESET") == "DEPLOYED"

    assert core.environments == {}
    assert [run.number for run in lab.runs()] == [1]
    assert lab.run_record(1).comment == "night"


def test_environments_are_found_kept_and_destroyed(lab: Ecs) -> None:
    env = lab.environment("demo", name="lab", keep=True)
    with env:
        assert env.keep
        assert env.info.name == env.show().name == "lab"
    again = lab.get("lab")
    again.keep = False
    (found,) = lab.environments()

    with again:
        pass

    assert found.id == env.id
    assert repr(found) == f"<environment {env.id} DONE>"
    assert lab.environments() == []


def test_error_is_raised_and_recovered_from(core: FakeCore, lab: Ecs) -> None:
    with lab.environment("demo") as env:
        run = env.run()
        with pytest.raises(RunFailed, match="it died"), run:
            core.break_down(env.id, "it died")
            run.wait()
        assert env.recover() == "DEPLOYED"
        env.control("CONFIGURE")
        env.wait("CONFIGURED", timeout=60)
        env.destroy()


def test_going_run_is_taken_over(lab: Ecs) -> None:
    with lab.environment("demo") as env:
        assert env.current_run() is None
        env.control("START")
        run = env.current_run()
        assert run is not None
        run.stop()

        assert repr(run) == "<run 1 GOOD>"
        assert env.state == "CONFIGURED"


def test_events_are_a_plain_iterator(core: FakeCore, lab: Ecs, bridge: Bridge) -> None:
    env = lab.environment("demo")
    events, everything = env.events(), lab.events()
    env.control("START")

    first = next(events)
    bridge.call(lab._inner.close())

    assert first.kind == "run.start"
    assert [event.kind for event in events] == ["environment.state"]
    assert [event.kind for event in everything] == ["run.start", "environment.state"]


def test_works_inside_a_running_loop_as_in_a_notebook(lab: Ecs) -> None:
    async def cell() -> str:
        with lab.environment("demo") as env:
            return env.state

    assert asyncio.run(cell()) == "CONFIGURED"


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_wait_stops_the_run_and_destroys_the_environment(core: FakeCore, lab: Ecs) -> None:
    waits = lab._inner._talk._waiters
    thread = interrupt_when(lambda: core.of(Control) and waits)

    with pytest.raises(KeyboardInterrupt), lab.environment("demo") as env, env.run() as run:
        run.wait()
    thread.join()

    assert run.end_reason == "USER_EXCEPTION"
    assert core.environments == {}


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_an_environment_is_made_leaves_nothing(core: FakeCore, lab: Ecs) -> None:
    core.silent.add("CREATE")
    thread = interrupt_when(lambda: core.environments)

    with pytest.raises(KeyboardInterrupt):
        lab.environment("demo")
    thread.join()

    assert len(core.of(Create)) == len(core.of(Destroy)) == 1
    assert core.environments == {}


def test_forked_child_may_not_use_the_session(lab: Ecs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libecs.client.bridge.os.getpid", lambda: -1)

    with pytest.raises(Conflict, match="a session of its own"):
        lab.environments()


def test_closed_bridge_refuses_calls(bridge: Bridge) -> None:
    async def nothing() -> None:
        pass

    bridge.close()
    bridge.close()

    with pytest.raises(Conflict, match="closed"):
        bridge.call(nothing())


def test_closing_cancels_who_waits() -> None:
    bridge = Bridge()
    failures = []

    def wait() -> None:
        try:
            bridge.call(asyncio.Event().wait())
        except Conflict as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not bridge.call(_tasks()) > 1:
        pass
    bridge.close()
    thread.join()

    assert "closed while this call waited" in str(failures[0])


async def _tasks() -> int:
    return len(asyncio.all_tasks())


def test_call_from_inside_the_loop_is_refused(lab: Ecs, bridge: Bridge) -> None:
    async def inside() -> None:
        lab.environments()

    with pytest.raises(Conflict, match="from inside"):
        bridge.call(inside())


def test_state_of_a_gone_environment_is_done(core: FakeCore, lab: Ecs) -> None:
    env = lab.environment("demo")
    env.destroy()

    assert env.state == EnvState.DONE.name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Ecs, AsyncEcs), (Environment, AsyncEnvironment), (Run, AsyncRun)],
    ids=lambda cls: cls.__name__,
)
def test_a_call_takes_the_same_arguments_as_with_asyncio(ours: type, theirs: type) -> None:
    def arguments(cls: type, name: str) -> list[tuple[str, object, object]]:
        parameters = inspect.signature(getattr(cls, name)).parameters.values()
        return [(one.name, one.kind, one.default) for one in parameters]

    calls = [name for name, member in vars(ours).items() if inspect.isfunction(member) and not name.startswith("_")]

    assert calls
    assert {name: arguments(ours, name) for name in calls} == {name: arguments(theirs, name) for name in calls}
