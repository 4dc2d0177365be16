"""Where records of runs are: at a core, in a folder of runs, or in a state folder."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import click

from ecsd.coconut.options import context_option, several
from libecs.errors import EcsError, NotFound, UsageError

if TYPE_CHECKING:
    from ecsd.coconut.target import Target
    from libecs.client.ecs import AsyncEcs
    from libecs.io.runrecord import Runs
    from libecs.wire.info import RunInfo

NEAR = 3
"""Runs that an error proposes."""


class Records(Protocol):
    """Records of runs."""

    def last(self, limit: int) -> tuple[int | None, list[tuple[int, RunInfo | None, str]]]:
        """Return how many there are, None = not known, and the last ones: number, run or None, why there is none."""

    def run(self, number: int) -> RunInfo:
        """Return one run. Raises NotFound, InvalidInput, EcsError."""


records_options = several(
    context_option,
    click.option("--local", is_flag=True, help="Read a folder here; so it is too when no core is known."),
    click.option("--state", metavar="DIR", help="State folder whose runs are meant, as given to `run take`."),
    click.option("--runs", metavar="DIR", help="Folder of runs; default: $XDG_DATA_HOME/ecs/runs."),
)
"""Add --context, --local, --state and --runs."""


def open_records(options: dict[str, Any]) -> Records:
    """Return the records that the options name. Raises NotFound if there is no such folder, UsageError."""
    from ecsd.coconut.target import Target, core_is_chosen

    context, local = options.pop("context"), options.pop("local")
    state, runs = options.pop("state"), options.pop("runs")
    here = local or state is not None or runs is not None
    if here and context:
        raise UsageError("--context names a core, and --local, --state and --runs ask none")
    if not here and (context or core_is_chosen()):
        return CoreRecords(Target(context=context))
    return FileRecords(open_runs(state, runs))


def open_runs(state: str | None, runs: str | None) -> Runs:
    """Return where the options say that the records are. Raises NotFound if there is no such folder."""
    from libecs.io.runrecord import RunFolders, StateRuns, default_runs_folder

    if state is not None:
        return StateRuns(Path(state).expanduser())
    folder = default_runs_folder() if runs is None else Path(runs).expanduser()
    if runs is not None and not folder.is_dir():
        raise NotFound(f"--runs {runs}: there is no such folder")
    return RunFolders(folder)


@attrs.frozen
class FileRecords:
    """Those of files."""

    _runs: Runs

    def last(self, limit: int) -> tuple[int | None, list[tuple[int, RunInfo | None, str]]]:
        """Return the last ones; those that can't be read are in it with their errors."""
        numbers = self._runs.numbers()
        found: list[tuple[int, RunInfo | None, str]] = []
        for number in numbers[-limit:]:
            try:
                found.append((number, self._runs.run(number), ""))
            except EcsError as error:
                found.append((number, None, error.message))
        return len(numbers), found

    def run(self, number: int) -> RunInfo:
        """Return one run."""
        try:
            return self._runs.run(number)
        except NotFound as error:
            raise NotFound(error.message, hint=_near(number, self._runs.numbers())) from None


@attrs.frozen
class CoreRecords:
    """Those of a core."""

    _target: Target

    def last(self, limit: int) -> tuple[int | None, list[tuple[int, RunInfo | None, str]]]:
        """Return the last ones."""
        runs = self._asked(lambda ecs: ecs.runs(limit))
        return None, [(run.number, run, "") for run in runs]

    def run(self, number: int) -> RunInfo:
        """Return one run."""

        async def ask(ecs: AsyncEcs) -> RunInfo:
            try:
                return await ecs.run_record(number)
            except NotFound as error:
                numbers = [run.number for run in await ecs.runs(1000)]
                raise NotFound(error.message, hint=_near(number, numbers)) from None

        run: RunInfo = self._asked(ask)
        return run

    def _asked(self, ask: Callable[[AsyncEcs], Awaitable[Any]]) -> Any:
        found: list[Any] = []

        async def work(ecs: AsyncEcs) -> None:
            found.append(await ask(ecs))

        self._target.run(work)
        return found[0]


def _near(number: int, numbers: Sequence[int]) -> str:
    if number in numbers:
        return "it goes on, or its control system was killed: see --state DIR"
    if not numbers:
        return "there are no runs here; --state DIR or --runs DIR names another place"
    near = sorted(sorted(numbers, key=lambda one: (abs(one - number), one))[:NEAR])
    return f"did you mean {', '.join(map(str, near))}? see `coconut run list`"
