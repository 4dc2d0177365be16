"""`coconut node list | show | drain | undrain`: the nodes, and which of them take new tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ecsd.coconut.complete import nodes
from ecsd.coconut.options import core_options
from ecsd.coconut.output import Column, Output, json_option, list_options, plain, verb
from ecsd.coconut.watching import show_again, watch_option

if TYPE_CHECKING:
    from libecs.client.ecs import AsyncEcs
    from libecs.wire.info import NodeInfo


def _reach(row: Mapping[str, Any]) -> str:
    age = f" {row['age_ms'] / 1000:.1f} s" if row["reach"] in ("SUSPECT", "LOST") else ""
    return f"{row['reach']}{age}" + (" drained" if row["drained"] else "")


def _used(used: float, whole: float) -> str:
    return f"{used:g}/{whole:g}" if whole else f"{used:g}"


COLUMNS = (
    Column("node", lambda row: row["node"]),
    Column("reach", _reach),
    Column("tasks", lambda row: str(row["tasks"])),
    Column("idle", lambda row: str(row["idle"])),
    Column("orphans", lambda row: str(row["orphans"])),
    Column("cpus", lambda row: _used(row["used_cpus"], row["cpus"])),
    Column("memory MB", lambda row: _used(row["used_memory_mb"], row["memory_mb"])),
    Column("host", lambda row: row["host"]),
    Column("skew ms", lambda row: row["facts"].get("clock_skew_ms", ""), wide=True),
    Column("disk MB", lambda row: row["facts"].get("disk_free_mb", ""), wide=True),
    Column("software", lambda row: row["facts"].get("software", ""), wide=True),
    Column("attributes", lambda row: plain(row["attributes"]), wide=True),
    Column("reason", lambda row: row["reason"], wide=True),
)


@click.command(
    name="list",
    help="""List the nodes: whether they are heard, what they run, what is left.

    \b
    Examples:
      coconut node list
      coconut node list -o wide --watch
      coconut node list --json
    """,
)
@core_options
@watch_option
@list_options
@verb
def list_nodes(output: Output, watch: bool, **options: Any) -> int:
    """List nodes."""
    from ecsd.coconut.documents import node_document
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        async def show() -> Callable[[], None]:
            rows = [node_document(node) for node in await ecs.nodes()]
            document = {"schema": "ecs/node-list/1", "nodes": rows}

            def printing() -> None:
                output.listing(document, "nodes", COLUMNS, name="node")
                if not rows:
                    output.say("no nodes have come; `coconut node invite NAME` prints what to run on one")

            return printing

        await show_again(output, watch, show)

    return Target.of(options).run(work)


async def find_node(ecs: AsyncEcs, wanted: str) -> NodeInfo:
    """Return a node. Raises NotFound."""
    from ecsd.coconut.finding import some
    from ecsd.coconut.lazy import meant
    from libecs.errors import NotFound

    nodes = await ecs.nodes()
    for node in nodes:
        if node.node == wanted:
            return node
    names = [node.node for node in nodes]
    raise NotFound(f"no node {wanted!r}", hint=meant(wanted, names).removeprefix("; ") or f"nodes are {some(names)}")


@click.command(
    help="""Show one node: how it is, its resources, attributes and facts, and the tasks on it.

    \b
    Examples:
      coconut node show flp012
      coconut node show flp012 --json
    """
)
@click.argument("node", shell_complete=nodes)
@core_options
@json_option
@verb
def show(output: Output, node: str, **options: Any) -> int:
    """Show a node."""
    from ecsd.coconut.documents import node_document, task_document
    from ecsd.coconut.environment import task_lines
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        found = await find_node(ecs, node)
        rows = [task_document(task) for task in await ecs.tasks() if task.node == found.node]
        document = {**node_document(found), "held": rows}
        lines = [*_lines(document), *(["", *task_lines(rows)] if rows else [])]
        output.document("node", document, lines)

    return Target.of(options).run(work)


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    facts = (
        ("node", document["node"]),
        ("reach", _reach(document)),
        ("host", document["host"]),
        ("drained", document["reason"] if document["drained"] else ""),
        ("tasks", f"{document['tasks']}, {document['idle']} idle, {document['orphans']} nobody's"),
        ("cpus", _used(document["used_cpus"], document["cpus"])),
        ("memory MB", _used(document["used_memory_mb"], document["memory_mb"])),
    )
    yield from (f"{name:<14}{text}" for name, text in facts if text)
    for kind in ("attributes", "facts"):  # a name may be in both: what constraints ask for, and what the machine says
        if document[kind]:
            yield f"\n{kind}"
            width = max(map(len, document[kind]))
            yield from (f"  {name:<{width}}  {value}" for name, value in sorted(document[kind].items()))


def _drain(output: Output, node: str, options: dict[str, Any], *, on: bool, reason: str) -> int:
    from ecsd.coconut.target import Target

    async def work(ecs: AsyncEcs) -> None:
        found = await find_node(ecs, node)
        await ecs.drain(found.node, on=on, reason=reason)
        left = f"; {found.tasks} tasks go on there" if on and found.tasks else ""
        lines = [f"{found.node} takes {'no new tasks' if on else 'new tasks again'}{left}"]
        output.document("drain", {"node": found.node, "drained": on, "reason": reason, "tasks": found.tasks}, lines)

    return Target.of(options).run(work)


@click.command(
    help="""Place nothing new on a node. What runs there goes on; idle tasks there are ended.

    \b
    Examples:
      coconut node drain flp012 --reason "new disk"
      coconut node drain flp012 --json
    """
)
@click.argument("node", shell_complete=nodes)
@click.option("--reason", default="", help="For those who ask why.")
@core_options
@json_option
@verb
def drain(output: Output, node: str, reason: str, **options: Any) -> int:
    """Drain a node."""
    return _drain(output, node, options, on=True, reason=reason)


@click.command(
    help="""Place new tasks on a node again.

    \b
    Examples:
      coconut node undrain flp012
      coconut node undrain flp012 --json
    """
)
@click.argument("node", shell_complete=nodes)
@core_options
@json_option
@verb
def undrain(output: Output, node: str, **options: Any) -> int:
    """Undo `drain`."""
    return _drain(output, node, options, on=False, reason="")
