"""Environments whose tasks get new properties, for tests."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from libecs.fsm import Mode
from libecs.wire import client
from libecs.wire.client import Finished
from libecs.workflow.role import Workflow
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow


def flow(*more: object, live: bool = True, variables: Mapping[str, str] | None = None) -> Workflow:
    """Two direct tasks `a` and `b` with properties, one basic one `p` whose command has a variable."""
    made = workflow(
        task("a"),
        task("b"),
        task("p", mode=Mode.BASIC),
        *more,  # type: ignore[arg-type] # roles of a test
        variables={"gain": "1", **(variables or {})},
    )
    direct = attrs.evolve(
        made.classes["DIRECT"],
        properties={"threshold": "{{ gain }}0", "mask": "ff", "fixed": "x"},
        defaults={"colour": "red"},
        reconfigure="live" if live else "reset",
    )
    basic = attrs.evolve(made.classes["BASIC"], arguments=("--gain", "{{ gain }}"), properties={"threshold": "1"})
    return attrs.evolve(made, classes={**made.classes, "DIRECT": direct, "BASIC": basic})


def change(bench: Bench, tasks: str = "**", operation: str = "change", **values: str) -> Finished | None:
    environment = next(iter(bench.core.environments))
    bench.ask(client.Reconfigure(operation=operation, environment=environment, values=values, tasks=tasks))
    return bench.answers.get(operation)


def made(live: bool = True, *more: object) -> Bench:
    bench = Bench(flow(*more, live=live))
    bench.create()
    bench.nodes["n1"].commands.clear()
    return bench


def told(bench: Bench) -> list[tuple[str, str, dict[str, str]]]:
    """Return (role, event, properties) of all commands."""
    one = bench.nodes["n1"]
    return [
        (one.specs[name].role, message.event.name, dict(message.each[i]) if message.each else {})
        for message in one.commands
        for i, name in enumerate(message.tasks)
    ]
