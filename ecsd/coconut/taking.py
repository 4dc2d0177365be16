"""Runs taken with the whole control system in this process, and what is told of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ecsd.coconut.output import Output, error_document, say_error
from ecsd.coconut.terminating import unless_terminated
from libecs.errors import EcsError, TransitionFailed

if TYPE_CHECKING:
    from ecsd.coconut.chronicle import Chronicle
    from ecsd.coconut.options import Inputs
    from libecs.client.ecs import AsyncEcs
    from libecs.client.environment import AsyncEnvironment
    from libecs.client.run import AsyncRun
    from libecs.io.embedded import NodeDescription


@attrs.define
class Taking:
    """What `run take` has done so far: its document is printed however it ends."""

    workflow: str
    nodes: tuple[str, ...]
    chronicle: Chronicle
    environment: str = ""
    revision: str = ""
    runs: list[dict[str, Any]] = attrs.field(factory=list)
    tasks: list[dict[str, Any]] = attrs.field(factory=list)
    extra: dict[str, Any] = attrs.field(factory=dict)
    """What other verbs add."""

    def document(self) -> dict[str, Any]:
        """Return it for `--json` and for reports."""
        return {
            "workflow": self.workflow,
            "revision": self.revision,
            "environment": self.environment,
            "nodes": list(self.nodes),
            "runs": self.runs,
            "tasks": self.tasks,
            "transitions": self.chronicle.transitions,
            "calls": self.chronicle.calls,
            "problems": self.chronicle.problems,
            **self.extra,
        }


async def take_one(
    env: AsyncEnvironment,
    taking: Taking,
    duration: str,
    comment: str,
    *,
    during: Callable[[AsyncRun], Awaitable[None]] | None = None,
) -> AsyncRun:
    """Take one run, do `during` in it, and keep its record, however it ends."""
    from ecsd.coconut.documents import task_document
    from libecs.io.runrecord import run_document

    run = env.run(duration=duration, comment=comment)
    taking.environment, taking.revision = env.id, env.info.revision
    try:
        async with run:
            if during is not None:
                await during(run)
            await run.wait()
    finally:
        if run.record is not None:
            taking.runs.append(run_document(run.record))
        taking.tasks = [task_document(task) for task in (await env.show()).tasks]
    return run


def run_embedded(
    output: Output,
    workflow: str,
    inputs: Inputs,
    nodes: list[NodeDescription],
    work: Callable[[AsyncEcs, Taking], Awaitable[None]],
    *,
    report: Path | None = None,
    state: str | None = None,
    runs: str | None = None,
    run_counter: Path | None = None,
    logs: bool = False,
    schema: str = "run-take",
) -> int:
    """Do `work` with a control system in this process; print the document or the error; return the exit status."""
    from ecsd.coconut.chronicle import Chronicle

    taking = Taking(workflow, tuple(node.name for node in nodes), Chronicle())
    wanted = [*(("--logs",) if not logs else ()), *(("--report DIR",) if report is None else ())]

    def session() -> int:
        taken = _embedded(output, inputs, nodes, taking, work, report, state, runs, run_counter, logs)
        return asyncio.run(unless_terminated(taken))

    # What a failed transition advises is for scripts: here the environment is gone already.
    advice = f"it was destroyed; to see what tasks write and calls tell, add {' and '.join(wanted)}" * bool(wanted)
    return to_the_end(output, taking, session, schema=schema, report=report, advice=advice)


def to_the_end(
    output: Output, taking: Taking, session: Callable[[], int], *, schema: str, report: Path | None, advice: str
) -> int:
    """Run a session that takes runs; print the document or the error; return the exit status."""
    error: EcsError | None = None
    status = 0
    try:
        status = session()
    except EcsError as raised:
        error, status = raised, raised.exit_code
    except KeyboardInterrupt:
        status = 130
    if isinstance(error, TransitionFailed):
        error.hint = advice
    document = taking.document() | {"ok": status in (0, 10), "exit_code": status}
    if error is not None:
        document["error"] = error_document(error)
    elif status not in (0, 10):
        document["error"] = {"code": "E_INTERRUPTED", "message": "interrupted; everything was stopped and cleaned up"}
    if status == 0 and any(run["condition"] != "GOOD" for run in taking.runs):
        document["exit_code"] = status = 10
    if report is not None:
        (report / "report.json").write_text(json.dumps({"schema": f"ecs/{schema}/1", **document}, indent=2))
    if error is not None and not output.as_json:
        say_error(error, as_json=False)
    elif status not in (0, 10):
        output.say("interrupted; everything was stopped and cleaned up")
    output.document(schema, document, _lines(document))
    return status


async def _embedded(
    output: Output,
    inputs: Inputs,
    nodes: list[NodeDescription],
    taking: Taking,
    work: Callable[[AsyncEcs, Taking], Awaitable[None]],
    report: Path | None,
    state: str | None,
    runs: str | None,
    run_counter: Path | None,
    logs: bool,
) -> int:
    import libecs
    from ecsd.coconut.progress import follow, make_view
    from ecsd.installation import defaults

    view = make_view(output)
    async with (
        libecs.local(
            state=state,
            nodes=nodes,
            repo=inputs.repo,
            revision=inputs.revision,
            kv=inputs.kv,
            integrations=inputs.integrations,
            tasks_overlay=inputs.tasks,
            defaults=defaults(),
            run_counter=run_counter,
            runs_folder=runs,
            record_calls=None if report is None else report / "calls.jsonl",
        ) as ecs,
        follow(ecs, view, taking.chronicle, logs=logs),
    ):
        await work(ecs, taking)
    return 0


def _lines(document: dict[str, Any]) -> list[str]:
    lines = []
    for run in document["runs"]:
        seconds = ((run["end_ms"] or 0) - (run["start_ms"] or 0)) / 1000
        lines.append(f"run {run['number']}  {run['condition']}  {run['end_reason']}  {seconds:.1f} s")
    return [*lines, *document.get("lines", ())]
