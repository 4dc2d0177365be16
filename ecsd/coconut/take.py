"""`coconut run take`: deploy, configure, run, stop and clean up, with the whole control system in this process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ecsd.coconut.complete import templates
from ecsd.coconut.options import Inputs, consult_options, input_options, read_inputs
from ecsd.coconut.output import Output, error_document, json_option, say_error, verb
from libecs.errors import EcsError, InvalidInput, TransitionFailed, UsageError

if TYPE_CHECKING:
    from ecsd.coconut.chronicle import Chronicle
    from libecs.client.ecs import AsyncEcs
    from libecs.client.environment import AsyncEnvironment
    from libecs.client.run import AsyncRun
    from libecs.io.embedded import NodeDescription

SIGTERM_STATUS = 128 + signal.SIGTERM


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


@click.command(
    help="""Take a run: deploy, configure, start, stop, clean up. On the core that is asked; with --repo, or where no
    core is known, with the whole control system in this process.

    Nothing is left behind, also after Ctrl-C. The exit code is 7 when the environment goes to ERROR, with the cause:
    task, node, how it ended, last log line; it is 10 when a run was degraded.

    \b
    Examples:
      coconut run take demo --repo examples/demo --duration 2s
      coconut run take demo --repo examples/demo --duration 1s --cycles 2 -e rate=100 --json
      coconut run take demo --repo examples/demo --duration 1s --logs
      coconut run take readout-dataflow -e 'hosts=["flp001"]' --duration 1h --comment cosmics
    """
)
@click.argument("workflow", shell_complete=templates)
@consult_options
@input_options
@click.option("--duration", default="10s", show_default=True, metavar="TIME", help="Length of each run: 10s, 30min.")
@click.option("--cycles", default=1, show_default=True, type=click.IntRange(1), help="How many runs to take.")
@click.option("--comment", default="", help="For the records of the runs.")
@click.option(
    "--report", metavar="DIR", help="Folder for reports: of this command, of calls, and of tasks ($report_dir)."
)
@click.option("--state", metavar="DIR", help="Folder of the control system's records; default: a temporary one.")
@click.option("--runs", metavar="DIR", help="Folder of runs; default: runs in --state, or $XDG_DATA_HOME/ecs/runs.")
@click.option("--logs", is_flag=True, help="Show what the tasks write.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@json_option
@verb
def take(
    output: Output, workflow: str, duration: str, cycles: int, comment: str, report: str | None, state: str | None,
    runs: str | None, logs: bool, repository: str, local: bool, context: str | None, **options: Any,
) -> int:  # fmt: skip
    """Take runs."""
    from ecsd.coconut.target import core_is_chosen
    from libecs.client.run import seconds

    seconds(duration)  # a wrong one is said before anything is launched
    local_words = ("nodes", "tasks", "kv", "integrations", "repo")
    here = local or state is not None or runs is not None or any(options[key] for key in local_words)
    if here and (context or repository):
        raise UsageError("--context and --repository are of a core, and the rest says that none is asked")
    if context or repository or (not here and core_is_chosen()):
        return _at_core(
            output, workflow, repository, context, options,
            duration=duration, cycles=cycles, comment=comment, report=report, logs=logs,
        )  # fmt: skip
    inputs = read_inputs(**options)
    folder = None if report is None else _folder("--report", report)
    if folder is not None and "report_dir" not in inputs.variables:
        inputs = attrs.evolve(inputs, variables={**inputs.variables, "report_dir": str(folder)})
    nodes = check(output, workflow, inputs)
    runs = None if runs is None else str(_folder("--runs", runs))
    state = None if state is None else str(_folder("--state", state))

    async def work(ecs: AsyncEcs, taking: Taking) -> None:
        async with ecs.environment(workflow, inputs.variables) as env:
            for _ in range(cycles):
                await take_one(env, taking, duration, comment)

    return run_embedded(output, workflow, inputs, nodes, work, report=folder, state=state, runs=runs, logs=logs)


def _at_core(
    output: Output,
    workflow: str,
    repository: str,
    context: str | None,
    options: dict[str, Any],
    *,
    duration: str,
    cycles: int,
    comment: str,
    report: str | None,
    logs: bool,
) -> int:
    from ecsd.coconut.consulting import Source
    from ecsd.coconut.corerun import take_at_core
    from ecsd.coconut.target import Target
    from ecsd.coconut.variables import parse_variables
    from libecs.wire.client import Create

    source = Source(repository=repository, revision=options["revision"], context=context or "core")
    create = Create(operation="", workflow=source.workflow(workflow), variables=parse_variables(options["extra_vars"]))
    folder = None if report is None else _folder("--report", report)
    return take_at_core(
        output,
        Target(context=context),
        create,
        duration=duration,
        cycles=cycles,
        comment=comment,
        logs=logs,
        report=folder,
    )


def check(output: Output, workflow: str, inputs: Inputs) -> list[NodeDescription]:
    """Think the workflow through before anything is launched; return the nodes for it.

    Raises:
        InvalidInput: the plan can't work.
    """
    from ecsd.coconut.consulting import local_consultant
    from ecsd.coconut.nodes import nodes_for
    from ecsd.coconut.plan import offer

    consultant = local_consultant(inputs)
    found = consultant.look(workflow, inputs.variables)
    for note in found.notes:
        output.say(f"note: {note}")
    nodes = nodes_for(inputs.nodes, inputs.variables, found.workflow)
    plan = consultant.plan(found, [offer(node) for node in nodes])
    if not plan["ok"]:
        missing = [*(f"{path}: {reason}" for path, reason in plan["unplaced"].items()), *plan["missing"]]
        raise InvalidInput(
            f"{workflow} can't run here, nothing was launched. Missing:\n  " + "\n  ".join(missing),
            hint=f"coconut environment plan {workflow} …",
        )
    return nodes


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
        return asyncio.run(_embedded(output, inputs, nodes, taking, work, report, state, runs, run_counter, logs))

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
    from ecsd.coconut.installation import defaults
    from ecsd.coconut.progress import follow, make_view

    task = asyncio.current_task()
    assert task is not None
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, terminate)
    view = make_view(output)
    try:
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
    except asyncio.CancelledError:
        if not terminated:
            raise
        task.uncancel()
        return SIGTERM_STATUS
    return 0


def _folder(option: str, place: str) -> Path:
    """Return the folder that an option names, made if need be: what is wrong with it is said before any launch."""
    path = Path(place).expanduser()
    try:
        path.mkdir(mode=0o700 if option == "--state" else 0o777, parents=True, exist_ok=True)
    except OSError as error:
        reason = "there is a file of that name" if isinstance(error, FileExistsError) else error.strerror
        raise UsageError(
            f"{option} {path}: no folder can be made there: {reason}", hint="name another folder"
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: you may not write there", hint="name another folder")
    return path.resolve()


def _lines(document: dict[str, Any]) -> list[str]:
    lines = []
    for run in document["runs"]:
        seconds = ((run["end_ms"] or 0) - (run["start_ms"] or 0)) / 1000
        lines.append(f"run {run['number']}  {run['condition']}  {run['end_reason']}  {seconds:.1f} s")
    return [*lines, *document.get("lines", ())]
