"""Environments of detectors that lose and regain them, for tests."""

from __future__ import annotations

import attrs

from libecs.fsm import EnvState, Mode
from libecs.workflow.role import Role, Workflow
from tests.engine.bench import Bench
from tests.engine.flows import group, task, workflow

DETECTORS = ("its", "tpc", "mch", "emc")


def detectors(minimum: int = 0, **modes: Mode) -> Workflow:
    """Four detectors on two nodes, two tasks each, and a trigger."""
    roles: list[Role] = [task("trg", node="n1")]
    for n, name in enumerate(DETECTORS):
        node = f"n{n % 2 + 1}"
        mode = modes.get(name, Mode.DIRECT)
        roles += [group(name), task(f"{name}.ro", node=node, mode=mode), task(f"{name}.qc", node=node, critical=False)]
    made = workflow(*roles)
    return attrs.evolve(made, roles=(attrs.evolve(made.roles[0], min=minimum), *made.roles[1:]))


def up(state: EnvState = EnvState.RUNNING, flow: Workflow | None = None) -> Bench:
    bench = Bench(flow or detectors(), ("n1", "n2"))
    bench.create()
    if state is EnvState.RUNNING:
        bench.control("START_ACTIVITY")
    assert bench.state is state
    for one in bench.nodes.values():
        one.commands.clear()
        one.launched.clear()
    return bench


def picture(bench: Bench, but: str) -> list[object]:
    """Return what is known of the tasks that do not stand below a role."""
    return [attrs.evolve(one, age_ms=0) for one in bench.show().tasks if not one.role.startswith(f"w.{but}.")]


def configured(bench: Bench, role: str) -> dict[str, str]:
    """Return what a task was told by its last CONFIGURE."""
    return [
        dict(message.each[i])
        for one in bench.nodes.values()
        for message in one.commands
        for i, name in enumerate(message.tasks)
        if message.event.name == "CONFIGURE" and one.specs[name].role == role
    ][-1]
