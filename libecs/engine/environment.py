"""A living environment: what is on record of it, its cast, and the plan that it goes through.

`Environment` owns what is true of one environment, and its `cast` what is true of its tasks; `steps` performs single
steps; the core owns nodes, clients and operations and passes itself as `Context`. Nothing here waits: a step that can't
finish leaves `waiting` filled, and whatever happens later empties it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from libecs.engine import members
from libecs.engine import plan as plans
from libecs.engine.cast import Cast
from libecs.engine.context import Context
from libecs.engine.effects import Now, Persist
from libecs.engine.failures import described, grouped
from libecs.engine.placement import Placed
from libecs.engine.plan import Plan, Step, StepKind
from libecs.engine.records import (
    RECONFIGURATION,
    EnvironmentRecord,
    ModificationRecord,
    ReconfigurationRecord,
)
from libecs.engine.task import Task
from libecs.engine.telling import Telling
from libecs.fsm import EnvEvent, EnvState
from libecs.language.functions import FunctionTable
from libecs.wire.client import Finished
from libecs.workflow.launch import Launcher
from libecs.workflow.role import Role, Workflow

HOOK_STEPS = (StepKind.CALLS, StepKind.AWAIT, StepKind.HOOKS)


class Environment:
    """One environment. Fields that must survive are in `record`; the core saves it when `changed`."""

    def __init__(
        self,
        record: EnvironmentRecord,
        workflow: Workflow | None = None,
        placed: Iterable[Placed] = (),
        plan: Plan | None = None,
        *,
        functions: FunctionTable,
        runs_folder: str = "",
    ) -> None:
        self.record = record
        self.workflow: Workflow | None = None
        self.plan = plan
        self.saved_plan: Plan | None = None
        """The plan that is on record."""
        self.cast = Cast(record.environment)
        """Its tasks; no roles and nobody to play them before there is a workflow."""
        self.away: dict[int, Placed] = {}
        """Where tasks were that are excluded: their addresses are kept for them."""
        self.modification: ModificationRecord | None = None
        """What is being taken out or put back now."""
        self.commands: dict[str, str] = {}
        """Task id to the digest of the command that its process was started with."""
        self.waiting: set[str] = set()
        """Names of what the present step waits for: task ids, hook ids, call ids."""
        self.step_failures: dict[str, tuple[bool, str]] = {}
        """Role path to (critical, reason), of the present step."""
        self.entered = False
        self.deadline: float | None = None
        self.telling: Telling | None = None
        """What the present step has told nodes and tells them again; None = it tells them nothing."""
        self.hooks: dict[str, int] = {}
        """Hook task id of the present step to role."""
        self.launcher: Launcher | None = None
        self.changed = True
        self.configured: dict[str, str] = {}
        """Role path to the digest of what its task was configured with last."""
        self.packed_configuration = b""
        """The same as it is on record."""
        self.reconfiguration: ReconfigurationRecord | None = None
        """What is reconfigured now."""
        self.runs_folder = runs_folder
        self.spans: dict[str, int] | None = None
        """Role path to the number of its open span in the run's record; None = not looked up yet."""
        self.auto_stop_at: float | None = None
        """Monotonic seconds at which the run stops by itself."""
        self._functions = functions
        if workflow is not None:
            self.set_workflow(workflow)
            self.cast.set_placed(placed)
            self.set_out()

    @property
    def id(self) -> str:
        """The environment's id."""
        return self.record.environment

    @property
    def state(self) -> EnvState:
        """The environment's state."""
        return self.record.state

    @property
    def busy(self) -> bool:
        """Whether a plan or an expansion is going on."""
        return self.plan is not None or self.workflow is None or self.record.repeat > 0

    @property
    def step(self) -> Step | None:
        """The present step, once it has been entered."""
        return self.plan.steps[self.record.index] if self.plan is not None and self.entered else None

    @property
    def command_id(self) -> str:
        """Id of what the present step tells others: the same when it is told again, after a restart too."""
        return f"{self.id}.{self.record.plan_number}.{self.record.index}"

    @property
    def run_folder(self) -> str:
        """Where the tasks of the present run write, "" if no folder is kept for runs."""
        return f"{self.runs_folder}/{self.record.run_number}" if self.runs_folder and self.record.run_number else ""

    def role(self, index: int) -> Role:
        """Return a role of the workflow."""
        assert self.workflow is not None
        return self.workflow.roles[index]

    def wait(self, now: Now, seconds: float) -> None:
        """Give the present step so long, and repeat what it tells until it is answered."""
        self.deadline = now.mono_s + seconds
        self.telling = Telling()
        self.telling.waits(now.mono_s)

    def unsettle(self, names: Iterable[str], *, answered: bool = False) -> None:
        """Tasks were told the event of the present step, and nobody knows how far they are with it; or they answered
        that they could not.
        """
        step = self.step
        if step is not None and step.kind is StepKind.TASKS:
            told = {name: "" if answered else step.event for name in names if name in self.cast.tasks}
            if told:
                self.update(unsettled={**self.record.unsettled, **told})

    def settled(self, names: Iterable[str]) -> None:
        """Tasks have answered: they are not in the middle of anything."""
        if self.record.unsettled:
            over = set(names)
            self.update(unsettled={name: told for name, told in self.record.unsettled.items() if name not in over})

    def note_failure(self, path: str, critical: bool, reason: str) -> None:
        """Remember that a role failed in the present step."""
        self.step_failures[path] = (critical, reason)

    def update(self, **fields: Any) -> None:
        """Change fields of the record."""
        self.record = attrs.evolve(self.record, **fields)
        self.changed = True

    def set_var(self, name: str, value: str | None, path: str = "") -> None:
        """Set (or with None delete) a runtime variable, of the root role unless `path` says otherwise."""
        assert self.workflow is not None
        path = path or self.workflow.roles[0].path
        table = dict(self.record.overlay.get(path, {}))
        if value is None:
            table.pop(name, None)
        else:
            table[name] = value
        self.update(overlay={**self.record.overlay, path: table})

    def var(self, name: str) -> str | None:
        """Return a runtime variable of the root role."""
        assert self.workflow is not None
        return self.record.overlay.get(self.workflow.roles[0].path, {}).get(name)

    # workflow and tasks

    def set_workflow(self, workflow: Workflow) -> None:
        """Take over the expanded workflow."""
        self.workflow = workflow
        self.cast = Cast(self.id, workflow)
        self.launcher = Launcher(workflow, self._functions)
        self.changed = True

    @property
    def expanded(self) -> tuple[Workflow, Launcher]:
        """The workflow and what evaluates its late texts. Only asked for when there is one."""
        assert self.workflow is not None
        assert self.launcher is not None
        return self.workflow, self.launcher

    def set_out(self, modification: ModificationRecord | None = None) -> None:
        """Let those roles count for nothing that are excluded, or are being taken out or put back."""
        assert self.workflow is not None
        self.modification = modification
        out = members.outside(self.workflow, self.record.excluded)
        if modification is not None:
            out = out.union(modification.leaving, modification.joining)
        self.cast.set_out(out)

    def is_launching(self, task: Task) -> bool:
        """Whether the present step waits for a task to be launched."""
        step = self.step
        return step is not None and step.kind is StepKind.LAUNCH and task.id in self.waiting

    def publish_moved(self, ctx: Context) -> None:
        """Publish the tasks that changed since the last time, as one event."""
        if tasks := self.cast.take_moved():
            ctx.event("tasks", self.id, state=self.state.name, tasks=tasks)

    # the plan

    def begin(self, ctx: Context, event: str) -> None:
        """Make the plan of a transition and start on it."""
        assert self.workflow is not None
        self.cast.strays = None
        if event == plans.DESTROY:
            self.plan = plans.destruction(self.workflow, self.state, self.record.keep_tasks)
        elif event == plans.RECONFIGURE:
            self.plan = plans.reconfiguration()
        elif event == plans.MODIFY:
            assert self.modification is not None
            joining, take = self.modification.joining, bool(self.modification.take_from)
            self.plan = plans.modification(self.workflow, self.state, self.modification.leaving, joining, take=take)
        else:
            self.plan = plans.transition(self.workflow, EnvEvent[event], self.state)
        if event != plans.RECONFIGURE and self.reconfiguration is not None:  # it was given up
            self._undo_reconfiguration(self.reconfiguration)
            ctx.emit(Persist(RECONFIGURATION, self.id, None))
        number = self.record.plan_number + 1
        self.update(plan_number=number, begun_ms=ctx.now.unix_ms, index=0, skip_half=0, failures={})
        self.entered = False
        self.waiting.clear()
        ctx.event(
            "transition.begin",
            self.id,
            transition=event,
            state=self.state.name,
            run_number=self.record.run_number,
            text=self.record.cause if event == EnvEvent.GO_ERROR.name else "",
        )

    def _undo_reconfiguration(self, given_up: ReconfigurationRecord) -> None:
        """Put back the values that tasks did not take: they would refuse each later CONFIGURE too."""
        self.reconfiguration = None
        overlay = {**self.record.overlay, **given_up.overlay_before}
        properties = {**self.record.properties, **given_up.properties_before}
        self.update(
            overlay={path: table for path, table in overlay.items() if table},
            properties={path: table for path, table in properties.items() if table},
        )

    def advance(self, ctx: Context) -> None:
        """Go on with the plan as far as it goes without waiting."""
        while self.plan is not None:
            if self.record.index >= len(self.plan.steps):
                self._end_plan(ctx)
                continue
            step = self.plan.steps[self.record.index]
            if step.half == self.record.skip_half and step.kind in HOOK_STEPS:
                self.update(index=self.record.index + 1)
                continue
            if not self.entered:
                self.entered = True
                self.waiting.clear()
                self.step_failures.clear()
                self.deadline = self.telling = None
                ctx.perform(self)
            if self.waiting:
                return
            if not self._leave_step(ctx):
                return

    def _leave_step(self, ctx: Context) -> bool:
        """Judge the step that is over; False if the plan was given up."""
        assert self.plan is not None
        step = self.plan.steps[self.record.index]
        ctx.leave(self)
        self.deadline = self.telling = None
        critical = {path: reason for path, (counts, reason) in self.step_failures.items() if counts}
        if critical and (self.cast.has_min or self.cast.has_drop):
            critical = self._untolerated(ctx, critical)
        for path, (counts, reason) in self.step_failures.items():
            if not counts:
                ctx.event("transition.step", self.id, transition=self.plan.event, role=path, ok=False, text=reason)
        self.step_failures.clear()
        self.entered = False
        if critical and not step.lenient and self.plan.event == plans.MODIFY:
            self.update(failures=critical)
            ctx.retreat(self)
            return True
        if critical and not step.lenient and self.plan.event != plans.DESTROY:
            self.update(failures=grouped({**self.record.failures, **critical}))
            if step.abort:
                self.fail(ctx, self.describe(critical))
                return True
            self.update(skip_half=step.half)
        ctx.event(
            "transition.step",
            self.id,
            transition=self.plan.event,
            moment=step.moment,
            text=step.describe(),
            ok=not critical,
        )
        self.update(index=self.record.index + 1)
        return True

    def _untolerated(self, ctx: Context, critical: dict[str, str]) -> dict[str, str]:
        """Return those failures of the present step that the environment can't do without."""
        assert self.workflow is not None
        failed = {index for index, role in enumerate(self.workflow.roles) if role.path in critical}
        if (self.modification is not None and failed & self.cast.out) or not self.cast.tolerates(failed):
            return critical
        for path, reason in critical.items():
            self.step_failures[path] = (False, reason)
            ctx.missing(self, path, reason)
        return {}

    def describe(self, failures: Mapping[str, str]) -> str:
        """Return failures in words."""
        return described(failures)

    def _end_plan(self, ctx: Context) -> None:
        """The last step is done: judge the transition, then take the next one of the agenda."""
        assert self.plan is not None
        event = self.plan.event
        failures = dict(self.record.failures)
        if failures and event not in (EnvEvent.GO_ERROR.name, plans.DESTROY, plans.MODIFY):
            self.fail(ctx, self.describe(failures))
            return
        self.plan = None
        self.changed = True
        self.publish_moved(ctx)
        good = event != EnvEvent.GO_ERROR.name and not failures
        ctx.event("transition.end", self.id, transition=event, state=self.state.name, ok=good)
        if event == plans.DESTROY:
            ctx.finish(self, Finished(operation=self.record.operation, environment=self.id, state=self.state))
            ctx.remove(self)
            return
        if self.record.destroying:
            rest = self.record.agenda if event != EnvEvent.GO_ERROR.name else ()
            self.update(agenda=rest[1:])
            self.begin(ctx, rest[0] if rest else plans.DESTROY)
            return
        if event == EnvEvent.GO_ERROR.name:
            ctx.finish(self, self.failed_answer())
            return
        if event == EnvEvent.RECOVER.name:
            self.update(cause="", error_failures={}, unsettled={})
        if self.cast.has_drop:
            ctx.drop_dead(self)
        broken = self.first_dead()
        if broken is not None:
            self.fail(ctx, self._cause(broken), {broken.path: broken.why()})
            return
        if self.record.agenda:
            agenda = self.record.agenda
            self.update(agenda=agenda[1:])
            self.begin(ctx, agenda[0])
            return
        failed = bool(failures) and event == plans.MODIFY
        ctx.finish(
            self,
            Finished(
                operation=self.record.operation,
                environment=self.id,
                state=self.state,
                run_number=self.record.run_number,
                code="E_TRANSITION" if failed else "",
                message=f"what was to be put back stays excluded: {self.describe(failures)}" if failed else "",
                failures=grouped(failures) if failed else {},
                hint=f"mend it and include it again; environment {self.id} is what it was" if failed else "",
            ),
        )

    def failed_answer(self) -> Finished:
        """Return the answer for whoever asked for a transition that ended in ERROR."""
        record = self.record
        return Finished(
            operation=record.operation,
            environment=self.id,
            state=self.state,
            run_number=record.last_run_number,
            code="E_TRANSITION",
            message=f"environment {self.id} ({record.name}) went to ERROR",
            cause=record.cause,
            failures=record.error_failures,
            hint=f"recover it or destroy it (environment {self.id})",
        )

    # failure

    def drop_plan(self, ctx: Context) -> None:
        """Leave the present plan where it is. What tasks were told they may be in the middle of."""
        self.unsettle(sorted(self.waiting))
        ctx.leave(self)
        ctx.give_up(self)
        self.plan = None
        self.entered = False
        self.waiting.clear()
        self.deadline = self.telling = None

    def fail(self, ctx: Context, cause: str, failures: Mapping[str, str] | None = None) -> None:
        """Give up the present plan, if any, and go to ERROR."""
        record = self.record
        event = self.plan.event if self.plan is not None else ""
        if self.plan is not None:
            ctx.event("transition.end", self.id, transition=event, state=self.state.name, ok=False, text=cause)
        self.drop_plan(ctx)
        details = grouped(failures or record.failures)
        if event:
            cause = f"{event} failed: {cause}"
        if self.state in (EnvState.ERROR, EnvState.DONE):
            self.update(cause=cause, error_failures=details, agenda=())
            ctx.finish(self, self.failed_answer())
            return
        agenda = record.agenda if record.destroying else ()
        self.update(cause=cause, error_failures=details, agenda=agenda)
        self.begin(ctx, EnvEvent.GO_ERROR.name)

    def first_dead(self) -> Task | None:
        """Return a critical task that can't go on, if the environment holds one."""
        if self.state in (EnvState.STANDBY, EnvState.ERROR, EnvState.DONE):
            return None
        dead = (task for task in self.cast.runners() if task.critical and task.dead)
        return next((task for task in dead if self.cast.matters(task)), None)

    def _cause(self, task: Task) -> str:
        return f"critical task {task.path} {task.why()}"

    def broken(self, ctx: Context, task: Task) -> None:
        """A task died or went to ERROR. Critical ones take the environment with them, others degrade its run."""
        event = self.plan.event if self.plan is not None else ""
        if event in (EnvEvent.GO_ERROR.name, plans.DESTROY, EnvEvent.RECOVER.name):
            return
        if self.state in (EnvState.STANDBY, EnvState.ERROR, EnvState.DONE):
            return
        if task.role in self.cast.out:
            if self.modification is not None and task.role in self.modification.joining:
                self.note_failure(task.path, task.critical, task.why())
            return
        if self.cast.matters(task):
            self.fail(ctx, self._cause(task), {task.path: task.why()})
            return
        ctx.event("task.lost", self.id, role=task.path, ok=False, text=task.why(), run_number=self.record.run_number)
        if self.cast.has_drop and self.plan is None:
            ctx.drop_dead(self)
