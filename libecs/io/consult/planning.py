"""What a plan tells: who would run where and why, which steps each transition has, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from libecs.engine.placement import NodeOffer, Placed, place, runnable
from libecs.engine.plan import Plan, Step, destruction, transition
from libecs.errors import Unplaceable
from libecs.fsm import EnvEvent, EnvState
from libecs.workflow.render import to_json
from libecs.workflow.role import Role, Workflow

LIFE: Sequence[tuple[EnvEvent, EnvState]] = (
    (EnvEvent.DEPLOY, EnvState.STANDBY),
    (EnvEvent.CONFIGURE, EnvState.DEPLOYED),
    (EnvEvent.START_ACTIVITY, EnvState.CONFIGURED),
    (EnvEvent.STOP_ACTIVITY, EnvState.RUNNING),
    (EnvEvent.RESET, EnvState.CONFIGURED),
    (EnvEvent.GO_ERROR, EnvState.RUNNING),
    (EnvEvent.RECOVER, EnvState.ERROR),
)
"""The transitions of a life, in order; destroying comes after them."""


@attrs.frozen
class EnvironmentPlan:
    """A workflow, thought through to its end without launching anything."""

    workflow: Workflow
    placed: tuple[Placed, ...]
    unplaced: Mapping[str, str]
    """Role path to why no node takes it."""
    transitions: tuple[Plan, ...]
    missing: tuple[str, ...]
    """What has to be there and is not, in words."""
    fixed_ports: frozenset[str]
    """Nodes whose ports are known; those of others are found when they start."""

    @property
    def works(self) -> bool:
        """Whether nothing is missing."""
        return not (self.unplaced or self.missing)

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        workflow = self.workflow
        return {
            "workflow": workflow.name,
            "repository": workflow.repository,
            "revision": workflow.revision,
            "ok": self.works,
            "tree": to_json(workflow),
            "placement": [
                {
                    "role": workflow.roles[one.role].path,
                    "class": _class_name(workflow.roles[one.role]),
                    "node": one.node,
                    "reason": one.reason,
                    "endpoints": self._endpoints(one),
                    "ports": list(one.ports) if one.node in self.fixed_ports else [],
                }
                for one in self.placed
            ],
            "unplaced": dict(self.unplaced),
            "transitions": [
                {
                    "event": plan.event,
                    "source": plan.source.name,
                    "target": plan.target.name,
                    "steps": [_step_document(step, workflow) for step in plan.steps],
                }
                for plan in self.transitions
            ],
            "missing": list(self.missing),
        }

    def _endpoints(self, placed: Placed) -> dict[str, str]:
        if placed.node in self.fixed_ports:
            return dict(placed.endpoints)
        return {
            name: address.rpartition(":")[0] + ":*" if address.startswith("tcp:") else address
            for name, address in placed.endpoints.items()
        }


def make_plan(
    workflow: Workflow,
    offers: Iterable[NodeOffer],
    missing: Iterable[str] = (),
    *,
    fixed_ports: Iterable[str] | None = None,
) -> EnvironmentPlan:
    """Think a workflow through: place its tasks, and compute the steps of every transition.

    Args:
        workflow: an expanded one.
        offers: the nodes.
        missing: what else is known not to be there.
        fixed_ports: names of nodes whose ports are what they will be; None = of all.
    """
    nodes = tuple(offers)
    ids = {index: f"plan-{index}" for index in runnable(workflow)}
    unplaced: dict[str, str] = {}
    placed: tuple[Placed, ...] = ()
    try:
        placed = place(workflow, nodes, ids)
    except Unplaceable as error:
        unplaced = dict(error.reasons)
        fitting = {index: name for index, name in ids.items() if workflow.roles[index].path not in unplaced}
        try:
            placed = place(workflow, nodes, fitting)
        except Unplaceable as second:  # what stood in the way of the others is gone, so this cannot get worse
            unplaced |= second.reasons
    plans = tuple(transition(workflow, event, source) for event, source in LIFE)
    return EnvironmentPlan(
        workflow,
        placed,
        unplaced,
        (*plans, destruction(workflow, EnvState.DEPLOYED)),
        tuple(missing),
        frozenset(node.name for node in nodes) if fixed_ports is None else frozenset(fixed_ports),
    )


def unserved(workflow: Workflow, served: Iterable[str], *, critical: bool) -> list[str]:
    """Return a sentence for each function that nobody serves and that critical (or other) call roles want."""
    known = set(served)
    names = {name.partition(".")[0] for name in known}
    wanted: dict[str, list[str]] = {}
    for role in workflow.roles:
        if role.call is not None and role.call.trigger is not None and role.critical is critical:
            wanted.setdefault(role.call.func.partition("(")[0], []).append(role.path)
    sentences = []
    for function, paths in wanted.items():
        if function in known:
            continue
        what = f"the function {function}" if function.partition(".")[0] in names else f"the integration of {function}"
        who = f"{len(paths)} {'critical ' if critical else ''}call role{'s' * (len(paths) != 1)}"
        sentences.append(f"{what}, for {who}: {', '.join(paths[:3])}{' …' * (len(paths) > 3)}")
    return sentences


def _class_name(role: Role) -> str:
    return role.task.class_name if role.task is not None else ""


def _step_document(step: Step, workflow: Workflow) -> dict[str, Any]:
    return {
        "kind": step.kind.name.lower(),
        "moment": step.moment,
        "weight": step.weight,
        "text": step.describe(),
        "roles": [workflow.roles[index].path for index in step.roles],
    }
