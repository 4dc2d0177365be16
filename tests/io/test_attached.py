"""Tasks that somebody else started: taken as they are found, controlled, let go, never ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from libecs.fsm import EnvState
from libecs.io.embedded import EmbeddedSettings, NodeDescription
from libecs.io.repository import TextRepository
from libecs.wire.client import Destroy, Subscribe
from tests.io.places import own_host
from tests.io.test_embedded import Client, running, settings

HERE = Path(__file__).parent
pytestmark = pytest.mark.timeout(150)  # several processes are started, one after the other


class Somebody:
    """Who starts the task, on an endpoint that stays the same, and asks how it is."""

    def __init__(self) -> None:
        self.endpoint = f"tcp://{own_host()}:47110"
        self._lines: list[str] = []
        self.start()

    def start(self) -> None:
        root = HERE.parents[1]
        environment = {
            **os.environ,
            "OCC_CONTROL_ENDPOINT": self.endpoint,
            "PYTHONPATH": os.pathsep.join([str(root), *(p for p in sys.path if p)]),
        }
        command = [sys.executable, str(HERE / "occ_task.py")]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.states()

    def states(self, until: str = "STANDBY") -> list[str]:
        """Return the states that the task went through since the last time, once it is in `until`."""
        assert self.process.stdout is not None
        seen: list[str] = []
        while not seen or seen[-1] != until:
            seen.append(self.process.stdout.readline().removeprefix("state ").strip())
            assert seen[-1], "the task has ended"
        return seen

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def somebody() -> Iterator[Somebody]:
    somebody = Somebody()
    yield somebody
    somebody.kill()


@pytest.fixture
def options(tmp_path: Path, shim: Path, somebody: Somebody) -> EmbeddedSettings:
    files = {
        "workflows/lab.yaml": "name: lab\nroles:\n  - name: trigger\n    task: {load: trigger}\n",
        "tasks/trigger.yaml": f"name: trigger\ncontrol: {{mode: direct, endpoint: '{somebody.endpoint}'}}\n",
    }
    base = settings(tmp_path, shim)
    return attrs.evolve(base, nodes=(NodeDescription(name="n1"),), repository=TextRepository(name="texts", files=files))


async def test_an_attached_task_takes_part_in_runs_and_outlives_its_environments(
    somebody: Somebody, options: EmbeddedSettings
) -> None:
    for number in (1, 2):
        async with running(options) as embedded:
            client = Client(embedded)
            environment = await client.create()
            (info,) = await client.show(environment)
            assert [task.pid for task in info.tasks] == [somebody.process.pid]
            assert (await client.control(environment, "START_ACTIVITY")).run_number == number
            assert (await client.control(environment, "STOP_ACTIVITY")).code == ""
            finished = await client.operate(Destroy(operation="", environment=environment))
            assert finished.state is EnvState.DONE
        assert somebody.states() == ["CONFIGURED", "RUNNING", "CONFIGURED", "STANDBY"]

    assert somebody.process.poll() is None


async def test_a_task_that_its_last_controller_left_running_is_taken_from_it(
    somebody: Somebody, options: EmbeddedSettings
) -> None:
    async with running(options) as embedded:
        client = Client(embedded)
        environment = await client.create()
        await client.control(environment, "START_ACTIVITY")
    assert somebody.states("RUNNING") == ["CONFIGURED", "RUNNING"]

    async with running(options) as embedded:
        environment = await Client(embedded).create()
        assert somebody.states("CONFIGURED") == ["CONFIGURED"]
        assert somebody.states("CONFIGURED") == ["STANDBY", "CONFIGURED"]

    assert somebody.process.poll() is None


async def test_a_task_that_somebody_starts_anew_in_a_run_ends_the_run(
    somebody: Somebody, options: EmbeddedSettings
) -> None:
    async with running(options) as embedded:
        client = Client(embedded)
        client.link.send(Subscribe(request="s"))
        environment = await client.create()
        await client.control(environment, "START_ACTIVITY")
        old = somebody.process.pid
        somebody.kill()
        somebody.start()
        await client.until(lambda: next((e for e in client.events if e.state == "ERROR"), None))
        (info,) = await client.show(environment)
        assert info.state is EnvState.ERROR
        assert (
            f"was started anew by somebody while it was RUNNING (pid {old}, now {somebody.process.pid})" in info.cause
        )

        assert (await client.control(environment, "RECOVER")).code == ""
        assert (await client.control(environment, "CONFIGURE")).code == ""
        assert somebody.states("CONFIGURED") == ["CONFIGURED"]
