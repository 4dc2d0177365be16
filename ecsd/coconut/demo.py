"""`coconut demo`: an example experiment in this process: 3 nodes, 20 tasks in C and Python, two runs."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.options import Number
from ecsd.coconut.output import Output, json_option, verb
from libecs.errors import EcsError, NotFound

if TYPE_CHECKING:
    from ecsd.coconut.books import Books
    from ecsd.coconut.taking import Taking
    from libecs.client.ecs import AsyncEcs
    from libecs.client.environment import AsyncEnvironment

NEXT = """
next:
  who runs where and why    coconut environment plan demo --repo {demo}
  a run of your own         coconut run take demo --repo {demo} --duration 5s
  what a death looks like   coconut demo --kill filter"""
KILL_AFTER = 0.5
"""Part of a run's duration after which --kill strikes."""


class BooksDiffer(EcsError):
    """What the sinks counted is not what the sources sent."""

    code = "E_BOOKS"


@click.command(
    help="""Run an example experiment in this process: 3 nodes, 20 tasks, half C, half Python, two runs.

    Each sink's count, gaps and hash per source are compared with the sources'. Nothing is left behind.

    \b
    Examples:
      coconut demo
      coconut demo --kill filter
      coconut demo --duration 500ms --json
    """
)
@click.option("--duration", default="2s", show_default=True, metavar="TIME", help="Length of each run.")
@click.option("--rate", default=500, show_default=True, type=Number(1), help="Messages a second, each source.")
@click.option(
    "--kill", "victim", metavar="KIND", help="Kill a task in the middle of the first run: source, filter, sink."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@json_option
@verb
def demo(output: Output, duration: str, rate: int, victim: str | None) -> int:
    """Run the example experiment."""
    from ecsd.coconut.options import Inputs
    from ecsd.coconut.take import check
    from ecsd.coconut.taking import run_embedded
    from ecsd.installation import examples
    from libecs.client.run import seconds

    repository = examples() / "demo"
    if not (examples() / "bin" / "source").exists():
        raise NotFound(
            f"the example tasks are not installed in {examples()}",
            hint="install the package (pip install .), or use ./dev demo",
        )
    length_s = seconds(duration)
    with tempfile.TemporaryDirectory(prefix="ecs-demo-") as name:
        reports = Path(name) / "reports"
        reports.mkdir()
        inputs = Inputs(
            repo=str(repository),
            revision="",
            variables={"rate": str(rate), "report_dir": str(reports)},
            nodes="",
            tasks=None,
            kv=None,
            integrations=None,
        )

        async def work(ecs: AsyncEcs, taking: Taking) -> None:
            async with ecs.environment("demo", inputs.variables, name="demo") as env:
                for turn in range(2):
                    books = await _run(env, taking, length_s, victim if turn == 0 else None, reports)
                    taking.extra.setdefault("books", []).append(books.document())
                    taking.extra.setdefault("lines", []).append(books.line())
                    if books.problems:
                        raise BooksDiffer("\n  ".join([books.line(), *books.problems]))

        status = run_embedded(
            output,
            "demo",
            inputs,
            check(output, "demo", inputs),
            work,
            run_counter=Path(name) / "runs.sqlite",  # a demo takes no numbers of your experiment
            schema="demo",
        )
    if status == 0 and not output.as_json:
        click.echo(NEXT.format(demo=_short(repository)))
    return status


async def _run(env: AsyncEnvironment, taking: Taking, length_s: float, victim: str | None, reports: Path) -> Books:
    from ecsd.coconut.books import audit, connections, read_reports
    from ecsd.coconut.taking import take_one

    async def strike(run: Any) -> None:
        if victim is not None:
            await run.wait(until=lambda view: view.elapsed_s >= KILL_AFTER * length_s)
            targets = await env.tasks(f"**.{victim}")
            if not len(targets):
                raise NotFound(f"the demo has no task {victim!r}", hint="--kill takes source, filter or sink")
            taking.chronicle.problems.append(f"{targets[0].role} (pid {targets[0].pid}) was killed by --kill")
            os.kill(targets[0].pid, signal.SIGKILL)

    run = await take_one(env, taking, f"{length_s}s", "demo", during=strike)
    roles = [task.role for task in await env.tasks()]
    return audit(run.number, read_reports(reports, run.number), connections(roles))


def _short(path: Path) -> str:
    """Return the repository of the demo as a user of this folder would write it."""
    here = Path("examples") / "demo"
    return str(here if (here / "workflows").is_dir() else path)
