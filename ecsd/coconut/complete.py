"""What shells propose: environments, tasks, nodes, detectors, templates, contexts. Cheap to import, never in the way.

Names come from a file below `$XDG_CACHE_HOME/ecs/completion`. When it is older than a moment, a process is started that
asks the core and writes it anew; it is waited for only shortly, so that an old name is better than a slow key. Whatever
goes wrong here, nothing is proposed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

FRESH_S = 3.0
"""Younger names are taken as they are."""
WAIT_S = 0.25
FIRST_S = 1.0
"""How long the first answer may take: without it there is nothing to propose."""
ASK_S = 10.0
"""How long a core may take to answer the process that asks. So long, no other one is started."""
_STEP_S = 0.02
_LONGEST_NAME = 200
"""Characters of the name of a file."""

EVENT_KINDS = (
    "environment.state", "transition.begin", "transition.step", "transition.end", "tasks", "call.begin", "call.end",
    "hook.end", "run.start", "run.end", "run.note", "node", "orphan", "operation.end", "task.lost", "task.stalled",
    "task.inconsistent", "task.end_of_stream", "modify", "repeat", "lock", "pool", "quarantine",
)  # fmt: skip
"""Of events, as `libecs.wire.info.Event` lists them: to import it takes longer than a key press may."""

Proposal = tuple[str, str]
"""A word, and what it is."""
Completer = Callable[[click.Context, click.Parameter, str], list[Any]]


Place = tuple[str, str, str, str, str]
"""Where a template is: its name, --repo, --repository, --revision, and the current folder if it counts."""


def cache_file(context: str, place: Place | tuple[()] = ()) -> str:
    """Return where the names of a context are kept, or the variables of one of its templates."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = cache if cache.startswith("/") else os.path.expanduser("~/.cache")
    name = context or os.environ.get("ECS_CONTEXT") or os.environ.get("ECS_CORE") or "current"
    name = "".join(c if c.isalnum() else "_" for c in " ".join((name, *place)))
    return os.path.join(base, "ecs", "completion", f"{name[-_LONGEST_NAME:]}.json")


def names(kind: str, context: str, place: Place | tuple[()] = ()) -> list[Proposal]:
    """Return what is known of a kind: environments, tasks, nodes, detectors, templates, operations, repositories.

    With the place of a template: its variables.
    """
    path = cache_file(context, place)
    known, age_s = _read(path)
    if age_s > FRESH_S:
        _refresh(context, place)
        end = time.monotonic() + (FIRST_S if not known else WAIT_S)
        while age_s > FRESH_S and time.monotonic() < end:
            time.sleep(_STEP_S)  # another process writes the file; to watch it would cost more imports than the wait
            known, age_s = _read(path)
    return [(word, help_) for word, help_ in known.get(kind, ())]


def _read(path: str) -> tuple[dict[str, Any], float]:
    try:
        age_s = time.time() - os.stat(path).st_mtime
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
    except (OSError, ValueError):
        return {}, float("inf")
    return (known if isinstance(known, dict) else {}), age_s


def _refresh(context: str, place: Place | tuple[()] = ()) -> None:
    """Start a process that asks the core; it outlives us, and says nothing."""
    marker = f"{cache_file(context, place)}.asked"
    with contextlib.suppress(OSError):
        if time.time() - os.stat(marker).st_mtime < ASK_S:
            return  # it is asked already
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(marker), mode=0o700, exist_ok=True)
        with open(marker, "w", encoding="utf-8"):
            pass
    words = [sys.executable, "-m", "ecsd.coconut.complete", context, *place]
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_COMPLETE")}
    with contextlib.suppress(OSError):
        os.posix_spawn(sys.executable, words, {**environment, "PYTHONPATH": path}, file_actions=null, setpgroup=0)


def _completer(propose: Callable[[click.Context], Iterable[Proposal]]) -> Completer:
    """Make a completer of what gives proposals; it never raises."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        try:
            found = list(propose(ctx))
        except Exception:  # a shell that waits for a word wants no traceback
            return []
        return [CompletionItem(word, help=help_) for word, help_ in found if word.startswith(incomplete)]

    return complete


def _of_core(kind: str) -> Completer:
    return _completer(lambda ctx: names(kind, str(ctx.params.get("context") or "")))


environments = _of_core("environments")
tasks = _of_core("tasks")
nodes = _of_core("nodes")
detectors = _of_core("detectors")
operations = _of_core("operations")
runs = _of_core("runs")
repositories = _of_core("repositories")


environments_and_tasks = _completer(
    lambda ctx: [
        pair for kind in ("environments", "tasks") for pair in names(kind, str(ctx.params.get("context") or ""))
    ]
)


def _templates(ctx: click.Context) -> Iterator[Proposal]:
    repo = str(ctx.params.get("repo") or "")
    if not repo and os.path.isdir("workflows") and not ctx.params.get("context"):
        repo = "."
    if not repo:
        yield from names("templates", str(ctx.params.get("context") or ""))
        return
    for entry in sorted(os.listdir(os.path.join(os.path.expanduser(repo), "workflows"))):
        if entry.endswith((".yaml", ".yml")):
            yield entry.rpartition(".")[0], ""


templates = _completer(_templates)


def _contexts(ctx: click.Context) -> Iterator[Proposal]:
    from libecs.io.contexts import read_contexts

    yield from ((name, context.endpoint) for name, context in read_contexts().contexts.items())
    yield "local", "the core of this machine"


contexts = _completer(_contexts)


def _events(ctx: click.Context) -> Iterator[Proposal]:
    yield from ((word, "") for word in ("START", "STOP", "CONFIGURE", "RESET", "DEPLOY", "RECOVER"))


control_events = _completer(_events)
event_kinds = _completer(lambda ctx: [(kind, "") for kind in EVENT_KINDS])


def _variables(ctx: click.Context) -> Iterator[Proposal]:
    options = {key: str(value or "") for key, value in ctx.params.items() if isinstance(value, str)}
    # Click leaves the words before an option without its value unread.
    workflow = options.get("workflow") or options.get("named") or next(iter(ctx.args), "")
    here = os.getcwd() if ctx.params.get("local") or os.path.isdir("workflows") else ""
    if workflow:
        repo, repository, revision = (options.get(name, "") for name in ("repo", "repository", "revision"))
        yield from names("variables", options.get("context", ""), (workflow, repo, repository, revision, here))


variables = _completer(_variables)


def _roles(ctx: click.Context) -> Iterator[Proposal]:
    # Click leaves the words before an option without its value unread.
    environment = str(ctx.params.get("environment") or next(iter(ctx.args), ""))
    for word, help_ in names("roles", str(ctx.params.get("context") or "")):
        if not environment or help_.split(" ")[0] == environment or environment in help_.split(" "):
            yield word, help_


roles = _completer(_roles)


# the process that asks


def write_names(context: str, place: Place | tuple[()] = ()) -> None:
    """Ask the core for its names, or for the variables of a template, and write them down. Raises EcsError, OSError."""
    import asyncio

    found = _variables_of(context, place) if place else asyncio.run(_ask(context))
    path = cache_file(context, place)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.replace(temporary, path)
    with contextlib.suppress(OSError):
        os.unlink(f"{path}.asked")


def _variables_of(context: str, place: Place) -> dict[str, list[Proposal]]:
    """Look at a template where the verb would: in a folder, or at the core."""
    from ecsd.coconut.consulting import Source

    workflow, repo, repository, revision, here = place
    is_here = bool(here and not repository and not context)
    source = Source(repo=repo, repository=repository, revision=revision, local=is_here, context=context or None)
    document = source.answer("template.show", {"workflow": source.workflow(workflow)})
    return {"variables": [(f"{one['name']}=", one["description"]) for one in document["variables"]]}


async def _ask(context: str) -> dict[str, list[Proposal]]:
    import asyncio

    import libecs
    from libecs.globs import below_root

    async with asyncio.timeout(ASK_S), libecs.connect(context) as ecs:
        infos = [environment.info for environment in await ecs.environments()]
        all_tasks = await ecs.tasks()
        found: dict[str, list[Proposal]] = {
            "environments": [(info.environment, f"{info.name} {info.state.name}") for info in infos]
            + [(info.name, f"{info.environment} {info.state.name}") for info in infos if info.name],
            "tasks": [(task.task, f"{task.role} on {task.node}") for task in all_tasks]
            + [(f"{below_root(task.role)}@{task.node}", task.environment) for task in all_tasks if task.role],
            "nodes": [(node.node, node.reach) for node in await ecs.nodes()],
            "operations": [(one.operation, one.verb) for one in await ecs.operations(20)],
            "runs": [(str(run.number), run.workflow) for run in await ecs.runs(20)],
        }
        locks = await ecs.show_locks()
        owners = {lock.detector: lock.owner for lock in locks.locks}
        found["detectors"] = [(name, owners.get(name, "free")) for name in sorted({*locks.detectors, *owners})]
        names_of = {info.environment: info.name for info in infos}
        found["roles"] = sorted(
            {
                (path, f"{task.environment} {names_of.get(task.environment, '')}")
                for task in all_tasks
                if task.role
                for path in _above(below_root(task.role))
            }
        )
        with contextlib.suppress(libecs.EcsError):
            templates = await ecs.consult("template.list")
            found["templates"] = [(one["name"], one["description"]) for one in templates["templates"]]
            places = await ecs.consult("repository.list")
            found["repositories"] = [(one["name"], one["place"]) for one in places["repositories"]]
        return found


def _above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition(".")[0]


if __name__ == "__main__":
    with contextlib.suppress(Exception):  # nobody listens
        write_names(sys.argv[1], tuple(sys.argv[2:]))  # type: ignore[arg-type] # as `_refresh` has given them
