"""Metrics that scripts ask for by pattern and name, and lines: read, waited for, watched when somebody wants them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from libecs.client import conversation
from libecs.client.ecs import AsyncEcs
from libecs.client.logs import Line, LogReader
from libecs.client.metrics import MetricView, RunMetrics
from libecs.client.run import RunView
from libecs.client.sync import Ecs
from libecs.errors import RunFailed, UsageError
from libecs.wire.client import Control, Lines, Refused, Watch
from libecs.wire.info import MetricInfo
from libecs.wire.telemetry import Severity
from tests.session.conftest import FakeCore

ROLES = ("lab.trigger", "lab.arm-1.dut", "lab.arm-2.dut", "lab.arm-2.sub.dut")


def told(role: str, name: str, *samples: float, at: int = 0) -> MetricInfo:
    return MetricInfo(
        role=role,
        name=name,
        unit="Hz",
        n=len(samples),
        sum=sum(samples),
        min=min(samples),
        max=max(samples),
        last=samples[-1],
        last_ms=at,
    )


# views


def test_one_metric_of_one_task_is_found_with_the_root_s_name_and_without() -> None:
    metrics = RunMetrics(ROLES, [told("lab.trigger", "rate", 1, 3, 2)])

    for key in ("trigger:rate", "lab.trigger:rate", "*:rate", "**.trigger:rate"):
        view = metrics[key]
        assert (view.n, view.sum, view.min, view.max, view.last, view.mean, view.unit) == (3, 6, 1, 3, 2, 2, "Hz")


def test_metric_of_several_tasks_is_put_together() -> None:
    infos = [
        told("lab.arm-1.dut", "events", 1, 2, at=20),
        told("lab.arm-2.dut", "events", 10, at=10),
        told("lab.arm-2.sub.dut", "other", 100),
    ]

    view = RunMetrics(ROLES, infos)["**.dut:events"]

    assert (view.n, view.sum, view.min, view.max, view.last, view.total) == (3, 13, 1, 10, 2, 12)
    assert RunMetrics(ROLES, infos)["arm-2.*:events"].last == 10


def test_metric_that_nobody_has_told_yet_reads_as_nothing() -> None:
    view = RunMetrics(ROLES)["trigger:events"]

    assert RunMetrics()["trigger:events"].n == 0
    assert (view.n, view.last, view.sum, view.total) == (0, 0.0, 0.0, 0.0)
    assert all(math.isnan(value) for value in (view.mean, view.min, view.max))


def test_newer_figures_replace_older_ones() -> None:
    metrics = RunMetrics(ROLES, [told("lab.trigger", "rate", 1)])

    metrics.take([told("lab.trigger", "rate", 1, 5)])

    assert metrics["trigger:rate"].last == 5
    assert list(metrics) == ["trigger:rate"]
    assert len(metrics) == 1
    assert "trigger:rate" in metrics
    assert "trigger:events" not in metrics
    assert repr(metrics) == "<metrics: trigger:rate>"
    assert repr(RunMetrics()) == "<metrics: none>"


@pytest.mark.parametrize("key", ["events", "trigger:", ":events", ""])
def test_key_that_is_no_pattern_and_name_is_a_usage_error(key: str) -> None:
    with pytest.raises(UsageError, match="is no metric"):
        RunMetrics(ROLES)[key]


def test_key_of_no_task_is_a_usage_error_that_says_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"no task matches 'triger'\s+next: did you mean trigger\?"):
        RunMetrics(ROLES)["triger:events"]
    with pytest.raises(UsageError, match="tasks are trigger, arm-1.dut"):
        RunMetrics(ROLES)["**.nothing:events"]
    with pytest.raises(UsageError, match=r"and 3 more"):
        RunMetrics([f"lab.t{n}" for n in range(13)])["x.y.z:events"]
    with pytest.raises(UsageError, match="no pattern of role paths"):
        RunMetrics(ROLES)["a..b:events"]


def test_view_of_nothing() -> None:
    assert MetricView.of([]).n == 0


# runs


async def test_wait_is_woken_by_metrics(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        async with env.run() as run:
            watches = len(core.of(Watch))
            waiting = asyncio.create_task(run.wait(10, until=lambda m: m["**.sink:events"].sum >= 30))
            while len(core.of(Watch)) == watches:
                await asyncio.sleep(0)
            core.tell(env.id, "demo.host-1.sink", "events", 10)
            await asyncio.sleep(0)
            assert not waiting.done()
            core.tell(env.id, "demo.host-2.sink", "events", 10, 12)
            await waiting

        assert run.condition == "GOOD"
        assert run.metrics["host-2.sink:events"].sum == 22
        assert run.metrics["**:events"].n == 3


async def test_question_that_asks_for_no_time_is_not_polled(
    core: FakeCore, ecs: AsyncEcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libecs.client.run.POLL_S", 0.001)
    asked: list[RunMetrics] = []

    def ask(view: RunView) -> bool:
        asked.append(view.metrics)
        return False

    async with ecs.environment("demo") as env, env.run() as run:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await run.wait(until=ask)

    assert len(asked) < 10


async def test_wrong_key_ends_the_wait_and_the_run(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        run = env.run()
        with pytest.raises(UsageError, match=r"did you mean host-1\.sink"):
            async with run:
                await run.wait(until=lambda m: m["host-1.snk:events"].last > 0)

    assert run.end_reason == "USER_EXCEPTION"


async def test_metrics_of_a_going_run_are_there_at_the_first_look_after_a_refresh(
    core: FakeCore, ecs: AsyncEcs
) -> None:
    async with ecs.environment("demo") as env, env.run() as run:
        core.tell(env.id, "demo.host-1.sink", "events", 10)
        await run.refresh()

        assert run.metrics["host-1.sink:events"].last == 10
        assert run.record is None


async def test_metrics_stay_after_a_failure(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        run = env.run()
        with pytest.raises(RunFailed, match="it died"):
            async with run:
                core.tell(env.id, "demo.host-1.sink", "events", 10)
                core.break_down(env.id, "it died")
                await run.wait()
        assert run.metrics["host-1.sink:events"].last == 10
        await env.recover()

    assert (run.number, run.condition, run.end_reason) == (1, "FAILED", "ERROR")
    assert run.metrics["host-1.sink:rate"].n == 0


async def test_metrics_of_another_run_are_not_taken(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        async with env.run() as first:
            assert first.metrics["**:events"].n == 0
            core.tell(env.id, "demo.host-1.sink", "events", 10)
        async with env.run() as second:
            core.tell(env.id, "demo.host-1.sink", "events", 1, 2)
            assert second.metrics["**:events"].n == 0  # the first look begins the watch
            await second.refresh()
            assert second.metrics["**:events"].n == 2

    assert first.metrics["**:events"].n == 1


def test_sync_face_reads_metrics_as_of_now(core: FakeCore, lab: Ecs) -> None:
    with lab.environment("demo") as env:
        with env.run() as run:
            lab._bridge.call(_soon(lambda: core.tell(env.id, "demo.host-1.sink", "events", 10)))

            assert run.metrics["host-1.sink:events"].last == 10
        assert run.metrics["host-1.sink:events"].mean == 10


async def _soon(do: Callable[[], None]) -> None:
    do()


# lines


async def test_run_keeps_the_lines_of_its_tasks(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env:
        async with env.run() as run:
            core.say(env.id, "demo.host-1.sink", "hello", run=1)
            core.say(env.id, "demo.host-1.sink", "of another run", run=7)
            core.say(env.id, "demo.host-1.sink", "of no run")

    (line,) = run.log
    assert (line.role, line.node, line.text, line.severity, line.run) == (
        "demo.host-1.sink", "node1", "hello", Severity.INFO, 1,
    )  # fmt: skip


async def test_lines_before_the_number_is_known_are_kept(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    core.silent.add("START_ACTIVITY")
    run = env.run()
    starting = asyncio.create_task(run.start())
    while not core.of(Control) or not core.watched:
        await asyncio.sleep(0)

    core.say(env.id, "demo.host-1.sink", "early", run=1)
    core.release(core.of(Control)[0])
    await starting

    assert [line.text for line in run.log] == ["early"]


async def test_logs_are_read_by_pattern_and_severity(core: FakeCore, ecs: AsyncEcs) -> None:
    env = await ecs.environment("demo")
    some, everything = env.logs("host-1.*", "warning"), ecs.logs(severity="DEBUG")
    for _ in range(3):
        await asyncio.sleep(0)
    core.say(env.id, "demo.host-1.sink", "quiet", Severity.DEBUG)
    core.say(env.id, "demo.host-1.sink", "loud", Severity.WARNING)
    core.say(env.id, "demo.host-2.sink", "elsewhere", Severity.FATAL)
    await ecs.close()

    assert [line.text async for line in some] == ["loud"]
    assert [line.text async for line in everything] == ["quiet", "loud", "elsewhere"]
    assert [line async for line in env.logs()] == []


def test_line_is_written_for_people() -> None:
    line = Line(role="lab.hv", node="n", severity=Severity.ERROR, text="too hot", unix_ms=1500)

    assert str(line).endswith(".500  hv  ERROR  too hot")
    assert str(Line(role="lab.hv", node="n", severity=Severity.INFO, text="fine")).endswith("  hv  fine")


async def test_lost_lines_are_counted() -> None:
    reader = LogReader()

    reader.take_lines(Lines(environment="e", run=0, lines=(), dropped=5))

    assert reader.dropped == 5


@pytest.mark.parametrize(("severity", "hint"), [("WARNIN", "did you mean WARNING"), ("x", "severities are DEBUG")])
async def test_wrong_severity_is_a_usage_error(ecs: AsyncEcs, severity: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        ecs.logs(severity=severity)


def test_sync_face_reads_lines(core: FakeCore, lab: Ecs) -> None:
    with lab.environment("demo") as env, env.run() as run:
        lines, all_lines = env.logs(), lab.logs()

        async def say() -> None:
            core.say(env.id, "demo.host-1.sink", "hello", run=1)

        lab._bridge.call(say())

        assert next(lines).text == next(all_lines).text == "hello"
        assert [line.text for line in run.log] == ["hello"]


# watching


async def test_core_is_asked_only_for_what_somebody_wants(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env, env.run() as run:
        await asyncio.sleep(0)
        assert [(watch.metrics, watch.lines) for watch in core.of(Watch)] == [(False, True)]
        assert run.metrics["**:events"].n == 0
        assert run.metrics["**:events"].n == 0

    asked = [(watch.environment, watch.metrics, watch.lines) for watch in core.of(Watch)]
    assert asked == [(env.id, False, True), (env.id, True, True), (env.id, False, True)]


async def test_who_watches_all_watches_nothing_by_itself(core: FakeCore, ecs: AsyncEcs) -> None:
    async with ecs.environment("demo") as env, env.run():
        reader = ecs.logs()
        await asyncio.sleep(0)
        core.say(env.id, "demo.host-1.sink", "once", run=1)

    asked = [(watch.environment, watch.lines) for watch in core.of(Watch)]
    assert asked[:3] == [(env.id, True), (env.id, False), ("", True)]
    assert [line.text for line in reader.rest()] == ["once"]


async def test_watches_are_asked_for_again_when_the_link_was_down(core: FakeCore, ecs: AsyncEcs) -> None:
    reader = ecs.logs()
    before = len(core.of(Watch))

    ecs.resend()

    assert [watch.lines for watch in core.of(Watch)[before:]] == [True]
    assert reader.watched == ""


async def test_a_watch_that_the_core_had_no_time_for_is_asked_again_once_as_it_is_wanted_then(
    core: FakeCore, ecs: AsyncEcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "BUSY_S", (0.0, 0.0))
    reader = ecs.logs()
    (first,) = core.of(Watch)
    busy = Refused(request=first.request, code="E_BUSY", message="too often")

    ecs.receive(busy)
    for _ in range(5):
        await asyncio.sleep(0)
    again = core.of(Watch)[1:]
    assert [(watch.environment, watch.lines) for watch in again] == [("", True)]

    ecs.receive(busy)  # of one that is not the last any more
    for _ in range(5):
        await asyncio.sleep(0)
    assert core.of(Watch)[1:] == again
    assert reader.watched == ""
