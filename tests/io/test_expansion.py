"""Expand, performed in a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from libecs.config.tree import Tree
from libecs.engine.effects import Expand, Expanded
from libecs.io.blocking import BlockingCalls
from libecs.io.expansion import Expansion, ExpansionJob, TaskOverlay, Templates, run_job
from libecs.io.repository import Repositories, TextRepository

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


async def test_after_closing_no_answer_comes(templates: Repositories) -> None:
    answers = Answers(templates)
    for _ in range(5):
        answers.expansion.expand(Expand(job="e1", environment="e1", workflow="w", variables={}))

    await answers.blocking.close()
    await asyncio.sleep(0)

    assert answers.queue.qsize() < 5
