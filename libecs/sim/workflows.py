"""Small workflows out of a seed, as values: aggregators, tasks of every mode, calls and hooks at many moments."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import attrs

from libecs.engine.members import is_member
from libecs.fsm import Mode
from libecs.workflow.role import (
    CallTraits,
    Channel,
    Constraint,
    Moment,
    Role,
    RoleKind,
    TaskClass,
    TaskTraits,
    Workflow,
)

CALL_PAIRS = (
    ("before_DEPLOY", "before_DEPLOY"),
    ("before_DEPLOY", "after_DEPLOY"),
    ("before_CONFIGURE", "after_CONFIGURE"),
    ("before_CONFIGURE", "before_CONFIGURE"),
    ("after_CONFIGURE", "after_CONFIGURE"),
    ("enter_CONFIGURED", "enter_CONFIGURED"),
    ("before_START_ACTIVITY", "before_START_ACTIVITY"),
    ("before_START_ACTIVITY", "after_START_ACTIVITY"),
    ("enter_RUNNING", "enter_RUNNING"),
    ("leave_RUNNING", "leave_RUNNING"),
    ("before_STOP_ACTIVITY", "after_STOP_ACTIVITY"),
    ("after_STOP_ACTIVITY", "after_STOP_ACTIVITY"),
    ("before_GO_ERROR", "after_GO_ERROR"),
    ("before_RESET", "after_RESET"),
    ("DESTROY", "DESTROY"),
)
"""Trigger and await moments that a call is given."""

HOOK_MOMENTS = (
    "before_CONFIGURE",
    "after_CONFIGURE",
    "before_START_ACTIVITY",
    "enter_RUNNING",
    "after_STOP_ACTIVITY",
    "DESTROY",
)

GAIN = "gain"
"""A variable of the root, of which a property of every controlled task is made."""

FUNCTIONS = ("sim.Quick()", "sim.Set()", "sim.Slow()", "sim.Slow()", "sim.Fail()", "sim.Never()")
IDEMPOTENT = frozenset({"sim.Quick"})
"""Functions that say that they may be called again."""


def at_places(workflow: Workflow, first: int) -> Workflow:
    """Return a workflow whose attached tasks listen at ports of their own, from `first` on: nobody shares them."""
    classes = dict(workflow.classes)
    for name, task_class in workflow.classes.items():
        if task_class.endpoint:
            classes[name] = attrs.evolve(task_class, endpoint=f"tcp://hall:{first}")
            first += 1
    return attrs.evolve(workflow, classes=classes)


def make_workflow(
    random: Random,
    name: str,
    nodes: Sequence[str],
    *,
    trouble: float,
    max_tasks: int = 5,
    only_non_critical_trouble: bool = False,
    loose: Random | None = None,
) -> Workflow:
    """Draw a workflow for these nodes; `trouble` is the probability that a call or hook is one that fails.

    Tasks are pinned to nodes by the attribute `machine_id`, or may go anywhere. loose: draws groups that can do without
    members, and tasks that may die.
    """
    builder = _Builder(random, nodes, trouble, only_non_critical_trouble)
    root = builder.add(-1, "root", RoleKind.AGGREGATOR)
    parents = [root]
    for n in range(random.randint(1, 3)):
        parents.append(builder.add(random.choice(parents), f"part{n}", RoleKind.AGGREGATOR))
    # Every aggregator has an effective child: an empty one would merge to nothing.
    for n, parent in enumerate(parents):
        builder.task(parent, f"base{n}", critical=True)
    for n in range(random.randint(0, max_tasks - 1)):
        builder.task(random.choice(parents), f"task{n}")
    for n in range(random.choice((0, 1, 2, 4))):
        builder.call(random.choice(parents), f"call{n}")
    for n in range(random.choice((0, 0, 1, 2))):
        builder.hook(random.choice(parents), f"hook{n}")
    if random.random() < 0.15:
        builder.attached(random.choice(parents), "hall0", "tcp://hall:1")
    if random.random() < 0.2:
        builder.order()
    if loose is not None:
        builder.loosen(loose)
    return Workflow(name=name, roles=builder.pre_order(), classes=builder.classes, revision="local")


class _Builder:
    """Collects roles; parents are indices in order of entry until `pre_order` sorts them."""

    def __init__(self, random: Random, nodes: Sequence[str], trouble: float, only_non_critical_trouble: bool) -> None:
        self.random = random
        self.nodes = nodes
        self.trouble = trouble
        self.only_non_critical_trouble = only_non_critical_trouble
        self.classes: dict[str, TaskClass] = {}
        self._roles: list[Role] = []

    def add(
        self,
        parent: int,
        name: str,
        kind: RoleKind,
        *,
        critical: bool = True,
        task: TaskTraits | None = None,
        call: CallTraits | None = None,
        constraints: tuple[Constraint, ...] = (),
        bind: tuple[Channel, ...] = (),
    ) -> int:
        path = f"{self._roles[parent].path}.{name}" if parent >= 0 else name
        role = Role(
            name=name,
            path=path,
            parent=parent,
            kind=kind,
            critical=critical,
            task=task,
            call=call,
            defaults={GAIN: "1"} if parent < 0 else {},
            constraints=constraints,
            bind=bind,
        )
        self._roles.append(role)
        return len(self._roles) - 1

    def task(self, parent: int, name: str, *, critical: bool | None = None) -> None:
        random = self.random
        mode = random.choice((Mode.DIRECT, Mode.DIRECT, Mode.DIRECT, Mode.FAIRMQ, Mode.BASIC))
        if critical is None:
            critical = random.random() < 0.6
        if critical and name.startswith("base"):
            mode = random.choice((Mode.DIRECT, Mode.FAIRMQ))
        with_channel = mode in (Mode.DIRECT, Mode.FAIRMQ) and random.random() < 0.4
        bind = (Channel(name="data", type="push"),) if with_channel else ()
        self.classes[name] = self._class(name, mode, bind)
        self.add(
            parent,
            name,
            RoleKind.TASK,
            critical=critical,
            task=TaskTraits(class_name=name, mode=mode),
            constraints=self._pin(),
            bind=bind,
        )

    def _class(self, name: str, mode: Mode, bind: tuple[Channel, ...]) -> TaskClass:
        random = self.random
        basic = mode is Mode.BASIC
        texts = random.choice(((), ("{{ run_number }}",), ("{{ run_dir }}", "of {{ run_number }}"))) if basic else ()
        return TaskClass(
            name=name,
            mode=mode,
            command=f"/usr/bin/{name}",
            arguments=texts,
            properties={} if basic else {"rate": str(random.randint(1, 9)), GAIN: f"{{{{ {GAIN} }}}}"},
            bind=bind,
            liveness=not basic and random.random() < 0.3,
            reconfigure=random.choice(("live", "live", "reset")),
            on_exit="error" if basic and random.random() < 0.3 else "",
            stop=random.choice(("", "SIGINT")) if basic else "",
        )

    def attached(self, parent: int, name: str, endpoint: str) -> None:
        """Add a task that somebody else starts."""
        self.classes[name] = TaskClass(
            name=name,
            mode=Mode.DIRECT,
            properties={"rate": "1", GAIN: f"{{{{ {GAIN} }}}}"},
            endpoint=endpoint,
            reconfigure=self.random.choice(("live", "reset")),
        )
        critical = self.random.random() < 0.3 and self.trouble > 0 and not self.only_non_critical_trouble
        self.add(parent, name, RoleKind.TASK, critical=critical, task=TaskTraits(class_name=name, mode=Mode.DIRECT))

    def call(self, parent: int, name: str) -> None:
        random = self.random
        critical = random.random() < 0.5
        trigger, await_ = random.choice(CALL_PAIRS)
        weight = random.choice((0, 0, -10, 10, 100))
        trouble = random.random() < self.trouble and not (critical and self.only_non_critical_trouble)
        self.add(
            parent,
            name,
            RoleKind.CALL,
            critical=critical,
            call=CallTraits(
                func=random.choice(FUNCTIONS if trouble else FUNCTIONS[:4]),
                returns=random.choice(("", "", "answer")),
                trigger=Moment(name=trigger, weight=weight),
                await_=Moment(name=await_, weight=weight if trigger == await_ else random.choice((0, -1, 50))),
                timeout_s=random.choice((2.0, 5.0)),
            ),
        )

    def hook(self, parent: int, name: str) -> None:
        random = self.random
        moment = Moment(name=random.choice(HOOK_MOMENTS), weight=random.choice((0, -5, 5)))
        self.classes[name] = TaskClass(name=name, mode=Mode.HOOK, command=f"/usr/bin/{name}")
        traits = TaskTraits(class_name=name, mode=Mode.HOOK, trigger=moment, await_=moment, timeout_s=5.0)
        self.add(parent, name, RoleKind.TASK, critical=random.random() < 0.5, task=traits, constraints=self._pin())

    def order(self) -> None:
        """Let some task start after another one. Later entries follow earlier ones, so there is no cycle."""
        tasks = [n for n, role in enumerate(self._roles) if role.task is not None and role.task.trigger is None]
        if len(tasks) > 1:
            first, second = sorted(self.random.sample(tasks, 2))
            self._roles[second] = attrs.evolve(self._roles[second], start_after=(self._roles[first].path,))

    def loosen(self, random: Random) -> None:
        """Let some groups do without members, and some tasks die in silence."""
        for n, role in enumerate(self._roles):
            if role.kind is RoleKind.AGGREGATOR and random.random() < 0.4:
                below = [other for other in self._roles if other.parent == n]
                size = sum(1 for other in below if is_member(other))
                self._roles[n] = attrs.evolve(role, min=max(1, size - random.choice((0, 1, 1, 2))))
        for name, task_class in self.classes.items():
            if task_class.mode is not Mode.HOOK and not task_class.on_exit and random.random() < 0.15:
                self.classes[name] = attrs.evolve(task_class, on_exit="drop")

    def _pin(self) -> tuple[Constraint, ...]:
        if self.random.random() < 0.6:
            return (Constraint(attribute="machine_id", value=self.random.choice(self.nodes)),)
        return ()

    def pre_order(self) -> tuple[Role, ...]:
        """Return the roles with each parent before its children and each subtree in one piece."""
        children: dict[int, list[int]] = {}
        for index, role in enumerate(self._roles):
            children.setdefault(role.parent, []).append(index)
        order: list[int] = []

        def walk(index: int) -> None:
            order.append(index)
            for child in children.get(index, ()):
                walk(child)

        walk(0)
        place = {old: new for new, old in enumerate(order)}
        place[-1] = -1
        return tuple(attrs.evolve(self._roles[old], parent=place[self._roles[old].parent]) for old in order)
