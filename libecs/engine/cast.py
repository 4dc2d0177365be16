"""Who plays which role in an environment: its tasks, where they are, what is known of them, and who may be missing.

What is told of a task goes up the role tree from here. Plans, and the environment's own state, are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from libecs.engine import members
from libecs.engine.placement import Placed
from libecs.engine.straying import Straying
from libecs.engine.streams import Streams
from libecs.engine.task import Task
from libecs.engine.tree import RoleTree
from libecs.fsm import TaskState
from libecs.wire.node import Phase, TaskStatus
from libecs.workflow.channels import Wiring
from libecs.workflow.role import TaskClass, Workflow

NO_ROLES = Workflow(name="", roles=(), classes={})
"""What there is to play before a workflow is expanded."""


class Cast:
    """The tasks of one environment, by the roles of its workflow."""

    def __init__(self, environment: str, workflow: Workflow = NO_ROLES) -> None:
        self.placed: dict[int, Placed] = {}
        self.tasks: dict[str, Task] = {}
        self.by_role: dict[int, Task] = {}
        self.by_node: dict[str, list[Task]] = {}
        self.tree = RoleTree(workflow)
        self.out: frozenset[int] = frozenset()
        """Roles that count for nothing: excluded, or on their way out or in."""
        self.has_min = any(role.min for role in workflow.roles)
        """Whether any group can do without members."""
        self.has_drop = any(one.on_exit == "drop" for one in workflow.classes.values())
        """Whether any class can do without its tasks."""
        self.moved: dict[str, TaskState] = {}
        """Role path to state, of tasks that changed and were not published yet."""
        self.wiring: Wiring | None = None
        """What tasks are told of their channels; None = nobody has asked since they were placed."""
        self.streams: Streams | None = None
        """Whose end the run waits for; None = not looked up yet, or no run."""
        self.strays: Straying | None = None
        """Who has left the state of the environment by himself; None = not looked up yet, or something goes on."""
        self._environment = environment
        self._workflow = workflow

    def task_class(self, index: int) -> TaskClass:
        """Return the class of a task role."""
        traits = self._workflow.roles[index].task
        assert traits is not None
        return self._workflow.classes[traits.class_name]

    def class_name(self, task: Task) -> str:
        """Return the name of a task's class."""
        traits = self._workflow.roles[task.role].task
        assert traits is not None
        return traits.class_name

    def runners(self) -> Iterable[Task]:
        """Return the tasks that take part in transitions: all but hooks."""
        return (task for task in self.tasks.values() if not task.hook)

    def set_placed(self, placed: Iterable[Placed]) -> None:
        """Take over where tasks are. Tasks whose id stays keep what is known of them."""
        old = self.tasks
        self.placed = {one.role: one for one in placed}
        self.tasks, self.by_role, self.by_node, self.wiring, self.strays = {}, {}, {}, None, None
        for index, one in self.placed.items():
            role = self._workflow.roles[index]
            assert role.task is not None
            task = old.get(one.task) or Task(
                id=one.task,
                role=index,
                path=role.path,
                node=one.node,
                mode=role.task.mode,
                critical=role.critical,
                hook=role.task.trigger is not None,
                own=one.task.startswith(f"{self._environment}t"),
            )
            self.tasks[one.task] = self.by_role[index] = task
            self.by_node.setdefault(one.node, []).append(task)
        for tasks in self.by_node.values():
            tasks.sort(key=lambda task: task.role)

    def set_out(self, out: frozenset[int]) -> None:
        """Let these roles count for nothing."""
        if out != self.out:
            self.out = out
            self.tree.set_out(out)
        self.wiring = self.streams = self.strays = None

    # who may be missing

    def matters(self, task: Task) -> bool:
        """Return whether the environment can't go on without a task that is dead."""
        if not task.critical or task.role in self.out:
            return False
        if self.has_drop and self.task_class(task.role).on_exit == "drop":
            group = self.tree.group_of(task.role)
            alone = all(other.dead for other in self.runners())
            return alone or (group >= 0 and self.tree.breaks_root(group))
        return not self.has_min or self.tree.breaks_root(task.role)

    def lost_roles(self) -> set[int]:
        """Return the critical tasks that are dead or have no place, but for excluded ones."""
        found = set()
        for index in members.runners(self._workflow):
            task = self.by_role.get(index)
            if index not in self.out and self._workflow.roles[index].critical and (task is None or task.dead):
                found.add(index)
        return found

    def tolerates(self, roles: Iterable[int]) -> bool:
        """Return whether the environment can do without these critical roles, besides those that it lacks already."""
        if not self.has_min and not self.has_drop:
            return False
        lost = self.lost_roles().union(roles)
        if self.has_drop:
            dropped = {index for index in lost if (task := self.by_role.get(index)) and self._is_dropped(task)}
            if members.short_groups(self._workflow, lost, self.out):
                dropped = set()
            lost -= dropped
        return not members.is_broken(self._workflow, lost, self.out)

    def tolerates_absence(self, wanted: Iterable[int], absent: Set[int]) -> bool:
        """Return whether of these roles, which have no place yet, some may stay without one."""
        lost = self.lost_roles().difference(wanted) | absent
        return not members.is_broken(self._workflow, lost, self.out)

    def may_lack(self, index: int) -> bool:
        """Return whether a role may be absent though it is critical: it is excluded, or its group does without it."""
        return index in self.out or self.tree.group_of(index) >= 0

    def _is_dropped(self, task: Task) -> bool:
        return task.dead and self.task_class(task.role).on_exit == "drop"

    # what is told of them

    def learn(self, task: Task, status: TaskStatus, sequence: int, *, launching: bool) -> bool:
        """Take over what a node says of a task as of `sequence`; tell whether anything changed.

        launching: its node is told to launch it, or to take it over, and has not answered yet.
        """
        if sequence <= task.as_of:
            return False
        elsewhere = status.use != self._environment and (status.use or not task.own)
        if elsewhere and task.as_of < 0 and launching and status.phase is not Phase.EXITED:
            return False  # of its use in another environment: it has not been told of this one yet
        task.as_of = sequence
        before = task.known()
        task.phase, task.state, task.pid = status.phase, status.state, status.pid
        task.exit, task.error, task.last_log = status.exit, status.error, status.last_log or task.last_log
        task.end_of_stream, task.stalled = status.end_of_stream, status.stalled
        task.lost = False
        if before == task.known():
            return False
        self.show(task)
        return True

    def learn_state(self, task: Task, state: TaskState, sequence: int) -> None:
        """Take over that a task has reached a state as of `sequence`; the rest is as it was."""
        if sequence <= task.as_of:
            return
        task.as_of = sequence
        if task.state is not state or task.lost:
            task.state = state
            task.lost = False
            self.show(task)

    def ended(self, name: str, *, planned: bool) -> None:
        """A task that was condemned is gone. If no plan of ours has ended it, somebody has by force: it is broken."""
        task = self.tasks.get(name)
        if task is not None:
            by_force = not planned and task.role not in self.out
            task.phase, task.lost = Phase.EXITED, False
            task.state = TaskState.ERROR if by_force else TaskState.DONE
            task.error = task.error or ("was ended by force" if by_force else "")
            self.show(task)

    def new_session(self, node: str) -> None:
        """A node begins to count its messages anew; what it said before is older than all it will say."""
        for task in self.by_node.get(node, ()):
            if task.as_of > 0:
                task.as_of = 0

    def show(self, task: Task) -> None:
        """Carry the state of a task up the tree, and remember to publish it."""
        state = TaskState.UNKNOWN if task.lost else task.state
        if task.hook:
            return
        if self.streams is not None:
            self.streams.changed(task)
        if self.strays is not None:
            self.strays.changed(task)
        if self.tree.set(task.role, state, task.status):
            self.moved[task.path] = state

    def take_moved(self) -> tuple[tuple[str, TaskState], ...]:
        """Return role and state of the tasks that changed since the last time."""
        moved = tuple(self.moved.items())
        self.moved = {}
        return moved
