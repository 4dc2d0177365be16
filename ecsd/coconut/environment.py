"""`coconut environment list | show`: what there is, and how it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import environments
from ecsd.coconut.options import core_options
from ecsd.coconut.output import Column, Output, aligned, json_option, list_options, verb
from ecsd.coconut.watching import show_again, watch_option

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs


def moment(unix_ms: int | None) -> str:
    """Return a time for people, "" for never."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ms / 1000)) if unix_ms else ""


def _state(row: Mapping[str, Any]) -> str:
    going = f" {row['transition']}" if row["transition"] else ""
    return f"{row['state']}{going}"


COLUMNS = (
    Column("id", lambda row: row["environment"]),
    Column("name", lambda row: row["name"]),
    Column("workflow", lambda row: row["workflow"]),
    Column("created", lambda row: moment(row["created_ms"])),
    Column("state", _state),
    Column("run", lambda row: str(row["run_number"] or "")),
    Column("detectors", lambda row: ",".join(row["detectors"]), wide=True),
    Column("revision", lambda row: row["revision"][:12], wide=True),
    Column("by", lambda row: row["requester"], wide=True),
    Column("excluded", lambda row: ",".join(row["excluded"]), wide=True),
)


@click.command(
    name="list",
    help="""List the environments: id, name, workflow, state, run.

    \b
    Examples:
      coconut environment list
      coconut environment list -o wide
      coconut environment list --fields environment,state --json
      coconut env ls --watch
    """,
)
@core_options
@click.option("-s", "--show-all", is_flag=True, help="Accepted for those who know AliECS; all are always shown.")
@watch_option
@list_options
@verb
def list_environments(output: Output, show_all: bool, watch: bool, **options: Any) -> int:
    """List environments."""
    from ecsd.coconut.documents import environment_document
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        async def show() -> Callable[[], None]:
            infos = [environment.info for environment in await ecs.environments()]
            rows = [environment_document(info, whole=False) for info in infos]
            document = {"schema": "ecs/environment-list/1", "environments": rows}

            def printing() -> None:
                output.listing(document, "environments", COLUMNS, name="environment")
                if not rows:
                    output.say("no environments; `coconut environment create --help` tells how to make one")

            return printing

        await show_again(output, watch, show)

    return Target.of(options).run(work)


@click.command(
    help="""Show one environment: its state and what goes on, its cause of an error, its tasks, its tree.

    \b
    Examples:
      coconut environment show 2q0A
      coconut environment show demo --tasks
      coconut environment show demo --tree --watch
      coconut environment show demo --json
    """
)
@click.argument("environment", shell_complete=environments)
@core_options
@click.option("-t", "--tasks", is_flag=True, help="Its tasks, one on a line.")
@click.option("--tree", "--workflow", "tree", is_flag=True, help="Its tree of roles with their states.")
@click.option("--variables", is_flag=True, help="The variables of its request.")
@watch_option
@json_option
@verb
def show(
    output: Output, environment: str, tasks: bool, tree: bool, variables: bool, watch: bool, **options: Any
) -> int:
    """Show an environment."""
    from ecsd.coconut.documents import environment_document
    from ecsd.coconut.finding import find_environment
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        found = await find_environment(ecs, environment)

        async def show() -> Callable[[], None]:
            info = await ecs.show(found.environment)
            document = {"schema": "ecs/environment/1", **environment_document(info, whole=True)}
            lines = [*page(document)]
            if tree:
                lines += ["", *tree_lines(document)]
            if tasks:
                lines += ["", *task_lines(document["tasks"])]
            if variables:
                lines += ["", "variables"]
                lines += [f"  {name} = {value}" for name, value in document["variables"].items()]
            return lambda: output.answer(document, lines)

        await show_again(output, watch, show)

    return Target.of(options).run(work)


def page(document: Mapping[str, Any]) -> Iterator[str]:
    """Return the facts about an environment."""
    from ecsd.coconut.chronicle import counted

    going = f"{document['transition']}: {document['step']}".rstrip(": ") if document["transition"] else ""
    standing = [task["state"] for task in document["tasks"] if not task["hook"] and not task["excluded"]]
    facts = (
        ("environment", document["environment"]),
        ("name", document["name"]),
        ("workflow", f"{document['workflow']} at {document['revision']}"),
        ("state", document["state"]),
        ("going on", f"{going}  (operation {document['operation']})" if going and document["operation"] else going),
        ("run", str(document["run_number"] or "")),
        ("last run", str(document["last_run_number"] or "")),
        ("created", f"{moment(document['created_ms'])} by {document['requester']}"),
        ("detectors", ", ".join(document["detectors"])),
        ("excluded", ", ".join(document["excluded"])),
        ("auto", "ends by itself after its run" if document["auto"] else ""),
        ("tasks", counted(standing)),
        ("cause", document["cause"]),
    )
    yield from (f"{name:<13}{text}" for name, text in facts if text)
    if len(document["failures"]) > 1 or not document["cause"]:  # a single one is the cause
        yield from (f"  {path}: {reason}" for path, reason in sorted(document["failures"].items()))
    if document["state"] == "ERROR" and not going:
        yield f"next         coconut environment recover {document['environment']}, or destroy it"
    late = [task for task in document["tasks"] if task["age_ms"] >= SUSPECT_MS]
    for word in ("LOST", "SUSPECT"):
        if old := [task for task in late if (task["state"] == "UNKNOWN") is (word == "LOST")]:
            nodes = ", ".join(sorted({task["node"] for task in old}))
            age = max(task["age_ms"] for task in old) / 1000
            yield f"{word:<13}{len(old)} task{'s' * (len(old) != 1)} on {nodes}: not heard of for {age:.1f} s"
    if stalled := [task for task in document["tasks"] if task["stalled"]]:
        more = f" and {len(stalled) - 3} more" if len(stalled) > 3 else ""
        names = ", ".join(f"{task['role']} on {task['node']}" for task in stalled[:3])
        yield f"STALLED      {names}{more}: {stalled[0]['error'] or 'does not answer'}"


SUSPECT_MS = 1500
"""What is older than this is shown as doubtful; of a node that is LOST the states of its tasks are UNKNOWN."""


def tree_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Return the roles of an environment, one on a line, indented, with states."""
    roles = [role for role in document["roles"] if role["kind"] != "call"]
    tasks = {task["role"]: task for task in document["tasks"]}
    width = max((2 * role["path"].count(".") + len(_last(role["path"])) for role in roles), default=0)
    for role in roles:
        depth = role["path"].count(".")
        task = tasks.get(role["path"])
        state = "EXCLUDED" if role["excluded"] else "hook" if task is not None and task["hook"] else role["state"]
        text = f"{'  ' * depth + _last(role['path']):<{width}}  {state:<11}"
        if not role["critical"]:
            text += "  not critical"
        if role["min"]:
            text += f"  needs {role['min']}"
        if task is not None:
            text += f"  {task['class']} on {task['node']}" + (f" pid {task['pid']}" if task["pid"] else "")
            text += f"  {task['exit'] or task['error']}" if task["exit"] or task["error"] else ""
        yield text.rstrip()


def _last(path: str) -> str:
    return path.rpartition(".")[2]


TASK_COLUMNS = (
    Column("task", lambda row: row["task"]),
    Column("role", lambda row: row["role"]),
    Column("class", lambda row: row["class"]),
    Column("node", lambda row: row["node"]),
    Column("critical", lambda row: "yes" if row["critical"] else "no"),
    Column("state", lambda row: task_state(row)),
    Column("pid", lambda row: str(row["pid"] or "")),
    Column("mode", lambda row: row["mode"], wide=True),
    Column("age", lambda row: f"{row['age_ms'] / 1000:.1f} s" if row["age_ms"] else "", wide=True),
    Column("end", lambda row: row["exit"] or row["error"], wide=True),
    Column("last line", lambda row: row["last_log"], wide=True),
)


def task_state(row: Mapping[str, Any]) -> str:
    """Return the state of a task, with what makes it doubtful."""
    state = "EXCLUDED" if row["excluded"] else "hook" if row["hook"] else row["state"]
    marks = [word for word in ("stalled", "orphan") if row[word]]
    if row["age_ms"] >= SUSPECT_MS:
        marks.append(f"{row['age_ms'] / 1000:.0f} s old")
    return f"{state} ({', '.join(marks)})" if marks else str(state)


def task_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Return tasks as a table."""
    columns = [column for column in TASK_COLUMNS if not column.wide]
    yield from aligned([[column.title for column in columns], *([c.text(row) for c in columns] for row in rows)])
