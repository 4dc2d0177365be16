"""What scripts with asyncio see: environments, runs, errors, waits."""

from __future__ import annotations

import asyncio
import os

import pytest

from libecs.client.ecs import AsyncEcs
from libecs.client.failure import CLASSES, of_finished
from libecs.client.operation import requester, texts
from libecs.client.reader import Reader
from libecs.client.run import RunView, seconds
from libecs.errors import (
    Conflict,
    EcsError,
    IllegalTransition,
    NotFound,
    RunFailed,
    TemplateError,
    TransitionFailed,
    Unplaceable,
    Unreachable,
    UsageError,
    WaitTimeout,
)
from libecs.fsm import EnvState
from libecs.wire.client import Control, Create, Destroy, Finished, Show, Subscribe
from libecs.wire.info import Event
from tests.session.conftest import FakeCore

DIED = Finished(
    operation="",
    state=EnvState.ERROR,
    code="E_TRANSITION",
    message="START_ACTIVITY failed",
    cause="sink on node1 killed by signal 9",
    failures={"demo.sink": "killed by signal 9"},
)


# environments


async def test_environment_is_made_with_variables_as_texts_and_destroyed_at_the_end(
    core: FakeCore, ecs: AsyncEcs
) -> None:
    async with ecs.environment("demo", {"hosts": ["a", "b"], "n": 3, "s": "x"}, name="lab") as env:
        assert env.state == "CONFIGURED"
        assert env.info.name == "lab"

    (create,) = core.of(Create)
    assert create.variables == {"hosts": '["a","b"]', "n": "3", "s": "x"}
    assert create.requester == "me@here"
    assert core.environments == {}
    assert env.state == "DONE"


async def test_awaited_environment_stays(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo", target="DEPLOYED")

    assert env.state == "DEPLOYED"
    assert list(core.environments) == [env.id]


async def test_kept_environment_stays_and_is_reused(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo", keep=True) as first:
        pass
    async with ecs.environment("demo", reuse=True, keep=True) as second:
        pass
    other = await ecs.environment("demo", name="other", reuse=True)

    assert first.id == second.id
    assert other.id != first.id
    assert len(core.of(Create)) == 2


async def test_environment_that_could_not_be_made_raises_its_error_and_leaves_nothing(
    core: FakeCore, ecs: AsyncEcs
) -> None:
    core.fail_next = Finished(
        operation="", code="E_PLACEMENT", message="1 task cannot be placed", failures={"demo.sink": "no node has x"}
    )

    with pytest.raises(Unplaceable, match="1 task cannot be placed") as caught:
        await ecs.environment("demo")

    assert caught.value.reasons == {"demo.sink": "no node has x"}
    assert core.environments == {}


async def test_cancelled_creation_is_destroyed(core: FakeCore, ecs: AsyncEcs) -> None:
    core.silent.add("CREATE")
    making = asyncio.create_task(ecs.create(Create(operation="", workflow="demo"), None))
    while not core.environments:
        await asyncio.sleep(0)

    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making

    assert core.environments == {}
    assert core.of(Destroy)[0].force


async def test_get_finds_by_name_and_id(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo", name="lab")

    assert (await ecs.get("lab")).id == (await ecs.get(env.id)).id == env.id
    with pytest.raises(NotFound, match="no environment 'nobody'"):
        await ecs.get("nobody")


async def test_info_of_what_does_not_exist_is_not_found(ecs: AsyncEcs) -> None:
    with pytest.raises(NotFound):
        ecs.known("nothing")
    with pytest.raises(NotFound):
        await ecs.show("nothing")


async def test_control_returns_the_new_state_and_short_names_are_understood(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")

    assert await env.control("start") == "RUNNING"
    assert await env.control("STOP") == "CONFIGURED"
    assert [control.event for control in core.of(Control)] == ["START_ACTIVITY", "STOP_ACTIVITY"]


async def test_illegal_event_raises_illegal_transition(ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo", target="DEPLOYED")

    with pytest.raises(IllegalTransition, match="START_ACTIVITY is not possible in DEPLOYED"):
        await env.control("START_ACTIVITY")


async def test_running_environment_is_not_destroyed_by_accident(ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    await env.control("START")

    with pytest.raises(Conflict):
        await env.destroy()
    await env.destroy(allow_running=True)

    assert env.state == "DONE"


async def test_tasks_are_chosen_by_role_path(ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")

    assert [task.role for task in await env.tasks("**.sink")] == ["demo.host-1.sink", "demo.host-2.sink"]
    assert len(await env.tasks()) == 4
    assert (await env.tasks("demo.host-1.*")).pids == {"demo.host-1.source": 4711, "demo.host-1.sink": 4711}
    assert (await env.tasks("*.host-2.so*"))[0].state.name == "RUNNING"
    assert (await env.tasks("demo.host-2.source")).states == {"demo.host-2.source": "RUNNING"}


async def test_wait_for_a_state(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    waiting = asyncio.create_task(env.wait("RUNNING", timeout=60))
    await asyncio.sleep(0)

    core.set_state(env.id, EnvState.RUNNING)
    await waiting

    with pytest.raises(WaitTimeout, match="is RUNNING after 0 s, not CONFIGURED"):
        await env.wait("CONFIGURED", timeout=0)
    core.break_down(env.id, "it died")
    with pytest.raises(RunFailed, match="it died"):
        await env.wait("CONFIGURED")
    await env.destroy(force=True)
    with pytest.raises(NotFound, match="is gone"):
        await env.wait("CONFIGURED")


async def test_environment_in_error_raises_from_the_next_call_but_recovers(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.break_down(env.id, "sink on node1 killed by signal 9")

    with pytest.raises(RunFailed) as caught:
        await env.control("START")
    assert caught.value.cause == "sink on node1 killed by signal 9"
    assert await env.recover() == "DEPLOYED"
    assert await env.control("CONFIGURE") == "CONFIGURED"


async def test_error_that_nobody_was_told_of_is_raised_when_the_environment_is_left(
    core: FakeCore, ecs: AsyncEcs
) -> None:
    with pytest.raises(RunFailed, match="it died"):
        async with ecs.environment("demo") as env:
            core.break_down(env.id, "it died")

    assert core.environments == {}


async def test_failed_transition_is_raised_with_cause(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.fail_next = DIED

    with pytest.raises(TransitionFailed) as caught:
        await env.control("RESET")

    assert caught.value.cause == "sink on node1 killed by signal 9"
    assert caught.value.failures == {"demo.sink": "killed by signal 9"}


async def test_wait_timeout_leaves_the_operation_going(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.silent.add("START_ACTIVITY")

    with pytest.raises(WaitTimeout, match="START_ACTIVITY did not end within"):
        await env.control("START", timeout=0.01)
    (operation,) = core.of(Control)
    core.release(operation)

    await env.wait("RUNNING", timeout=60)


async def test_creation_that_takes_too_long_names_the_environment_that_goes_on(core: FakeCore, ecs: AsyncEcs) -> None:
    core.silent.add("CREATE")

    with pytest.raises(WaitTimeout) as caught:
        await ecs.environment("demo", timeout=0.05)

    assert caught.value.hint == "ecs.get('env1') is the environment: wait for it, or destroy it"


async def test_state_that_does_not_exist_is_a_usage_error(ecs: AsyncEcs) -> None:
    with pytest.raises(UsageError, match="target='RUN'"):
        ecs.environment("demo", target="RUN")
    env = await ecs.environment("demo")
    with pytest.raises(UsageError, match=r"there is no state 'RUN'\s+next: states are STANDBY, "):
        await env.wait("RUN")


# runs


async def test_run_that_was_not_started_is_nothing_to_wait_for_and_nothing_to_stop(
    core: FakeCore, ecs: AsyncEcs
) -> None:
    async with ecs.environment("demo") as env:
        run = env.run()

        await run.stop()
        with pytest.raises(UsageError, match="was not started"):
            await run.wait()

    assert core.of(Control) == []


async def test_run_is_entered_once(ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        async with env.run() as run:
            with pytest.raises(UsageError, match="run 1 was started before"):
                await run.__aenter__()
        with pytest.raises(UsageError, match="run 1 was started before"):
            await run.__aenter__()


async def test_run_is_started_and_stopped_and_has_a_record(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        async with env.run(comment="night") as run:
            assert (run.number, run.going, run.condition, run.end_reason) == (1, True, "UNDEFINED", "")
        assert env.state == "CONFIGURED"

    assert (run.condition, run.end_reason) == ("GOOD", "USER")
    assert run.record is not None
    assert run.record.comment == "night"
    assert repr(run) == "<run 1 GOOD>"


async def test_run_ends_by_its_duration(ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env, env.run(duration="20ms") as run:
        await run.wait()

        assert env.state == "CONFIGURED"
    assert run.end_reason == "DURATION"


async def test_run_waits_until_a_condition_holds(ecs: AsyncEcs) -> None:
    seen: list[int] = []

    def enough(view: RunView) -> bool:
        seen.append(view.number)
        return view.elapsed_s >= 0 and len(seen) > 2

    async with ecs.environment("demo") as env, env.run() as run:
        await run.wait(until=enough)

        assert run.going
    assert seen[0] == 1


async def test_run_wait_times_out_and_the_run_goes_on(ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env, env.run() as run:
        with pytest.raises(WaitTimeout, match="run 1 still goes on"):
            await run.wait("1ms")

        assert run.going


async def test_run_is_stopped_with_a_reason_when_the_script_raises(ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        run = env.run()
        with pytest.raises(ZeroDivisionError):
            async with run:
                raise ZeroDivisionError

        assert env.state == "CONFIGURED"
    assert run.end_reason == "USER_EXCEPTION"


async def test_run_that_breaks_raises_from_wait_and_the_next_works_after_recover(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        run = env.run()
        with pytest.raises(RunFailed) as caught:
            async with run:
                core.break_down(env.id, "sink on node1 killed by signal 9")
                await run.wait()
        await env.recover()
        async with env.run() as second:
            pass

    assert caught.value.cause == "sink on node1 killed by signal 9"
    assert (run.condition, second.condition, second.number) == ("FAILED", "GOOD", 2)


async def test_run_that_broke_unseen_raises_when_it_is_left(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        with pytest.raises(RunFailed, match="it died"):
            async with env.run():
                core.break_down(env.id, "it died")


async def test_run_that_cannot_start_raises_run_failed(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        core.fail_next = DIED

        with pytest.raises(RunFailed, match="START_ACTIVITY failed"):
            async with env.run():
                pass


async def test_run_that_fails_to_stop_raises_run_failed(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        with pytest.raises(RunFailed):
            async with env.run():
                core.fail_next = DIED


async def test_run_failure_does_not_hide_the_error_of_the_script(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        with pytest.raises(ZeroDivisionError):
            async with env.run():
                core.fail_next = DIED
                raise ZeroDivisionError


async def test_run_stopped_by_somebody_else_ends_quietly(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        async with env.run() as run:
            await ecs.finish(ecs.control(env.id, "STOP_ACTIVITY", end_reason="LHC"))
            await run.wait()

    assert run.end_reason == "LHC"


async def test_going_run_is_taken_over_and_stopped(ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    assert env.current_run() is None
    await env.control("START")

    run = env.current_run()
    assert run is not None
    async with run:
        assert run.number == 1
    await env.destroy()

    assert run.end_reason == "USER"
    assert env.current_run() is None


async def test_run_deploys_and_configures_first(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo", target="STANDBY")

    async with env.run():
        pass

    events = [control.event for control in core.of(Control)]
    assert events == ["DEPLOY", "CONFIGURE", "START_ACTIVITY", "STOP_ACTIVITY"]


async def test_cancelled_start_is_stopped_when_it_has_begun(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.silent.add("START_ACTIVITY")
    run = env.run()
    starting = asyncio.create_task(run.start())
    while not core.of(Control):
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.sleep(0)
    core.release(core.of(Control)[0])

    with pytest.raises(asyncio.CancelledError):
        await starting

    assert env.state == "CONFIGURED"
    assert run.end_reason == "USER_EXCEPTION"


async def test_records_of_runs(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        async with env.run():
            pass

    assert [run.number for run in await ecs.runs()] == [1]
    with pytest.raises(NotFound, match="no run 99"):
        await ecs.run_record(99)


# events and the link


async def test_events_are_read_in_order_and_end_with_the_session(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    mine, all_of_them = env.events(), ecs.events()
    core.emit("node", "", name="node1")
    await env.control("START")
    await ecs.close()

    kinds = [event.kind async for event in mine]
    assert kinds == ["run.start", "environment.state"]
    assert [event.kind async for event in all_of_them] == ["node", *kinds]
    assert [event async for event in ecs.events()] == []


async def test_slow_reader_loses_the_oldest_events_and_knows() -> None:
    reader: Reader[Event] = Reader(limit=2)

    for sequence in range(5):
        reader.put(Event(sequence=sequence, unix_ms=0, kind="node"))

    assert reader.dropped == 3
    assert (await anext(reader)).sequence == 3


async def test_gap_in_the_events_is_filled_by_a_snapshot(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.drop_events = True
    core.set_state(env.id, EnvState.RUNNING)
    core.drop_events = False
    shows = len(core.of(Show))
    core.emit("node", "", name="node1")

    await env.wait("RUNNING", timeout=60)

    assert len(core.of(Show)) == shows + 1


async def test_unanswered_requests_are_sent_again_with_the_same_id(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.silent.add("START_ACTIVITY")
    operation = ecs.control(env.id, "START_ACTIVITY")
    asking = asyncio.create_task(ecs.runs())
    await asyncio.sleep(0)

    ecs.resend()

    assert [control.operation for control in core.of(Control)] == [operation.id, operation.id]
    assert core.of(Subscribe)[-1].since == core.sequence + 1
    await asking


async def test_dead_link_fails_everything_that_waits(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.silent.add("START_ACTIVITY")
    starting = asyncio.create_task(env.control("START"))
    waiting = asyncio.create_task(ecs.until(lambda: False))
    asking = asyncio.create_task(ecs.runs())
    await asyncio.sleep(0)

    ecs.fail("the core is gone")
    ecs.fail("again")

    for task in (starting, waiting, asking):
        with pytest.raises(Unreachable, match="the core is gone"):
            await task
    with pytest.raises(Unreachable):
        await env.control("START")


async def test_forked_child_may_not_use_the_session(ecs: AsyncEcs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)

    with pytest.raises(Conflict, match="of which this one is a fork"):
        await ecs.runs()


async def test_answers_to_nobody_are_ignored(ecs: AsyncEcs) -> None:
    ecs.receive(Finished(operation="stranger"))


# small things


def test_every_code_becomes_its_class_again() -> None:
    for code, cls in CLASSES.items():
        error = of_finished(Finished(operation="o", code=code, message="what", hint="do"))
        assert type(error) is cls
        assert str(error) == "what\n  next: do"
        assert error.code == code


def test_unknown_code_is_a_plain_error() -> None:
    assert type(of_finished(Finished(operation="o", code="E_NEW", message="what"))) is EcsError


def test_template_error_keeps_its_text() -> None:
    error = of_finished(Finished(operation="o", code="E_TEMPLATE", message="w.yaml:3:7: no such role"))

    assert isinstance(error, TemplateError)
    assert str(error) == "w.yaml:3:7: no such role"


@pytest.mark.parametrize(
    ("text", "value"),
    [("10s", 10), ("30min", 1800), ("1h30m", 5400), ("500ms", 0.5), (3, 3), (0.25, 0.25)],
)
def test_durations(text: str | float, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("wrong", ["10", "fast", "", "1 week", -1, float("nan")])
def test_wrong_durations_are_usage_errors(wrong: str | float) -> None:
    with pytest.raises(UsageError):
        seconds(wrong)


def test_requester_is_user_at_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert requester().startswith("anna@")


def test_requester_without_a_name_is_the_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert requester().startswith(f"{os.getuid()}@")


def test_values_become_texts() -> None:
    assert texts({"a": True, "b": [1], "c": "x", "d": None}) == {"a": "true", "b": "[1]", "c": "x", "d": "null"}
