"""Which control system a verb speaks to: a core, named by a context, or one in this process, on a state folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ecsd.coconut.options import connect_timeout_s
from ecsd.coconut.terminating import unless_terminated
from libecs.errors import InvalidInput, NotFound, UsageError

if TYPE_CHECKING:
    from ecsd.coconut.options import Inputs
    from libecs.client.ecs import AsyncEcs
    from libecs.io.embedded import NodeDescription

MEMORY = "coconut.json"
"""In a state folder: what `environment create --local` was told, for the verbs that follow."""


@attrs.frozen(kw_only=True)
class Target:
    """A control system, not yet connected to."""

    context: str | None = None
    """Name of a context; None = the one in use."""
    local: bool = False
    state: str | None = None
    """With `local`: its folder."""
    inputs: Inputs | None = None
    """With `local`: what a new environment needs; None = what was remembered."""
    nodes: tuple[NodeDescription, ...] = ()

    @classmethod
    def of(cls, options: dict[str, Any]) -> Target:
        """Take --context, --local and --state out of the options of a verb. Raises UsageError."""
        target = cls(context=options.pop("context"), local=options.pop("local"), state=options.pop("state"))
        if target.state is not None and not target.local:
            raise UsageError("--state names the folder of a local control system", hint="add --local")
        if target.local and target.context:
            raise UsageError("--local asks no core, and --context names one", hint="leave out one of them")
        return target

    @property
    def words(self) -> str:
        """How a command line names it again, with a blank before it."""
        if self.local:
            return f" --local --state {self.state}"
        return f" --context {self.context}" if self.context else ""

    def run(self, work: Callable[[AsyncEcs], Awaitable[int | None]]) -> int:
        """Connect, work, let go; return the exit status.

        Raises:
            EcsError: what `work` raises, or what was wrong with the connection.
            KeyboardInterrupt: Ctrl-C, if `work` has not made something else of it.
        """
        return asyncio.run(unless_terminated(self._run(work)))

    def ask(self, subject: str, arguments: Mapping[str, str]) -> dict[str, Any]:
        """Return the document that the core answers a question with."""
        found: dict[str, Any] = {}

        async def work(ecs: AsyncEcs) -> None:
            found.update(await ecs.consult(subject, **arguments))

        self.run(work)
        return found

    async def _run(self, work: Callable[[AsyncEcs], Awaitable[int | None]]) -> int:
        async with self.session() as ecs:
            return await work(ecs) or 0

    def session(self) -> AbstractAsyncContextManager[AsyncEcs]:
        """Return the session, to be entered. Raises UsageError, NotFound, InvalidInput."""
        import libecs

        if not self.local:
            return libecs.connect(self.context or "", timeout=connect_timeout_s())
        from ecsd.installation import defaults

        folder, inputs, nodes = self._remembered()
        return libecs.local(
            state=folder,
            orphans="adopt",
            nodes=nodes or 1,
            repo=inputs.get("repo") or None,
            revision=inputs.get("revision", ""),
            kv=inputs.get("kv"),
            integrations=inputs.get("integrations"),
            tasks_overlay=inputs.get("tasks"),
            defaults=defaults(),
        )

    def _remembered(self) -> tuple[Path, dict[str, Any], list[NodeDescription]]:
        """Return the state folder and what it remembers, after writing down what was told now."""
        from libecs.io.embedded import NodeDescription

        if self.state is None:
            raise UsageError(
                "a local control system needs a folder that outlives this command", hint="--local --state DIR"
            )
        folder = Path(self.state).expanduser().absolute()
        path = folder / MEMORY
        known: dict[str, Any] = {}
        if path.is_file():
            try:
                known = json.loads(path.read_text())
            except ValueError as error:
                raise InvalidInput(f"{path} is no JSON: {error}", hint="remove it") from None
        if self.inputs is not None:
            places = {"kv": self.inputs.kv, "integrations": self.inputs.integrations, "tasks": self.inputs.tasks}
            known |= {"repo": _absolute(self.inputs.repo), "revision": self.inputs.revision}
            known |= {name: str(place.absolute()) for name, place in places.items() if place is not None}
        if self.nodes:
            listed = {node["name"]: node for node in known.get("nodes", ())}
            listed |= {node.name: attrs.asdict(node) for node in self.nodes}
            known["nodes"] = list(listed.values())
        if self.inputs is not None or self.nodes:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(json.dumps(known, indent=1))
        nodes = [
            NodeDescription(**{**node, "ports": tuple(map(tuple, node["ports"]))}) for node in known.get("nodes", ())
        ]
        return folder, known, nodes


def core_is_chosen() -> bool:
    """Whether anything says which core is meant: a variable, a context, or a core of this user on this machine."""
    from libecs.io.contexts import choose

    try:
        choose()
    except NotFound:
        return False
    return True


def _absolute(repo: str) -> str:
    """Return a repository as it is named from any folder: paths absolute, addresses as they are."""
    path = Path(repo).expanduser()
    return str(path.absolute()) if path.exists() else repo
