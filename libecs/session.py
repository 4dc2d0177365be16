"""A control system inside this process: `with libecs.local(…) as ecs`, or `async with`. It only makes the link."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import attrs

from libecs.client.ecs import AsyncEcs
from libecs.client.entered import Entered
from libecs.client.operation import requester
from libecs.config.tree import Tree
from libecs.errors import EcsError, UsageError
from libecs.io.blocking import BlockingCalls
from libecs.io.embedded import Embedded, EmbeddedSettings, NodeDescription, Orphans
from libecs.io.git import find_repository
from libecs.io.integrations_file import functions_of_file
from libecs.io.kv_file import read_kv_file
from libecs.io.repository import Repository

LEAVE_S = 60.0
"""How long environments that the script has left over may take to be destroyed, before their tasks are just ended."""

Place = str | os.PathLike[str]


def mirrors_folder() -> Path:
    """Return where copies of remote repositories are kept: `$XDG_CACHE_HOME/ecs/repositories`."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "ecs" / "repositories"


def open_location(repo: Place) -> Repository:
    """Return the repository at a path or address. Blocks while a remote one is copied. Raises NotFound, EcsError."""
    return find_repository(os.fspath(repo), mirrors_folder())


def local(
    state: Place | None = None,
    *,
    orphans: Orphans = "stop",
    nodes: int | Sequence[NodeDescription] = 1,
    repo: Place | None = None,
    revision: str = "",
    kv: Place | None = None,
    integrations: Place | None = None,
    tasks_overlay: Place | None = None,
    defaults: Mapping[str, str] | None = None,
    run_counter: Place | None = None,
    runs_folder: Place | None = None,
    record_calls: Place | None = None,
) -> Local:
    """Describe a control system inside this process, to be entered by `with` or `async with`.

    Args:
        state: folder of its records, kept; None = a temporary one that is removed at the end.
        orphans: what becomes of the tasks when this process dies: `stop` after 10 s, or `adopt` by the next
            `local(state=…)`, with which leaving keeps environments and tasks, too.
        nodes: how many nodes to play (node1, node2, …), or their descriptions.
        repo: repository of workflows: folder, git repository or address.
        revision: branch, tag or commit of it; "" = as it is.
        kv: YAML file with configuration, runtime values and inventory.
        integrations: YAML file that says what functions of call roles give.
        tasks_overlay: folder of task templates whose command, user and wants replace those of the repository.
        defaults: the weakest variables of every workflow.
        run_counter: file of the run numbers; None = the user's, shared by all processes.
        runs_folder: gets a folder for each run, `{{run_dir}}`, with what its tasks write and `run.json`. None = `runs`
            in the folder `state`; without one `$XDG_DATA_HOME/ecs/runs` (`~/.local/share/ecs/runs`).
        record_calls: file that gets a JSON line for each call.

    Raises:
        UsageError: `orphans` is neither, `nodes` is no number of nodes, or tasks should be adopted from a temporary
            state.
    """
    if orphans not in get_args(Orphans):
        raise UsageError(f"orphans={orphans!r}", hint='write orphans="stop" or orphans="adopt"')
    if orphans == "adopt" and state is None:
        raise UsageError("tasks of a temporary state cannot be adopted", hint="name a folder: state=…")
    if isinstance(nodes, int):
        if nodes < 1:
            raise UsageError(f"nodes={nodes}: at least one node is needed")
        nodes = [NodeDescription(name=f"node{n}") for n in range(1, nodes + 1)]
    return Local(
        repo=repo,
        kv=_path(kv),
        integrations=_path(integrations),
        settings=EmbeddedSettings(
            nodes=tuple(nodes),
            state=_path(state),
            orphans=orphans,
            revision=revision,
            tasks=_path(tasks_overlay),
            defaults=dict(defaults or {}),
            runs=_path(run_counter),
            runs_folder=_path(runs_folder),
            calls=_path(record_calls),
        ),
    )


def _path(place: Place | None) -> Path | None:
    return None if place is None else Path(place).expanduser()


class Local(Entered):
    """A control system inside this process: enter it once."""

    HOW = "libecs.local()"

    def __init__(
        self, *, repo: Place | None, kv: Path | None, integrations: Path | None, settings: EmbeddedSettings
    ) -> None:
        super().__init__()
        self.settings = settings
        self._repo, self._kv, self._integrations = repo, kv, integrations
        self._embedded: Embedded | None = None
        self._ecs: AsyncEcs | None = None

    async def begin(self) -> AsyncEcs:
        """Start core and nodes."""
        settings = await self._read()
        self._embedded = embedded = Embedded(settings, on_failure=self._failed)
        await embedded.start()
        try:
            self._ecs = AsyncEcs(embedded.connect, requester=requester())
            await self._ecs.open()
        except BaseException:
            await embedded.close()
            raise
        return self._ecs

    async def end(self) -> None:
        """Destroy what the script has left over, unless tasks are to be adopted, and stop."""
        assert self._embedded is not None
        assert self._ecs is not None
        try:
            if self.settings.orphans == "stop":
                await self._destroy_all(self._ecs)
        finally:
            await self._ecs.close()
            await self._embedded.close()

    async def _read(self) -> EmbeddedSettings:
        """Open the repository and read the files."""
        blocking = BlockingCalls("libecs-session")
        try:
            repository = None if self._repo is None else await blocking.start(open_location, self._repo)
            tree = Tree() if self._kv is None else await blocking.start(read_kv_file, self._kv)
            functions = () if self._integrations is None else (functions_of_file(self._integrations),)
        finally:
            await blocking.close()
        return attrs.evolve(self.settings, repository=repository, tree=tree, functions=functions)

    async def _destroy_all(self, ecs: AsyncEcs) -> None:
        """Destroy what the script has left over."""
        with contextlib.suppress(EcsError, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                for environment in await ecs.environments():
                    with contextlib.suppress(EcsError):
                        await environment.destroy(force=environment.broken, allow_running=True)

    def _failed(self, error: BaseException) -> None:
        if self._ecs is not None:
            self._ecs.fail(f"the control system had to stop: {error}")
