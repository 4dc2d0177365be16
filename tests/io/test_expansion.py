"""Expand, performed in a worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from libecs.config.tree import Tree
from libecs.engine.effects import Expand, Expanded
from libecs.errors import EcsError, Unreachable
from libecs.io.blocking import BlockingCalls
from libecs.io.expander import ExpansionJob, TaskOverlay, Templates, run_job
from libecs.io.expansion import Expansion, run_to_the_end, small_first
from libecs.io.repository import FolderRepository, Repositories, TextRepository
from libecs.io.worker import ExpansionWorker
from libecs.workflow.source import TemplateSource

FILES = {
    "workflows/w.yaml": """
name: w
defaults:
  from_default: none
vars:
  here: "{{ from_default }} {{ from_installation }} {{ user }} {{ odc.Script() }}"
  id: "{{ uid.New() }}"
  written: "{{ runtime.Set('mine', 'counter', 'set') }}"
roles:
  - name: t
    task: {load: t}
""",
    "workflows/read.yaml": """
name: read
vars: {read: "{{ runtime.Get('mine', 'counter') }}"}
roles: [{name: t, task: {load: t}}]
""",
    "workflows/broken.yaml": "name: broken\nroles:\n  - name: t\n    task: {load: missing}\n",
    "tasks/t.yaml": "name: t\ncommand:\n  value: real\n",
}
TREE = Tree.of({"o2/runtime/aliecs": {"defaults": {"from_installation": " trimmed "}, "vars": {}}})
INTEGRATIONS = {"odc.Script": "script"}


def job(workflow: str) -> ExpansionJob:
    return ExpansionJob(job="e1", workflow=workflow, variables={"user": "u"}, tree=TREE, integrations=INTEGRATIONS)


@pytest.fixture
def templates() -> Repositories:
    return Repositories(TextRepository(name="texts", files=FILES))


class Answers:
    def __init__(self, templates: Templates) -> None:
        self.queue: asyncio.Queue[Expanded] = asyncio.Queue()
        self.blocking = BlockingCalls()
        self.expansion = Expansion(
            self.queue.put_nowait,  # type: ignore[arg-type]
            templates,
            self.blocking,
            tree=TREE,
            integrations=INTEGRATIONS,
        )

    async def of(self, workflow: str) -> Expanded:
        self.expansion.expand(Expand(job="e1", environment="e1", workflow=workflow, variables={"user": "u"}))
        return await asyncio.wait_for(self.queue.get(), 30)


@pytest_asyncio.fixture
async def answers(templates: Repositories) -> AsyncIterator[Answers]:
    answers = Answers(templates)
    yield answers
    await answers.blocking.close()


async def test_a_workflow_sees_installation_integrations_and_request_and_gets_ids(answers: Answers) -> None:
    expanded = await answers.of("w")

    assert (expanded.job, expanded.code, expanded.message) == ("e1", "", "")
    assert expanded.workflow is not None
    root = expanded.workflow.roles[0]
    assert root.vars["here"] == "none trimmed u script"
    assert root.vars["id"].startswith("e1x")


def test_expanded_again_a_job_gives_the_same_ids(templates: Repositories) -> None:
    assert run_job(templates, job("w")) == run_job(templates, job("w"))


async def test_what_runtime_set_wrote_is_seen_by_the_next_expansion(answers: Answers) -> None:
    assert (await answers.of("read")).code != ""
    await answers.of("w")

    expanded = await answers.of("read")

    assert expanded.workflow is not None
    assert expanded.workflow.roles[0].vars["read"] == "set"
    assert answers.expansion.tree.get("o2/runtime/mine/counter") == "set"


@pytest.mark.parametrize(
    ("workflow", "code", "message"),
    [
        ("broken", "E_TEMPLATE", "workflows/broken.yaml:4"),
        ("missing", "E_NOT_FOUND", "no workflows/missing.yaml"),
        ("a/b/c", "E_INVALID", "names no template"),
        ("x@v1", "E_NOT_FOUND", "no revision 'v1'"),
    ],
)
async def test_an_error_of_expansion_is_an_answer_with_its_code(
    answers: Answers, workflow: str, code: str, message: str
) -> None:
    expanded = await answers.of(workflow)

    assert (expanded.workflow, expanded.code) == (None, code)
    assert message in expanded.message


def test_a_fault_of_ours_fails_the_job_and_nothing_else() -> None:
    class Broken:
        def open(self, workflow: str) -> tuple[Repositories, str]:
            raise ZeroDivisionError("oops")

    result = run_job(Broken(), job("w"))  # type: ignore[arg-type]

    assert (result.workflow, result.code, result.message) == (None, "E_FAILED", "w: ZeroDivisionError: oops")


def test_a_folder_of_tasks_is_laid_over(templates: Repositories, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("command:\n  value: mine\n")

    result = run_job(TaskOverlay(templates, tmp_path), job("w"))

    assert result.workflow is not None
    assert result.workflow.classes["t"].command == "mine"


class Store:
    """Keys that are far away, and what was asked for."""

    def __init__(self, texts: Mapping[str, str], error: EcsError | None = None) -> None:
        self.texts = texts
        self.error = error
        self.asked: list[tuple[str, ...]] = []

    def fetch(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(tuple(keys))
        if self.error is not None:
            raise self.error
        return {
            key: text
            for key, text in self.texts.items()
            if key in keys or any(wanted.endswith("/") and key.startswith(wanted) for wanted in keys)
        }


FAR = {
    "workflows/w.yaml": """
name: w
vars:
  host: "{{ runtime.Get('mine', 'host') }}"
roles:
  - name: a
    vars: {detector: "{{ inventory.DetectorForHost(host) }}", other: "{{ runtime.Get('mine', 'other') }}"}
    task: {load: t}
  - name: b
    vars:
      got: "{{ config.Get(config.Resolve('qc', 'PHYSICS', 'r', 'e')) }}"
    task: {load: t}
""",
    "tasks/t.yaml": FILES["tasks/t.yaml"],
}
STORE = {
    "o2/runtime/aliecs/vars/v": "1",
    "o2/runtime/mine/host": "flp1",
    "o2/runtime/mine/other": "o",
    "o2/hardware/detectors/TPC/flps/flp1/x": "",
    "o2/components/qc/ANY/any/e": "{% include 'part' %}",
    "o2/components/qc/ANY/any/part": "payload {{ v }}",
    "o2/unused": "",
}


def far_job() -> tuple[Repositories, ExpansionJob]:
    return (
        Repositories(TextRepository(name="far", files=FAR)),
        ExpansionJob(job="e1", workflow="w", variables={}, tree=Tree(complete=False), integrations={}),
    )


def test_what_is_missing_is_fetched_and_the_workflow_expanded_again() -> None:
    store = Store(STORE)

    result = run_to_the_end(*far_job(), store)

    assert result.workflow is not None, result.message
    assert result.workflow.roles[1].vars == {"detector": "TPC", "other": "o"}
    assert result.workflow.roles[2].vars == {"got": "payload 1"}
    fetched = [key for keys in store.asked for key in keys]
    assert len(fetched) == len(set(fetched)), "nothing is asked for twice"
    assert "o2/unused" not in fetched


def test_a_key_that_does_not_exist_is_an_error_as_with_a_store_that_is_near() -> None:
    store = Store({key: text for key, text in STORE.items() if "mine/host" not in key})

    result = run_to_the_end(*far_job(), store)

    assert (result.workflow, result.code) == (None, "E_EXPRESSION")
    assert "there is no runtime value mine/host" in result.message


def test_a_store_that_does_not_answer_is_an_error() -> None:
    result = run_to_the_end(*far_job(), Store({}, Unreachable("nobody answers")))

    assert (result.workflow, result.code, result.message) == (None, "E_UNREACHABLE", "nobody answers")


def test_without_a_store_missing_keys_are_an_error() -> None:
    result = run_to_the_end(*far_job(), None)

    assert (result.workflow, result.code) == (None, "E_MISSING")
    assert "w: missing configuration keys: o2/runtime/aliecs/vars/" in result.message


def has_process(worker: ExpansionWorker) -> bool:
    return worker.pid is not None


def test_a_large_workflow_is_expanded_in_a_process_and_a_small_one_here() -> None:
    many = "name: many\nroles: [{name: 't{{ i }}', for: {begin: 1, end: 3100, var: i}, task: {load: t}}]"
    templates = Repositories(TextRepository(name="texts", files={**FILES, "workflows/many.yaml": many}))
    worker = ExpansionWorker()
    run = small_first(worker)
    try:
        assert run(templates, job("w")) == run_job(templates, job("w"))
        assert not has_process(worker)
        assert run(templates, job("broken")).code == "E_TEMPLATE"
        assert not has_process(worker)

        large = run(templates, job("many"))

        assert has_process(worker)
        assert large == run_job(templates, job("many"))
        assert large.workflow is not None
        assert len(large.workflow.roles) == 3101
    finally:
        worker.close()


@pytest.mark.parametrize("own", [True, False])
def test_what_a_script_made_is_not_given_away(own: bool, tmp_path: Path) -> None:
    for name, text in {**FILES}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    repository = TextRepository(name="here", files=FILES) if own else FolderRepository(path=tmp_path, name="here")
    repositories = Repositories(repository)

    assert repositories.is_own("w") is own
    assert repositories.is_own("here/workflows/w") is own
    assert TaskOverlay(repositories, tmp_path).is_own("w") is own
    assert not repositories.is_own("elsewhere/workflows/w")
    assert not repositories.is_own("no/name")


class Waiting:
    """Templates that are opened when they may be."""

    def __init__(self, templates: Repositories) -> None:
        self.templates = templates
        self.go = threading.Event()

    def open(self, workflow: str) -> tuple[TemplateSource, str]:
        assert self.go.wait(30)
        return self.templates.open(workflow)

    def is_own(self, workflow: str) -> bool:
        return self.templates.is_own(workflow)


async def test_after_closing_no_answer_comes_of_what_had_not_begun(templates: Repositories) -> None:
    waiting = Waiting(templates)
    answers = Answers(waiting)
    for _ in range(5):
        answers.expansion.expand(Expand(job="e1", environment="e1", workflow="w", variables={}))

    closing = asyncio.ensure_future(answers.blocking.close())
    await asyncio.sleep(0)  # what waits for a thread is dropped
    waiting.go.set()
    await closing
    await asyncio.sleep(0)

    assert answers.queue.qsize() <= 2  # as many as there are threads
