"""`libecs.local()` with real tasks: sync, async, in a notebook's loop, in a fork, after deaths, after Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import libecs
from ecsd.installation import defaults, examples
from libecs.client.ecs import AsyncEcs
from libecs.client.environment import AsyncEnvironment
from tests.system.place import Left, Place

pytestmark = pytest.mark.timeout(300)

SLEEP = ["sleep", "1000"]


@pytest.fixture(autouse=True)
def elsewhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)


def lab(**tasks: libecs.script.ScriptTask) -> libecs.script.ScriptWorkflow:
    return libecs.workflow("lab", tasks=tasks or {"clock": libecs.task(SLEEP, mode="basic")})


# example scripts


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("lab_runs.py", ["run 1 GOOD DURATION", "run 2 GOOD DURATION", "run 3 GOOD DURATION"]),
        ("watch_async.py", ["environment.state RUNNING", "run.end CONFIGURED DURATION", "run 1 GOOD"]),
    ],
)
def test_example_scripts_run(place: Place, left: Left, name: str, lines: list[str]) -> None:
    ran = place.run(sys.executable, examples() / name)

    assert ran.status == 0, ran.err
    for line in lines:
        assert line in " ".join(ran.out.split())
    assert left() == []


# runs


def test_run_numbers_are_shared_by_sessions_and_never_come_twice(place: Place) -> None:
    numbers = []
    for _ in range(2):
        with libecs.local() as ecs, ecs.environment(lab()) as env:
            for _ in range(2):
                with env.run() as run:
                    numbers.append(run.number)

    assert numbers == [1, 2, 3, 4]
    assert (place.home / "state" / "ecs" / "runs.sqlite").exists()


def test_variables_and_properties_reach_the_tasks(tmp_path: Path) -> None:
    chain = {"payload": "64", "report_dir": str(tmp_path), "hosts": '["here"]'}
    with libecs.local(
        nodes=[libecs.NodeDescription(name="here")], repo=examples() / "demo", defaults=defaults()
    ) as ecs:
        with ecs.environment("demo", {**chain, "rate": 50}) as env, env.run(duration="1s") as run:
            run.wait()
    assert run.record is not None
    seconds = (run.record.end_ms - run.record.start_ms) / 1000

    reports = [json.loads(path.read_text()) for path in tmp_path.glob("demo.here.*.source-run1.json")]
    assert len(reports) == 2
    for report in reports:
        (account,) = report["sources"].values()
        assert 0 < account["count"] <= 50 * seconds + 50


def test_tasks_tell_where_they_run_and_what_they_do() -> None:
    with libecs.local(nodes=2) as ecs, ecs.environment(lab(a=libecs.task(SLEEP, mode="basic"))) as env:
        (before,) = env.tasks("lab.a")
        with env.run():
            (during,) = env.tasks("**")
            assert Path(f"/proc/{during.pid}/comm").read_text() == "sleep\n"

    assert (before.node, before.state.name, before.pid) == ("node1", "CONFIGURED", 0)
    assert during.state.name == "RUNNING"


def test_task_that_dies_in_a_run_is_the_cause_and_recover_helps() -> None:
    talkative = libecs.task(["sh", "-c", "echo no more film; sleep 1000"], mode="basic")
    with libecs.local() as ecs, ecs.environment(lab(camera=talkative)) as env:
        broken = env.run()
        with pytest.raises(libecs.RunFailed) as caught, broken:
            events = env.events()
            os.kill(env.tasks()[0].pid, signal.SIGTERM)
            broken.wait(60)
        with pytest.raises(libecs.RunFailed):
            env.control("CONFIGURE")
        env.recover()
        with env.run() as run:
            assert run.going

    assert "critical task lab.camera on node node1 killed by signal 15" in caught.value.cause
    assert (broken.condition, run.condition, run.number) == ("FAILED", "GOOD", broken.number + 1)
    assert next(events).environment == env.id


def test_task_that_ends_well_or_not_at_all_is_named_with_its_exit_code() -> None:
    failing = libecs.task(["sh", "-c", "echo bad voltage >&2; exit 3"], mode="basic")
    with libecs.local() as ecs, ecs.environment(lab(hv=failing)) as env:
        with pytest.raises(libecs.RunFailed) as caught, env.run() as run:
            run.wait(60)

    assert "exited with code 3" in caught.value.cause
    assert "bad voltage" in caught.value.cause


def test_program_that_does_not_exist_fails_the_deployment_with_its_reason(left: Left) -> None:
    with libecs.local() as ecs:
        with pytest.raises(libecs.TransitionFailed) as caught:
            ecs.environment(lab(ghost=libecs.task("/nowhere/ghost")))
        assert ecs.environments() == []

    assert "lab.ghost" in caught.value.cause
    assert "could not be started" in caught.value.cause
    assert left() == []


def test_template_error_comes_with_its_place() -> None:
    with libecs.local(repo=examples() / "demo") as ecs:
        with pytest.raises(libecs.TemplateError, match=r"demo\.yaml:\d+"):
            ecs.environment("demo", {"hosts": "nonsense"})
        with pytest.raises(libecs.NotFound, match="did you mean demo"):
            ecs.environment("demoo")


def test_no_place_for_a_task_is_said_with_reasons() -> None:
    with libecs.local(nodes=1, repo=examples() / "demo", defaults=defaults()) as ecs:
        with pytest.raises(libecs.TransitionFailed) as caught:
            ecs.environment("demo")

    assert "no node with machine_id = node2" in str(caught.value)


# faces


async def test_async_face_is_the_same(left: Left) -> None:
    async with libecs.local() as ecs, ecs.environment(lab()) as env:
        async with env.run(duration="50ms") as run:
            await run.wait()
        assert (await env.tasks()).states == {"lab.clock": "CONFIGURED"}

    assert run.condition == "GOOD"
    assert left() == []


async def test_sync_face_works_inside_a_running_loop() -> None:
    with libecs.local() as ecs, ecs.environment(lab()) as env:
        assert env.state == "CONFIGURED"


async def test_async_exception_stops_the_run_and_destroys(left: Left) -> None:
    with pytest.raises(ZeroDivisionError):
        async with libecs.local() as ecs, ecs.environment(lab()) as env, env.run() as run:
            raise ZeroDivisionError

    assert run.end_reason == "USER_EXCEPTION"
    assert left() == []


def test_environment_that_was_forgotten_ends_with_its_session(left: Left) -> None:
    with libecs.local() as ecs:
        ecs.environment(lab()).control("START")
        assert ecs.environments()[0].state == "RUNNING"

    assert left() == []


def test_ctrl_c_in_a_script_stops_the_run(place: Place, left: Left) -> None:
    process = place.script(
        "import libecs, sys\n"
        "lab = libecs.workflow('lab', tasks={'clock': libecs.task('sleep 1000', mode='basic')})\n"
        "with libecs.local() as ecs, ecs.environment(lab) as env:\n"
        "    run = env.run()\n"
        "    try:\n"
        "        with run:\n"
        "            print('running', flush=True)\n"
        "            run.wait()\n"
        "    except KeyboardInterrupt:\n"
        "        print(env.state, run.condition, run.end_reason, flush=True)\n"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=200)

    assert out == "CONFIGURED GOOD USER_EXCEPTION\n", err
    assert process.returncode == 0
    assert left() == []


def test_forked_child_is_refused_and_the_parent_goes_on(place: Place, left: Left) -> None:
    process = place.script(
        "import libecs, os, sys\n"
        "lab = libecs.workflow('lab', tasks={'clock': libecs.task('sleep 1000', mode='basic')})\n"
        "with libecs.local() as ecs, ecs.environment(lab) as env:\n"
        "    if os.fork() == 0:\n"
        "        try:\n"
        "            env.control('START')\n"
        "        except libecs.Conflict as error:\n"
        "            print('child:', error.message, flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    print('parent:', env.control('START'), flush=True)\n"
    )
    out, err = process.communicate(timeout=200)

    assert out.splitlines()[0].startswith("child: this session belongs to process"), err
    assert out.splitlines()[1] == "parent: RUNNING"
    assert left() == []


# the session itself


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"orphans": "keep"}, "orphans="),
        ({"orphans": "adopt"}, "temporary state"),
        ({"nodes": 0}, "at least one node"),
    ],
)
def test_wrong_arguments_are_usage_errors(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(libecs.UsageError, match=reason):
        libecs.local(**arguments)


def test_session_is_entered_once() -> None:
    session = libecs.local()
    with session:
        pass

    with pytest.raises(libecs.UsageError, match="entered before"), session:
        pass


async def test_async_session_is_entered_once() -> None:
    session = libecs.local()
    async with session:
        pass

    with pytest.raises(libecs.UsageError, match="entered before"):
        await session.__aenter__()


def test_missing_repository_is_not_found_and_leaves_nothing(left: Left) -> None:
    with pytest.raises(libecs.NotFound, match="there is no repository"), libecs.local(repo="/nowhere"):
        pass

    assert left() == []


def test_import_is_quick_and_names_are_there() -> None:
    code = "import sys, libecs; print(len([m for m in sys.modules if m.startswith(('libecs.', 'attr', 'zmq'))]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert int(done.stdout) <= 2
    for name in libecs.__all__:
        assert getattr(libecs, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'frog'"):
        _ = libecs.frog


async def make(ecs: AsyncEcs, number: int) -> AsyncEnvironment:
    return await ecs.environment(lab(), name=f"lab-{number}")


async def test_many_environments_at_once_do_not_wait_for_each_other() -> None:
    async with libecs.local() as ecs:
        made = await asyncio.gather(*(make(ecs, n) for n in range(3)))
        states = [env.state for env in made]
        await asyncio.gather(*(env.destroy() for env in made))

    assert states == ["CONFIGURED"] * 3
