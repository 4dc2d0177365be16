"""Transition plans: the steps of every transition, computed up front from the workflow alone.

A plan is a list and an index into it. It can be printed, journalled, and resumed after `kill -9`; nothing about a
transition is decided anywhere else. The order of a transition E from S to D:

    before_E hooks, weights < 0; the core's own action; before_E hooks, weights >= 0
    leave_S hooks in the same way
    the tasks
    the state becomes D
    enter_D hooks, after_E hooks, again around the core's own actions

At each weight calls are started first, then those due are awaited, then hook tasks run. A critical failure in a
before_ or leave_ moment aborts the plan; in an enter_ or after_ moment it skips the rest of that half and is kept.
Source: AliECS 1.50, "order of operations".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Any

import attrs

from libecs.fsm import ENVIRONMENT, TASK_EVENT_OF, EnvEvent, EnvState
from libecs.workflow.role import Moment, RoleKind, Workflow


class StepKind(IntEnum):
    """What a step does."""

    CALLS = 1
    """Start the calls of `roles`."""
    AWAIT = 2
    """Wait for the calls of `roles`, those that were started."""
    HOOKS = 3
    """Run the hook tasks of `roles` and wait for their ends."""
    ACTION = 4
    """Do the core's own `action`."""
    PLACE = 5
    """Choose nodes and addresses for all tasks."""
    LAUNCH = 6
    """Start what is not started and wait until it is ACTIVE."""
    TASKS = 7
    """Take the tasks in `source` state through `event`."""
    ENTER = 8
    """The environment's state becomes `state`."""
    KILL = 9
    """End all tasks and wait for their ends."""


@attrs.frozen(kw_only=True)
class Step:
    """One step. `half` numbers stretches of hooks: a kept failure skips to the next half."""

    kind: StepKind
    moment: str = ""
    weight: int = 0
    half: int = 0
    abort: bool = True
    """A critical failure here ends the plan; else it is kept and the rest of the half skipped."""
    roles: tuple[int, ...] = ()
    action: str = ""
    event: str = ""
    """TaskEvent name of a TASKS step."""
    lenient: bool = False
    """A TASKS step that takes only those in the right state, and that no failure stops."""
    state: str = ""

    def describe(self) -> str:
        """Return the step in words."""
        at = str(Moment(name=self.moment, weight=self.weight)) if self.moment else ""
        n = len(self.roles)
        return {
            StepKind.CALLS: f"{at}: start {n} call{'s' * (n != 1)}",
            StepKind.AWAIT: f"{at}: await {n} call{'s' * (n != 1)}",
            StepKind.HOOKS: f"{at}: run {n} hook task{'s' * (n != 1)}",
            StepKind.ACTION: f"{at}: {self.action.replace('_', ' ')}".removeprefix(": "),
            StepKind.PLACE: "place tasks",
            StepKind.LAUNCH: "launch tasks",
            StepKind.TASKS: f"tasks: {self.event}" + (f" (group {self.half})" if self.roles else ""),
            StepKind.ENTER: f"enter {self.state}",
            StepKind.KILL: "end tasks",
        }[self.kind]


@attrs.frozen(kw_only=True)
class Plan:
    """The steps of one transition. `event` is that of the environment, or DESTROY."""

    event: str
    source: EnvState
    target: EnvState
    steps: tuple[Step, ...]


DESTROY = "DESTROY"
RECONFIGURE = "RECONFIGURE"
MODIFY = "MODIFY"
"""Plans that are no events of an environment."""

# The core's own actions at its place between the negative and the other weights of a moment.
_ACTIONS: Mapping[str, str] = {
    "before_START_ACTIVITY": "take_run_number",
    "before_STOP_ACTIVITY": "end_of_run",
    "before_GO_ERROR": "end_of_run",
    "leave_RUNNING": "end_of_run",
    "after_START_ACTIVITY": "start_completed",
    "after_STOP_ACTIVITY": "end_completed",
    "after_GO_ERROR": "end_completed",
}


class _Hooks:
    """The hooks of a workflow by moment and weight."""

    def __init__(self, workflow: Workflow) -> None:
        self._at: dict[str, dict[int, tuple[list[int], list[int], list[int]]]] = {}
        for index, role in enumerate(workflow.roles):
            if role.kind is RoleKind.CALL and role.call is not None and role.call.trigger is not None:
                self._slot(role.call.trigger)[0].append(index)
                self._slot(role.call.await_ or role.call.trigger)[1].append(index)
            elif role.kind is RoleKind.TASK and role.task is not None and role.task.trigger is not None:
                self._slot(role.task.trigger)[2].append(index)

    def _slot(self, moment: Moment) -> tuple[list[int], list[int], list[int]]:
        return self._at.setdefault(moment.name, {}).setdefault(moment.weight, ([], [], []))

    def weights(self, moment: str) -> list[int]:
        return sorted(self._at.get(moment, {}))

    def steps(self, moment: str, weights: Iterable[int], half: int, abort: bool) -> Iterator[Step]:
        for weight in weights:
            slots = self._at[moment][weight]
            for kind, roles in zip((StepKind.CALLS, StepKind.AWAIT, StepKind.HOOKS), slots, strict=True):
                if roles:
                    yield Step(kind=kind, moment=moment, weight=weight, half=half, abort=abort, roles=tuple(roles))


class _Builder:
    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.hooks = _Hooks(workflow)
        self.steps: list[Step] = []
        self.half = 0

    def moment(self, name: str, *, abort: bool, action: str = "") -> None:
        weights = self.hooks.weights(name)
        self.half += 1
        self.steps += self.hooks.steps(name, [w for w in weights if w < 0], self.half, abort)
        self.half += 1
        action = action or _ACTIONS.get(name, "")
        if action:
            self.steps.append(Step(kind=StepKind.ACTION, moment=name, action=action, half=self.half, abort=abort))
            self.half += 1
        self.steps += self.hooks.steps(name, [w for w in weights if w >= 0], self.half, abort)

    def add(self, kind: StepKind, **fields: Any) -> None:
        self.half += 1
        self.steps.append(Step(kind=kind, half=self.half, **fields))

    def tasks(self, event: str, groups: tuple[tuple[int, ...], ...] = ((),), lenient: bool = False) -> None:
        for roles in groups:
            self.add(StepKind.TASKS, event=event, roles=roles, lenient=lenient)


def transition(workflow: Workflow, event: EnvEvent, source: EnvState) -> Plan:
    """Return the plan of an event from a state in which it is allowed."""
    target = ENVIRONMENT[source][event]
    b = _Builder(workflow)
    error = event is EnvEvent.GO_ERROR
    if event is EnvEvent.DEPLOY:
        b.add(StepKind.PLACE)
    b.moment(f"before_{event.name}", abort=not error)
    b.moment(f"leave_{source.name}", abort=not error)
    if event is EnvEvent.DEPLOY:
        b.add(StepKind.LAUNCH)
    elif event is EnvEvent.RECOVER:
        b.add(StepKind.ACTION, action="await_nodes", lenient=True)
        b.add(StepKind.ACTION, action="revive")
        b.tasks("STOP", lenient=True)
        b.tasks("RESET", lenient=True)
        b.tasks("RECOVER", lenient=True)
        b.add(StepKind.LAUNCH)
    elif event is EnvEvent.START_ACTIVITY:
        b.tasks("START", start_groups(workflow))
    elif event is EnvEvent.STOP_ACTIVITY:
        b.tasks("STOP", start_groups(workflow)[::-1])
    elif error:
        if source in (EnvState.CONFIGURED, EnvState.RUNNING):  # in CONFIGURED some may run: a START that broke off
            b.tasks("STOP", start_groups(workflow)[::-1], lenient=True)
    else:
        b.tasks(TASK_EVENT_OF[event].name)
    b.add(StepKind.ENTER, state=target.name)
    b.moment(f"enter_{target.name}", abort=False, action="stamp_enter")
    b.moment(f"after_{event.name}", abort=False)
    if event in (EnvEvent.STOP_ACTIVITY, EnvEvent.GO_ERROR):
        b.add(StepKind.ACTION, action="forget_run")
    return Plan(event=event.name, source=source, target=target, steps=tuple(b.steps))


def destruction(workflow: Workflow, source: EnvState, keep_tasks: bool = False) -> Plan:
    """Return the plan that ends an environment from any state; no failure in it stops it.

    Ending a healthy one is the event EXIT, so its moments are visited then. keep_tasks: bring tasks to STANDBY first,
    for the idle pool.
    """
    b = _Builder(workflow)
    healthy = EnvEvent.EXIT in ENVIRONMENT[source]
    moments = ["before_DESTROY", f"leave_{source.name}", "DESTROY"]
    if healthy:
        moments.insert(0, "before_EXIT")
    for name in moments:
        b.moment(name, abort=False)
    b.add(StepKind.ACTION, action="end_run_at_teardown")
    if keep_tasks:
        b.tasks("STOP", lenient=True)
        b.tasks("RESET", lenient=True)
    b.add(StepKind.KILL)
    b.add(StepKind.ENTER, state=EnvState.DONE.name)
    b.moment(f"enter_{EnvState.DONE.name}", abort=False)
    b.moment("after_DESTROY", abort=False)
    if healthy:
        b.moment("after_EXIT", abort=False)
    return Plan(event=DESTROY, source=source, target=EnvState.DONE, steps=tuple(b.steps))


def reconfiguration(live: Iterable[int] = (), basics: Iterable[int] = (), resets: Iterable[int] = ()) -> Plan:
    """Return the plan that gives tasks other properties; before they are compared nobody knows which.

    live: roles whose tasks are told what changed. basics: those that are held anew. resets: those that are configured
    anew.
    """
    steps = [Step(kind=StepKind.ACTION, half=1, action="compare")]
    live, basics, resets = tuple(sorted(live)), tuple(sorted(basics)), tuple(sorted(resets))

    def add(kind: StepKind, roles: tuple[int, ...], **fields: Any) -> None:
        if roles:
            steps.append(Step(kind=kind, half=len(steps) + 1, roles=roles, **fields))

    add(StepKind.TASKS, live, event="RECONFIGURE")
    add(StepKind.TASKS, resets, event="RESET")
    add(StepKind.TASKS, resets, event="CONFIGURE")
    add(StepKind.ACTION, basics, action="renew")  # last: what is held anew can't be put back
    add(StepKind.LAUNCH, basics)
    add(StepKind.TASKS, basics, event="CONFIGURE")
    steps.append(Step(kind=StepKind.ACTION, half=len(steps) + 1, action="reconfigured"))
    configured = EnvState.CONFIGURED
    return Plan(event=RECONFIGURE, source=configured, target=configured, steps=tuple(steps))


def modification(
    workflow: Workflow, state: EnvState, leaving: Iterable[int] = (), joining: Iterable[int] = (), *, take: bool = False
) -> Plan:
    """Return the plan that takes tasks out of an environment in CONFIGURED or RUNNING, and puts others back.

    No failure of what is taken out stops it. take: another environment gives up tasks first.
    """
    leaving, joining = tuple(sorted(leaving)), tuple(sorted(joining))
    b = _Builder(workflow)
    _down(b, workflow, state, leaving)
    if leaving:
        b.add(StepKind.ACTION, action="release")
    if take:
        b.add(StepKind.ACTION, action="take")
    if joining:
        b.add(StepKind.ACTION, action="await_former", lenient=True)
        b.add(StepKind.ACTION, action="admit")
        b.add(StepKind.LAUNCH, roles=joining)
        b.add(StepKind.TASKS, event="CONFIGURE", roles=joining)
        if state is EnvState.RUNNING:
            b.tasks("START", _within(start_groups(workflow), joining))
        b.add(StepKind.ACTION, action="join")
    return Plan(event=MODIFY, source=state, target=state, steps=tuple(b.steps))


def retreat(workflow: Workflow, state: EnvState, joining: Iterable[int]) -> Plan:
    """Return the plan that lets tasks go that could not be put back."""
    b = _Builder(workflow)
    _down(b, workflow, state, tuple(sorted(joining)))
    b.add(StepKind.ACTION, action="dismiss")
    return Plan(event=MODIFY, source=state, target=state, steps=tuple(b.steps))


def _down(b: _Builder, workflow: Workflow, state: EnvState, roles: tuple[int, ...]) -> None:
    """Bring tasks to STANDBY, as far as they can be."""
    if roles and state is EnvState.RUNNING:
        b.tasks("STOP", _within(start_groups(workflow)[::-1], roles), lenient=True)
    if roles:
        b.add(StepKind.TASKS, event="RESET", roles=roles, lenient=True)


def _within(groups: Iterable[tuple[int, ...]], chosen: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return what of groups is chosen; an empty group stands for all."""
    wanted = set(chosen)
    cut = (tuple(index for index in group if index in wanted) if group else chosen for group in groups)
    return tuple(group for group in cut if group)


def start_groups(workflow: Workflow) -> tuple[tuple[int, ...], ...]:
    """Return the task roles in the order of START: groups that `start_after` puts one after the other.

    One empty group stands for all tasks at once, where no role asks for an order.

    Raises:
        ValueError: the orders make a cycle; the message names it. Expansion has refused such a workflow before.
    """
    if not any(role.start_after for role in workflow.roles):
        return ((),)
    rounds = _rounds(workflow)
    groups: dict[int, list[int]] = {}
    for index, role in enumerate(workflow.roles):
        if role.task is not None and role.task.trigger is None:
            groups.setdefault(rounds[index], []).append(index)
    return tuple(tuple(groups[number]) for number in sorted(groups))


def _rounds(workflow: Workflow) -> list[int]:
    """Return for each role the first round in which tasks of it may start.

    That is the round of its parent, and later than the last round of whatever it starts after. Both numbers of all
    roles, first and last, are nodes of one graph, which is walked in the order of what needs what: each role and each
    `start_after` is looked at once, however many tasks they hold.
    """
    roles = workflow.roles
    n = len(roles)
    index = {role.path: i for i, role in enumerate(roles)}
    needed_by: list[list[tuple[int, int]]] = [[] for _ in range(2 * n)]
    """Node i is the first round of role i, node n + i its last one; with what is added on the way."""
    missing = [0] * (2 * n)

    def needs(node: int, other: int, later: int) -> None:
        needed_by[other].append((node, later))
        missing[node] += 1

    for i, role in enumerate(roles):
        if role.parent >= 0:
            needs(i, role.parent, 0)
            needs(n + role.parent, n + i, 0)
        for path in role.start_after:
            if path in index:
                needs(i, n + index[path], 1)
        if role.task is not None and role.task.trigger is None:
            needs(n + i, i, 0)
    found = [0] * n + [-1] * n
    ready = [node for node in range(2 * n) if not missing[node]]
    for node in ready:  # grows
        for other, later in needed_by[node]:
            found[other] = max(found[other], found[node] + later)
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    if len(ready) < 2 * n:
        stuck = [role.path for i, role in enumerate(roles) if missing[i] and role.task is not None]
        raise ValueError(f"start_after makes a cycle among {', '.join(stuck)}")
    return found[:n]
