"""Numbers and lines of real tasks, on their whole way to who watches and to the record of the run."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from libecs.io.embedded import EmbeddedSettings, NodeDescription
from libecs.io.repository import TextRepository
from libecs.wire.client import Lines, Metrics, Runs, ShowRuns, Watch
from libecs.wire.telemetry import Severity
from tests.io.test_embedded import Client, running, settings

pytestmark = pytest.mark.timeout(150)  # several processes are started, one after the other

FILES = {
    "workflows/lab.yaml": """
name: lab
roles:
  - name: daq
    task: {load: daq}
  - name: digitizer
    task: {load: digitizer}
""",
    "tasks/daq.yaml": """
name: daq
control: {mode: direct}
command: {value: "{{ python }}", arguments: ["{{ here }}/occ_task.py"], stdout: all}
""",
    "tasks/digitizer.yaml": """
name: digitizer
control: {mode: basic}
command:
  shell: "true"
  value: "pwd; echo ERROR no card >&2; trap 'echo bye; exit 0' INT; while :; do sleep 0.01; done"
  stdout: all
  stderr: all
  cwd: "{{ folder }}"
stop: SIGINT
""",
}


@pytest.fixture
def options(tmp_path: Path, shim: Path) -> EmbeddedSettings:
    base = settings(tmp_path, shim)
    return attrs.evolve(
        base,
        nodes=(NodeDescription(name="n1"),),
        repository=TextRepository(name="texts", files=FILES),
        defaults={**base.defaults, "folder": str(tmp_path)},
    )


async def test_what_tasks_tell_in_a_run_is_seen_and_kept(options: EmbeddedSettings, tmp_path: Path) -> None:
    async with running(options) as embedded:
        client = Client(embedded)
        client.link.send(Watch(request="w", metrics=True, lines=True))
        environment = await client.create()
        await client.control(environment, "START_ACTIVITY")

        def lines() -> list[tuple[str, str, str, int]]:
            told = [one for one in client.messages if isinstance(one, Lines)]
            return [(line.role, line.line.stream, line.line.text, one.run) for one in told for line in one.lines]

        await client.until(lambda: ("lab.digitizer", "stdout", str(tmp_path), 1) in lines() or None)
        assert (await client.control(environment, "STOP_ACTIVITY")).code == ""
        client.link.send(ShowRuns(request="r", number=1))
        runs: Runs = await client.until(lambda: next((m for m in client.messages if isinstance(m, Runs)), None))
        wanted = {
            ("lab.digitizer", "stdout", "bye", 1),
            ("lab.digitizer", "stderr", "ERROR no card", 1),
            ("lab.daq", "log", "stopping", 1),
            ("lab.daq", "stdout", "state RUNNING", 1),
        }
        await client.until(lambda: wanted <= set(lines()) or None)
        await client.until(lambda: next((m for m in client.messages if isinstance(m, Metrics)), None))

    (run,) = runs.runs
    (metric,) = run.metrics
    assert (metric.role, metric.name, metric.n, metric.sum, metric.last) == ("lab.daq", "events", 2, 5, 4)
    told = [line.line for one in client.messages if isinstance(one, Lines) for line in one.lines]
    assert [line.severity for line in told if line.stream == "stderr"] == [Severity.ERROR]
