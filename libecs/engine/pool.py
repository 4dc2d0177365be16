"""The idle pool: tasks in STANDBY that no environment uses, until one takes them or somebody ends them.

A task that is released keeps its process, its id and its node. It is on record, so that a core that was restarted
knows it again when its node announces it. Whoever places tasks looks here first: the same class, the same command,
a node that meets the constraints. The executor learns of the new use by a Launch of the task that it holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from libecs.engine.effects import Persist
from libecs.engine.records import IDLE, IdleRecord
from libecs.fsm import Mode, TaskState
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.info import TaskInfo
from libecs.wire.node import Phase, TaskStatus

if TYPE_CHECKING:
    from libecs.engine.context import Context
    from libecs.engine.environment import Environment
    from libecs.engine.task import Task


@attrs.define(kw_only=True)
class Idle:
    """One idle task, and what its node said of it last."""

    record: IdleRecord
    phase: Phase = Phase.ACTIVE
    state: TaskState = TaskState.STANDBY
    pid: int = 0
    as_of: int = -1
    """Sequence number of the node's message that this is known from; -1 = not heard of in this life of the core."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be taken into use now."""
        return self.as_of >= 0 and self.phase is Phase.ACTIVE and self.state is TaskState.STANDBY


class Pool:
    """All idle tasks."""

    def __init__(self) -> None:
        self.idle: dict[str, Idle] = {}
        self._by_node: dict[str, dict[str, Idle]] = {}
        self._by_class: dict[str, dict[str, Idle]] = {}

    def load(self, value: bytes) -> None:
        """Take over a record. Raises DecodeError."""
        self._put(Idle(record=unpack_value(IdleRecord, value)))

    def _put(self, one: Idle) -> None:
        record = one.record
        self.idle[record.task] = one
        self._by_node.setdefault(record.node, {})[record.task] = one
        self._by_class.setdefault(class_key(record.class_name), {})[record.task] = one

    def _drop(self, name: str) -> Idle | None:
        one = self.idle.pop(name, None)
        if one is not None:
            del self._by_node[one.record.node][name]
            del self._by_class[class_key(one.record.class_name)][name]
        return one

    def of(self, node: str) -> Mapping[str, Idle]:
        """Return the idle tasks of a node."""
        return self._by_node.get(node, {})

    def of_class(self, class_name: str) -> list[Idle]:
        """Return the idle tasks of a class that can be taken into use now, the oldest first."""
        found = self._by_class.get(class_key(class_name), {}).values()
        return sorted((one for one in found if one.is_ready), key=lambda one: (one.record.since_ms, one.record.task))

    def infos(self, ages: Mapping[str, int]) -> list[TaskInfo]:
        """Return the idle tasks as clients see them. ages: node to the milliseconds since it was heard, if late."""
        return [
            TaskInfo(
                task=one.record.task,
                role=one.record.role,
                class_name=one.record.class_name,
                mode=Mode(one.record.mode).name.lower(),
                node=one.record.node,
                critical=False,
                phase=one.phase if one.as_of >= 0 else Phase.SUSPECT,
                state=one.state if one.as_of >= 0 else TaskState.UNKNOWN,
                pid=one.pid,
                age_ms=ages.get(one.record.node, 0),
            )
            for one in self.idle.values()
        ]

    # who comes and goes

    def fits(self, env: Environment, ctx: Context, task: Task) -> bool:
        """Return whether a task that its environment does not need any more can stay."""
        controlled = task.mode in (Mode.DIRECT, Mode.FAIRMQ) and not task.hook
        well = task.state is TaskState.STANDBY and task.phase is Phase.ACTIVE and not task.lost and task.as_of >= 0
        known = task.id in env.commands and task.id not in env.record.unsettled
        if not (controlled and well and known) or ctx.is_condemned(task.id) or env.cast.task_class(task.role).endpoint:
            return False
        return not ctx.node_problem(task.node) and ctx.takes_tasks(task.node)

    def add(self, env: Environment, ctx: Context, tasks: Iterable[Task]) -> None:
        """Keep tasks of an environment."""
        kept = []
        for task in tasks:
            limits = env.cast.task_class(task.role).wants
            record = IdleRecord(
                task=task.id,
                node=task.node,
                host=env.cast.placed[task.role].host,
                class_name=env.cast.class_name(task),
                digest=env.commands.pop(task.id),
                mode=int(task.mode),
                environment=env.id,
                role=task.path,
                cpu=limits.cpu,
                memory_mb=limits.memory_mb,
                ports=limits.ports,
                since_ms=ctx.now.unix_ms,
            )
            self._put(Idle(record=record, pid=task.pid, as_of=task.as_of))
            ctx.emit(Persist(IDLE, task.id, pack_value(record)))
            kept.append(record)
        _tell(ctx, env.id, "IDLE", [(record.node, record.role) for record in kept])

    def take(self, ctx: Context, environment: str, roles: Mapping[str, str]) -> dict[str, IdleRecord]:
        """Let an environment have those of some tasks that are idle. roles: task to the path of its new role."""
        taken = {}
        for name in roles:
            if (one := self._drop(name)) is not None:
                ctx.emit(Persist(IDLE, name, None))
                taken[name] = one.record
        _tell(ctx, environment, "USED", [(record.node, roles[name]) for name, record in taken.items()])
        return taken

    def _lose(self, ctx: Context, names: Iterable[str], why: str) -> dict[str, list[str]]:
        """Forget idle tasks; return them by node."""
        by_node: dict[str, list[str]] = {}
        lost: dict[str, list[tuple[str, str]]] = {}
        for name in names:
            if (one := self._drop(name)) is not None:
                ctx.emit(Persist(IDLE, name, None))
                by_node.setdefault(one.record.node, []).append(name)
                lost.setdefault(one.record.environment, []).append((one.record.node, one.record.role))
        for environment, places in lost.items():
            _tell(ctx, environment, "GONE", places, f": {why}", ok=False)
        return by_node

    def end(self, ctx: Context, names: Iterable[str], why: str = "ended on request") -> None:
        """End idle tasks."""
        for node, tasks in self._lose(ctx, names, why).items():
            ctx.condemn(node, tasks)

    def leave(self, ctx: Context, node: str) -> None:
        """A node takes nothing new any more: what is idle there is of no use."""
        self.end(ctx, list(self.of(node)), "ended, the node is drained")

    # what nodes say

    def new_session(self, node: str) -> None:
        """A node begins to count its messages anew."""
        for one in self.of(node).values():
            if one.as_of > 0:
                one.as_of = 0

    def learn(self, ctx: Context, status: TaskStatus, sequence: int) -> None:
        """Take over what a node says of a task, if it is idle. One that can't be used any more leaves the pool."""
        one = self.idle.get(status.task)
        if one is None or sequence <= one.as_of:
            return
        one.as_of, one.phase, one.state, one.pid = sequence, status.phase, status.state, status.pid
        if status.phase is Phase.EXITED or status.state in (TaskState.ERROR, TaskState.DONE):
            why = status.exit.describe() if status.exit is not None else status.error or "went to ERROR"
            self.end(ctx, [status.task], why)

    def learn_state(self, name: str, state: TaskState, sequence: int) -> None:
        """Take over the state that an answer tells of a task, if it is idle."""
        one = self.idle.get(name)
        if one is not None and sequence > one.as_of:
            one.as_of, one.state = sequence, state

    def lost(self, ctx: Context, name: str, sequence: int) -> bool:
        """A node does not hold a task any more; tell whether it was idle."""
        one = self.idle.get(name)
        if one is not None and sequence > one.as_of:
            self._lose(ctx, [name], "not held by its node any more")
        return one is not None


def _tell(
    ctx: Context, environment: str, state: str, places: Iterable[tuple[str, str]], more: str = "", *, ok: bool = True
) -> None:
    """Tell of tasks, given as node and role: one event a node."""
    by_node: dict[str, list[str]] = {}
    for node, role in places:
        by_node.setdefault(node, []).append(role)
    for node, roles in by_node.items():
        text = f"{len(roles)} task{'s' * (len(roles) != 1)} on node {node}{more}"
        tasks = tuple((role, TaskState.STANDBY if ok else TaskState.DONE) for role in roles)
        ctx.event("pool", environment, name=node, state=state, text=text, tasks=tasks, ok=ok)


def class_key(name: str) -> str:
    """Return by what classes are compared: another revision of a repository has the same ones."""
    base, colon, short = name.rpartition(":")
    return f"{base.partition('@')[0]}:{short}" if colon and base.partition("@")[0] else short
