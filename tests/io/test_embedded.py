"""A whole control system in this process, with real tasks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_asyncio

from libecs.config.tree import Tree
from libecs.errors import Conflict, EcsError, UsageError
from libecs.fsm import EnvState
from libecs.io import procfs
from libecs.io.embedded import ClientLink, Embedded, EmbeddedSettings, NodeDescription
from libecs.io.integrations_file import functions_of_file
from libecs.io.repository import TextRepository
from libecs.wire.client import (
    Accepted,
    Control,
    Create,
    Destroy,
    Environments,
    Events,
    Finished,
    Runs,
    Show,
    ShowRuns,
    Subscribe,
)
from libecs.wire.info import EnvironmentInfo, Event, RunCondition, RunInfo
from tests.processes import gone

pytestmark = pytest.mark.timeout(150)  # several processes are started, one after the other

WAIT_S = 30
HERE = Path(__file__).parent
FILES = {
    "workflows/lab.yaml": """
name: lab
defaults: {hosts: '["n1", "n2"]', crash: ""}
roles:
  - name: "host-{{ it }}"
    for: {range: "{{ hosts }}", var: it}
    constraints: [{attribute: machine_id, value: "{{ it }}"}]
    roles:
      - name: daq
        task: {load: daq}
  - name: begin
    call: {func: dcs.StartOfRun(), trigger: before_START_ACTIVITY, timeout: 5s, critical: true}
""",
    "tasks/daq.yaml": """
name: daq
control: {mode: direct}
command:
  value: "{{ python }}"
  arguments: ["{{ here }}/occ_task.py", "{{ crash }}"]
""",
}


class Client:
    """A client that keeps everything it hears."""

    def __init__(self, embedded: Embedded) -> None:
        self.embedded = embedded
        self.link: ClientLink = embedded.connect(self.receive)
        self.messages: list[object] = []
        self.number = 0
        self._changed = asyncio.Event()

    def receive(self, message: object) -> None:
        self.messages.append(message)
        self._changed.set()

    async def until(self, find: Callable[[], Any]) -> Any:
        while (found := find()) is None:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), WAIT_S)
        return found

    async def operate(self, message: Create | Control | Destroy) -> Finished:
        self.number += 1
        message = attrs.evolve(message, operation=f"{secrets.token_hex(4)}-{self.number}")
        self.link.send(message)
        finished: Finished = await self.until(
            lambda: next(
                (m for m in self.messages if isinstance(m, Finished) and m.operation == message.operation), None
            )
        )
        return finished

    async def create(self, workflow: str = "lab", **variables: str) -> str:
        finished = await self.operate(Create(operation="", workflow=workflow, variables=variables))
        assert finished.code == "", finished
        assert finished.state is EnvState.CONFIGURED
        return finished.environment

    async def control(self, environment: str, event: str) -> Finished:
        return await self.operate(Control(operation="", environment=environment, event=event))

    async def show(self, environment: str = "") -> list[EnvironmentInfo]:
        self.number += 1
        request = f"rq{self.number}"
        self.link.send(Show(request=request, environment=environment))

        def parts() -> list[Environments] | None:
            found = [m for m in self.messages if isinstance(m, Environments) and m.request == request]
            return found if found and not found[-1].more else None

        return [one for part in await self.until(parts) for one in part.environments]

    async def runs(self) -> list[RunInfo]:
        self.number += 1
        request = f"rq{self.number}"
        self.link.send(ShowRuns(request=request))
        answer: Runs = await self.until(
            lambda: next((m for m in self.messages if isinstance(m, Runs) and m.request == request), None)
        )
        return list(answer.runs)

    @property
    def events(self) -> list[Event]:
        return [event for message in self.messages if isinstance(message, Events) for event in message.events]


def settings(tmp_path: Path, shim: Path, **changes: Any) -> EmbeddedSettings:
    integrations = tmp_path / "integrations.yaml"
    if not integrations.exists():
        integrations.write_text("dcs.StartOfRun: ok\n")
    base = EmbeddedSettings(
        nodes=(NodeDescription(name="n1"), NodeDescription(name="n2")),
        repository=TextRepository(name="texts", files=FILES),
        functions=(functions_of_file(integrations),),
        calls=tmp_path / "calls.jsonl",
        defaults={"python": sys.executable, "here": str(HERE)},
        environment={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        runs=tmp_path / "runs.sqlite",
        shim=shim,
        encoded=True,
    )
    return attrs.evolve(base, **changes)


@contextlib.asynccontextmanager
async def running(options: EmbeddedSettings) -> AsyncIterator[Embedded]:
    embedded = Embedded(options)
    await embedded.start()
    try:
        yield embedded
    except BaseException:
        await embedded.close(stop=True)
        raise
    await embedded.close()


@pytest_asyncio.fixture
async def embedded(tmp_path: Path, shim: Path) -> AsyncIterator[Embedded]:
    async with running(settings(tmp_path, shim)) as embedded:
        yield embedded


def folders(embedded: Embedded) -> tuple[Path, Path]:
    assert embedded._folder is not None
    return embedded._folder.path, embedded._folder.sockets


async def test_a_run_from_beginning_to_end_leaves_nothing(tmp_path: Path, shim: Path) -> None:
    async with running(settings(tmp_path, shim)) as embedded:
        client = Client(embedded)
        client.link.send(Subscribe(request="s"))
        environment = await client.create()
        (info,) = await client.show(environment)
        pids = [task.pid for task in info.tasks]
        assert (await client.control(environment, "START_ACTIVITY")).run_number == 1
        assert (await client.control(environment, "STOP_ACTIVITY")).state is EnvState.CONFIGURED
        assert (await client.control(environment, "START_ACTIVITY")).run_number == 2
        assert (await client.control(environment, "STOP_ACTIVITY")).code == ""
        runs = await client.runs()
        assert (await client.operate(Destroy(operation="", environment=environment))).state is EnvState.DONE
        journal = embedded.events()
        state, sockets = folders(embedded)
        instance = embedded.instance

    assert [task.node for task in info.tasks] == ["n1", "n2"]
    assert all(pids)
    assert [(run.number, run.condition) for run in runs] == [(1, RunCondition.GOOD), (2, RunCondition.GOOD)]
    assert [event.sequence for event in journal] == list(range(1, len(journal) + 1))
    assert client.events == journal[-len(client.events) :]
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert [(call["function"], call["run_number"], call["ok"]) for call in calls] == [
        ("dcs.StartOfRun", 1, True),
        ("dcs.StartOfRun", 2, True),
    ]
    assert [os.path.exists(path) for path in (state, sockets)] == [False, False]  # noqa: ASYNC240
    assert all(procfs.read_stat(pid) is None for pid in pids)
    assert procfs.marked_processes(f"{instance}/") == {}


async def test_a_task_that_dies_in_a_run_is_named_with_its_last_words(embedded: Embedded) -> None:
    client = Client(embedded)
    client.link.send(Subscribe(request="s"))
    environment = await client.create(hosts='["n2"]', crash="crash")

    finished = await client.control(environment, "START_ACTIVITY")

    assert finished.code != ""
    (info,) = await client.show(environment)
    assert info.state is EnvState.ERROR
    assert "exited with code 3" in info.cause
    assert "the detector is on fire" in info.cause
    assert "n2" in info.cause


async def test_a_killed_task_is_noticed_at_once(embedded: Embedded) -> None:
    client = Client(embedded)
    client.link.send(Subscribe(request="s"))
    environment = await client.create()
    await client.control(environment, "START_ACTIVITY")
    (info,) = await client.show(environment)

    os.kill(info.tasks[0].pid, signal.SIGKILL)

    await client.until(
        lambda: next((e for e in client.events if e.kind == "environment.state" and e.state == "ERROR"), None)
    )
    (info,) = await client.show(environment)
    assert "killed by signal 9" in info.cause


async def test_closing_ends_the_tasks_of_environments_that_still_run(tmp_path: Path, shim: Path) -> None:
    async with running(settings(tmp_path, shim)) as embedded:
        client = Client(embedded)
        environment = await client.create()
        await client.control(environment, "START_ACTIVITY")
        (info,) = await client.show(environment)
        state, sockets = folders(embedded)

    assert all(procfs.read_stat(task.pid) is None for task in info.tasks)
    assert [os.path.exists(path) for path in (state, sockets)] == [False, False]  # noqa: ASYNC240


async def test_what_a_script_made_is_a_workflow_too(embedded: Embedded) -> None:
    client = Client(embedded)
    name = embedded.add_workflow(
        "mine",
        {
            "workflows/mine.yaml": "name: mine\nroles: [{name: t, task: {load: daq}}]",
            "tasks/daq.yaml": FILES["tasks/daq.yaml"].replace("{{ crash }}", ""),
        },
    )

    environment = await client.create(name)

    (info,) = await client.show(environment)
    assert info.workflow == "mine"


async def test_an_expansion_that_fails_is_the_answer(embedded: Embedded) -> None:
    client = Client(embedded)

    finished = await client.operate(Create(operation="", workflow="missing"))

    assert finished.code == "E_NOT_FOUND"
    assert "lab" in finished.message


@pytest.mark.parametrize(("kept", "cap"), [(False, 2 * 1024 * 1024), (True, 16 * 1024 * 1024)])
async def test_a_temporary_session_keeps_less_of_what_tasks_write(
    tmp_path: Path, shim: Path, kept: bool, cap: int
) -> None:
    async with running(settings(tmp_path, shim, state=tmp_path / "state" if kept else None)) as embedded:
        await Client(embedded).create(hosts='["n1"]')
        assert embedded.state is not None
        (told,) = embedded.state.glob("**/spec.bin")
        assert f"stdout_cap={cap}\0".encode() in told.read_bytes()


async def test_an_answer_that_no_wire_would_carry_arrives_all_the_same(embedded: Embedded) -> None:
    client = Client(embedded)
    texts = [str(number) * 5_000_000 for number in range(2)]
    for text in texts:
        await client.operate(Create(operation="", workflow="lab", variables={"text": text}, target=EnvState.STANDBY))

    shown = await client.show()

    assert [one.variables["text"] for one in shown] == texts


async def test_a_client_that_left_hears_nothing(embedded: Embedded) -> None:
    client = Client(embedded)
    client.link.send(Subscribe(request="s"))
    client.link.close()
    client.link.close()
    client.link.send(Show(request="late"))
    other = Client(embedded)
    await other.create()

    assert not any(isinstance(message, Accepted | Environments) for message in client.messages)


async def test_run_numbers_go_on_in_the_next_session(tmp_path: Path, shim: Path) -> None:
    numbers = []
    for _ in range(2):
        async with running(settings(tmp_path, shim)) as embedded:
            client = Client(embedded)
            environment = await client.create(hosts='["n1"]')
            numbers.append((await client.control(environment, "START_ACTIVITY")).run_number)
    assert numbers == [1, 2]


async def test_a_run_counter_that_fails_fails_the_start(tmp_path: Path, shim: Path) -> None:
    (tmp_path / "runs.sqlite").mkdir()
    async with running(settings(tmp_path, shim)) as embedded:
        client = Client(embedded)
        environment = await client.create(hosts='["n1"]')

        finished = await client.control(environment, "START_ACTIVITY")

        assert finished.code != ""
        assert "no run number" in finished.message + finished.cause


async def test_nodes_of_one_session_have_ports_of_their_own_that_are_free(embedded: Embedded) -> None:
    ranges = [set[int](), set[int]()]
    for ports, node in zip(ranges, embedded.nodes.values(), strict=True):
        for low, high in node.engine.settings.ports:
            ports.update(range(low, high + 1))

    assert [len(ports) for ports in ranges] == [200, 200]
    assert not ranges[0] & ranges[1]
    assert any(can_listen(port) for port in ranges[0])  # somebody else may have come meanwhile


def can_listen(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


async def test_two_sessions_live_beside_each_other(embedded: Embedded, tmp_path: Path, shim: Path) -> None:
    async with running(settings(tmp_path, shim)) as other:
        first, second = await asyncio.gather(Client(embedded).create(), Client(other).create())

    assert first != second


async def test_a_state_folder_is_kept_and_has_one_owner(tmp_path: Path, shim: Path) -> None:
    options = settings(tmp_path, shim, state=tmp_path / "state")
    async with running(options) as embedded:
        instance = embedded.instance
        with pytest.raises(Conflict, match=f"in use by process {os.getpid()}"):
            await Embedded(options).start()
        await Client(embedded).create()

    async with running(options) as embedded:
        assert embedded.instance == instance
        assert embedded.state == tmp_path / "state"
        assert embedded.events()[0].sequence == 1
    assert not os.path.exists(folders(embedded)[1])  # noqa: ASYNC240


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [(("n1", "n1"), "two nodes are named n1"), (("a/b",), "no name of a node"), (("client:1",), "no name of a node")],
)
async def test_names_of_nodes_are_checked(tmp_path: Path, shim: Path, nodes: tuple[str, ...], reason: str) -> None:
    described = tuple(NodeDescription(name=name) for name in nodes)

    with pytest.raises(UsageError, match=reason):
        await Embedded(settings(tmp_path, shim, nodes=described)).start()


async def test_what_cannot_start_says_why_and_leaves_nothing(tmp_path: Path, shim: Path) -> None:
    (tmp_path / "state").write_text("a file")
    embedded = Embedded(settings(tmp_path, shim, state=tmp_path / "state"))

    with pytest.raises(EcsError, match="no folder for the state: File exists"):
        await embedded.start()
    with pytest.raises(UsageError, match="started already"):
        await embedded.start()
    await embedded.close()


async def test_before_the_start_there_is_no_journal(tmp_path: Path, shim: Path) -> None:
    embedded = Embedded(settings(tmp_path, shim))

    with pytest.raises(UsageError, match="was not started"):
        embedded.events()
    assert (embedded.state, embedded.instance) == (None, "")
    await embedded.close()


async def test_an_engine_that_stops_is_reported_once(tmp_path: Path, shim: Path) -> None:
    failures: list[BaseException] = []
    embedded = Embedded(settings(tmp_path, shim), on_failure=failures.append)
    await embedded.start()
    client = Client(embedded)
    assert embedded._store is not None
    embedded._store._db.execute("DROP TABLE records")

    client.link.send(Create(operation="1", workflow="lab"))
    while not failures:
        await asyncio.sleep(0)

    assert failures == [embedded.failure]
    assert "cannot be written" in str(failures[0])
    await embedded.close()


async def test_the_tree_and_the_overlay_reach_expansion(tmp_path: Path, shim: Path) -> None:
    over = tmp_path / "over"
    over.mkdir()
    (over / "daq.yaml").write_text("command:\n  value: /no/such/program\n")
    tree = Tree.of({"o2/runtime/aliecs/vars": {"hosts": '["n1"]'}})
    async with running(settings(tmp_path, shim, tasks=over, tree=tree)) as embedded:
        finished = await Client(embedded).operate(Create(operation="", workflow="lab"))

    assert "/no/such/program" in finished.message + finished.cause
    assert list(finished.failures) == ["lab.host-n1.daq"]


# a session that is killed


SESSION = """
import asyncio, pathlib, sys, json
from tests.io.test_embedded import Client, Embedded, settings
from libecs.wire.client import Show

async def main():
    tmp, shim, orphans, orphan_s = sys.argv[1:5]
    tmp = pathlib.Path(tmp)
    options = settings(tmp, pathlib.Path(shim), state=tmp / "state", orphans=orphans, orphan_s=float(orphan_s))
    embedded = Embedded(options)
    await embedded.start()
    client = Client(embedded)
    environment = await client.create()
    number = (await client.control(environment, "START_ACTIVITY")).run_number
    (info,) = await client.show(environment)
    print(json.dumps([environment, number, [task.pid for task in info.tasks]]), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class KilledSession:
    """A session of another process in RUNNING, which is then killed."""

    def __init__(self, tmp_path: Path, shim: Path, orphans: str, orphan_s: float) -> None:
        root = HERE.parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *(p for p in sys.path if p)])}
        command = [sys.executable, "-c", SESSION, str(tmp_path), str(shim), orphans, str(orphan_s)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)

    def wait(self) -> tuple[str, int, list[int]]:
        assert self.process.stdout is not None
        environment, number, pids = json.loads(self.process.stdout.readline())
        return environment, number, pids

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


async def test_tasks_of_a_killed_session_stop(tmp_path: Path, shim: Path) -> None:
    session = KilledSession(tmp_path, shim, "stop", 0.2)
    _, _, pids = await asyncio.to_thread(session.wait)

    session.kill()

    for pid in pids:
        await gone(pid)
    async with running(settings(tmp_path, shim, state=tmp_path / "state")) as embedded:
        client = Client(embedded)
        async with asyncio.timeout(WAIT_S):  # a shim may still be writing how its task ended
            while (await client.show())[0].state is not EnvState.ERROR:
                pass


async def test_a_killed_session_is_adopted_with_its_tasks_and_its_run(tmp_path: Path, shim: Path) -> None:
    session = KilledSession(tmp_path, shim, "adopt", 0)
    environment, number, pids = await asyncio.to_thread(session.wait)
    session.kill()

    async with running(settings(tmp_path, shim, state=tmp_path / "state", orphans="adopt")) as embedded:
        client = Client(embedded)
        client.link.send(Subscribe(request="s"))
        (info,) = await client.show()
        assert (info.environment, info.state, info.run_number) == (environment, EnvState.RUNNING, number)
        assert [task.pid for task in info.tasks] == pids
        finished = await client.control(environment, "STOP_ACTIVITY")
        assert (finished.code, finished.state) == ("", EnvState.CONFIGURED)
        assert [(run.number, run.end_ms > 0) for run in await client.runs()] == [(number, True)]
        assert (await client.operate(Destroy(operation="", environment=environment))).state is EnvState.DONE

    for pid in pids:
        await gone(pid)


async def test_a_session_that_adopts_leaves_its_tasks_when_it_is_closed(tmp_path: Path, shim: Path) -> None:
    options = settings(tmp_path, shim, state=tmp_path / "state", orphans="adopt")
    async with running(options) as embedded:
        client = Client(embedded)
        environment = await client.create()
        (before,) = await client.show(environment)

    async with running(options) as embedded:
        client = Client(embedded)
        (after,) = await client.show(environment)
        assert [task.pid for task in after.tasks] == [task.pid for task in before.tasks]
        finished = await client.operate(Destroy(operation="", environment=environment))
        assert finished.state is EnvState.DONE
