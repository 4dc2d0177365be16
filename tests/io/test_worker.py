"""The process that expands templates: what it gives, and what becomes of it when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from libecs.config.tree import Tree
from libecs.io.expander import ExpansionJob, ExpansionResult, run_job
from libecs.io.repository import FolderRepository, Repositories
from libecs.io.worker import ExpansionWorker

pytestmark = pytest.mark.timeout(180)

TASK = "name: t\ncommand: {value: x}\n"
WORKFLOW = """
name: w
vars: {seen: "{{ v }}{{ uid.New() }}", got: "{{ runtime.Get('mine', 'key') }}", set: "{{ runtime.Set('a', 'b', 'c') }}"}
roles: [{name: t, task: {load: t}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with a workflow, a wrong one, and one whose file is a pipe: whoever reads it waits for a writer."""
    for name, text in {"workflows/w.yaml": WORKFLOW, "workflows/bad.yaml": "name: bad", "tasks/t.yaml": TASK}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "workflows" / "waits.yaml")
    return tmp_path


@pytest.fixture
def templates(folder: Path) -> Repositories:
    return Repositories(FolderRepository(path=folder, name="here"))


@pytest.fixture
def worker() -> Iterator[ExpansionWorker]:
    worker = ExpansionWorker()
    yield worker
    worker.close()


def job(workflow: str = "w") -> ExpansionJob:
    tree = Tree({"o2/runtime/mine/key": "kept"})
    return ExpansionJob(job="e1", workflow=workflow, variables={"v": "1"}, tree=tree, integrations={})


class Running:
    """One job in a thread of its own."""

    def __init__(self, worker: ExpansionWorker, templates: Repositories, workflow: str) -> None:
        self.results: list[ExpansionResult] = []
        self._thread = threading.Thread(target=lambda: self.results.append(worker.run(templates, job(workflow))))
        self._thread.start()

    def result(self) -> ExpansionResult:
        self._thread.join(60)
        (result,) = self.results
        return result


def test_it_gives_what_a_thread_gives_and_lives_on(worker: ExpansionWorker, templates: Repositories) -> None:
    first = worker.run(templates, job())
    pid = worker.pid
    bad = worker.run(templates, job("bad"))
    again = worker.run(templates, job())

    assert first == again == run_job(templates, job())
    assert first.workflow is not None
    assert first.writes == {"o2/runtime/a/b": "c"}
    assert (bad.workflow, bad.code) == (None, "E_TEMPLATE")
    assert bad == run_job(templates, job("bad"))
    assert worker.pid == pid is not None


def test_keys_that_are_missing_are_told(worker: ExpansionWorker, templates: Repositories) -> None:
    partial = ExpansionJob(job="e1", workflow="w", variables={}, tree=Tree(complete=False), integrations={})

    assert worker.run(templates, partial).missing == ("o2/runtime/aliecs/vars/",)


def test_one_that_was_ended_while_idle_is_replaced(worker: ExpansionWorker, templates: Repositories) -> None:
    worker.run(templates, job())
    first = worker.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    result = worker.run(templates, job())

    assert result.workflow is not None
    assert worker.pid not in (None, first)


def test_a_job_that_takes_too_long_is_ended_and_the_next_one_works(folder: Path, templates: Repositories) -> None:
    worker = ExpansionWorker(limit_s=0.2)
    try:
        slow = worker.run(templates, job("waits"))
        assert (slow.workflow, slow.code) == (None, "E_FAILED")
        assert "waits: expansion took more than 0.2 s and was ended" in slow.message
        assert worker.pid is None
    finally:
        worker.close()


def test_a_process_that_dies_at_work_fails_that_job_only(
    folder: Path, worker: ExpansionWorker, templates: Repositories
) -> None:
    running = Running(worker, templates, "waits")
    with open(folder / "workflows" / "waits.yaml", "w"):  # it is reading
        pid = worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        result = running.result()

    assert (result.workflow, result.code) == (None, "E_FAILED")
    assert "the process that expanded it ended" in result.message
    assert worker.run(templates, job()).workflow is not None


def test_closing_ends_the_job_that_runs(folder: Path, worker: ExpansionWorker, templates: Repositories) -> None:
    running = Running(worker, templates, "waits")
    with open(folder / "workflows" / "waits.yaml", "w"):
        worker.close()
        result = running.result()

    assert (result.workflow, result.code) == (None, "E_FAILED")
    assert "closed meanwhile" in result.message
    assert "the control system is closed" in worker.run(templates, job()).message
    worker.start()
    assert worker.pid is None


def test_the_process_ends_when_nobody_asks_any_more() -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    code = "from libecs.io.worker import main; main()"

    ended = subprocess.run(
        [sys.executable, "-P", "-c", code, str(4 << 30)],
        input=b"",
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout) == (0, b"")


def test_memory_is_limited_and_engines_come_first(templates: Repositories) -> None:
    worker = ExpansionWorker(memory_bytes=3 << 30)
    try:
        worker.run(templates, job())
        limits = Path(f"/proc/{worker.pid}/limits").read_text()
        assert str(3 << 30) in next(line for line in limits.splitlines() if line.startswith("Max address space"))
        assert worker.pid is not None
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) >= min(19, ours + 1)
    finally:
        worker.close()


def test_without_a_process_a_thread_does_it(
    worker: ExpansionWorker,
    templates: Repositories,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    assert worker.run(templates, job()).workflow is not None
    assert "no process for expansion" in caplog.text


def script(folder: Path, text: str) -> str:
    path = folder / "interpreter"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("head -c 8 > /dev/null; printf +; exit 3", "the process that expanded it ended"),
        (r"head -c 8 > /dev/null; printf '+\0\0\0\0\0\0\0\002xx'; cat > /dev/null", "answered nonsense"),
    ],
)
def test_a_process_that_is_none_of_ours_fails_the_job(
    folder: Path,
    worker: ExpansionWorker,
    templates: Repositories,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    reason: str,
) -> None:
    monkeypatch.setattr(sys, "executable", script(folder, text))

    result = worker.run(templates, job())

    assert (result.workflow, result.code) == (None, "E_FAILED")
    assert reason in result.message
    assert worker.pid is None


def test_a_process_that_does_not_get_ready_fails_the_job(
    folder: Path, templates: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", script(folder, "cat > /dev/null"))
    worker = ExpansionWorker(start_s=0.1)

    result = worker.run(templates, job())

    assert "no process for expansion is ready within 0.1 s" in result.message
    assert worker.pid is None


def test_where_processes_take_no_jobs_a_thread_does_it(
    folder: Path,
    worker: ExpansionWorker,
    templates: Repositories,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sys, "executable", script(folder, "exit 3"))

    assert worker.run(templates, job()).workflow is not None
    assert "w is expanded in a thread: no process can be started" in caplog.text
