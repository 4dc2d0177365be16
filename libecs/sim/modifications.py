"""Rules on environments that lose and regain roles, and on tasks that nobody uses for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from libecs.engine import members
from libecs.engine.records import (
    ENVIRONMENT,
    IDLE,
    MODIFICATION,
    PLACEMENT,
    EnvironmentRecord,
    ModificationRecord,
    PlacementRecord,
)
from libecs.fsm import EnvState, Mode
from libecs.globs import matches, role_pattern
from libecs.sim.clients import Operation
from libecs.sim.history import History
from libecs.sim.programs import Process
from libecs.wire.client import Environments, Finished, Modify
from libecs.wire.codec import unpack_value
from libecs.wire.info import Event
from libecs.wire.node import TaskSpec
from libecs.workflow.role import Workflow

if TYPE_CHECKING:
    from libecs.sim.world import World


@attrs.define
class Kept:
    """What the core's records say of one environment."""

    excluded: tuple[str, ...] = ()
    plan_number: int = 0
    tasks: frozenset[str] = frozenset()
    moving: frozenset[str] | None = None
    """Paths of the tasks that a modification takes out or puts back."""
    run_before: int = 0
    """The run that went on when it began."""
    modified: int = 0


class Modifications:
    """What is excluded, what is idle, and who touches what."""

    def __init__(self, world: World, history: History) -> None:
        self.world = world
        self.history = history
        self.kept: dict[str, Kept] = {}
        self.idle: set[str] = set()
        self.done = 0
        """Modifications that were answered well."""
        self.reused = 0

    def of(self, environment: str) -> Kept:
        """Return what is known of an environment."""
        return self.kept.setdefault(environment, Kept())

    def forget(self) -> None:
        """The core's records are lost."""
        self.kept.clear()
        self.idle.clear()

    # what is on disk

    def committed(self, records: Mapping[tuple[str, str], bytes | None]) -> None:
        """Records are on disk now."""
        moved = False
        for (table, key), value in records.items():
            if table == IDLE:
                moved = True
                if value is None:
                    self.idle.discard(key)
                else:
                    self.idle.add(key)
            elif table == PLACEMENT:
                moved = True
                placed = unpack_value(PlacementRecord, value).placed if value is not None else ()
                self.of(key).tasks = frozenset(one.task for one in placed)
            elif table == MODIFICATION:
                record = unpack_value(ModificationRecord, value) if value is not None else None
                self._moving(self.of(key), self.world.services.workflow_of(key), record)
            elif table == ENVIRONMENT and value is not None:
                known, now = self.of(key), unpack_value(EnvironmentRecord, value)
                known.excluded, known.plan_number = now.excluded, now.plan_number
            elif table == ENVIRONMENT:
                self.of(key).excluded = ()
        if moved:
            self._one_owner()

    def _moving(self, known: Kept, workflow: Workflow | None, record: ModificationRecord | None) -> None:
        if record is None or workflow is None:
            known.moving = None
            return
        paths = frozenset(workflow.roles[index].path for index in (*record.leaving, *record.joining))
        known.moving = paths | (known.moving or frozenset())

    def _one_owner(self) -> None:
        """No task is in two environments, or in one and idle."""
        owner: dict[str, str] = dict.fromkeys(self.idle, "the idle pool")
        for name, known in self.kept.items():
            for task in known.tasks:
                other = owner.setdefault(task, name)
                if other != name:
                    self._broken("one-owner", f"task {task} is in {name} and in {other}")

    # what happens

    def event(self, event: Event, run: int, state: EnvState) -> None:
        """An event is on disk. `run` and `state`: of its environment, as of now."""
        if event.transition != "MODIFY":
            return
        known = self.of(event.environment)
        if event.kind == "transition.begin":
            known.run_before = run
            known.modified += 1
        elif event.kind == "transition.end" and state is EnvState.RUNNING and run != known.run_before:
            self._broken("modify", f"{event.environment} was in run {known.run_before}, and is in {run}")

    def effect(self, process: Process, id: str, event: str, transition: str) -> None:
        """A command has its effect in a task."""
        spec = process.spec
        if spec.task in self.idle and not id.startswith("peanut"):
            self._broken("idle", f"task {spec.task} ({spec.role}) is idle, and does {event} ({id})")
        known = self.of(spec.environment)
        mine = id.startswith(f"{spec.environment}.{known.plan_number}.")
        if transition == "MODIFY" and mine and known.moving is not None and spec.role not in known.moving:
            self._broken("modify", f"{spec.role} of {spec.environment} does {event} while others are modified")

    def began(self, process: Process, transition: str) -> None:
        """A task's process starts."""
        spec = process.spec
        known = self.of(spec.environment)
        if transition == "MODIFY" and known.moving is not None and spec.role not in known.moving:
            self._broken("modify", f"{spec.role} of {spec.environment} is started while others are modified")

    def answered(self, operation: Operation, request: Modify, finished: Finished) -> None:
        """An operation that modifies has ended: it did what was asked for, or nothing."""
        if finished.code:
            return
        self.done += 1
        later = [
            other
            for other in self.world.shared.operations.values()
            if other.environment == request.environment and other.begun_s > operation.begun_s
        ]
        workflow = self.world.services.workflow_of(request.environment)
        if later or workflow is None or finished.state not in (EnvState.CONFIGURED, EnvState.RUNNING):
            return
        out = members.outside(workflow, self.of(request.environment).excluded)
        drops = {i for i in members.runners(workflow) if self.drops(request.environment, workflow.roles[i].path)}
        given_up = {i for glob in request.exclude for i in _chosen(workflow, glob)}
        wanted = {i for glob in request.include for i in _chosen(workflow, glob)}
        for index in given_up - wanted - out:
            self._broken("modify", f"{workflow.roles[index].path} is not excluded after {request}")
        for index in (wanted - given_up - drops) & out:
            self._broken("modify", f"{workflow.roles[index].path} is not included after {request}")

    # what others ask

    def user_of(self, task: str) -> str:
        """Return the environment that a task is placed in, "" if there is none."""
        return next((name for name, known in self.kept.items() if task in known.tasks), "")

    def counts(self, spec: TaskSpec) -> bool:
        """Whether a task is one of its environment's, and not excluded, on its way, or idle."""
        if spec.task in self.idle:
            return False
        known = self.of(spec.environment)
        if known.moving is not None and spec.role in known.moving:
            return False
        return not self.is_excluded(spec.environment, spec.role)

    def is_excluded(self, environment: str, path: str) -> bool:
        """Whether a role is excluded."""
        excluded = self.of(environment).excluded
        return any(path == out or path.startswith(f"{out}.") for out in excluded)

    def drops(self, environment: str, path: str) -> bool:
        """Whether a task may die without a word."""
        task_class = self.world.services.task_class(environment, path)
        return task_class is not None and task_class.on_exit == "drop"

    def is_loose(self, environment: str, path: str) -> bool:
        """Whether an environment may do without a role."""
        workflow = self.world.services.workflow_of(environment)
        if workflow is None or self.drops(environment, path):
            return workflow is not None
        return any(role.min and path.startswith(f"{role.path}.") for role in workflow.roles)

    def is_broken(self, environment: str) -> bool:
        """Whether an environment can't go on with what lives of it, by `min`. Where anything may be dropped nobody
        knows, nor while others come or go.
        """
        workflow, known = self.world.services.workflow_of(environment), self.of(environment)
        if workflow is None or known.moving is not None or any(c.on_exit == "drop" for c in workflow.classes.values()):
            return False
        there = {task.spec.role for task in self.world.controlled(environment) if task.alive}
        lost = set()
        for index in members.runners(workflow):
            role = workflow.roles[index]
            assert role.task is not None
            watched = (
                role.task.mode in (Mode.DIRECT, Mode.FAIRMQ) and not workflow.classes[role.task.class_name].endpoint
            )
            if role.critical and watched and role.path not in there:
                lost.add(index)
        return members.is_broken(workflow, lost, members.outside(workflow, known.excluded))

    # at rest

    def unsettled(self, snapshot: Environments) -> list[str]:
        """Return what is wrong with what is excluded or idle."""
        reasons = []
        living = {process.spec.task for node in self.world.nodes for process in node.living()}
        for task in sorted(self.idle - living):
            reasons.append(f"task {task} is idle on record, and does not live")
        for info in snapshot.environments:
            if info.excluded != self.of(info.environment).excluded:
                reasons.append(f"{info.environment} shows {info.excluded} as excluded")
            for one in info.tasks:
                if one.excluded and not one.hook and (one.task or one.pid) and not info.transition:
                    reasons.append(f"{info.environment} {one.role} is excluded, and has task {one.task}")
        return reasons

    def _broken(self, rule: str, text: str) -> None:
        self.history.broken(rule, text)


def _chosen(workflow: Workflow, glob: str) -> set[int]:
    pattern = role_pattern(glob)
    roles = {i for i, role in enumerate(workflow.roles) if i and role.call is None and matches(pattern, role.path)}
    return {i for i in members.at_or_below(workflow, roles) if members.is_runner(workflow.roles[i])}
