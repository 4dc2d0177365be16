"""What the core asks of others: run numbers, expanded workflows, integrations. All with delays, errors and silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import attrs

from libecs.engine.effects import Call, CallDone, DoWork, Expand, Expanded, RunNumberTaken, TakeRunNumber, WorkDone
from libecs.sim.agenda import Agenda
from libecs.sim.history import History
from libecs.sim.workflows import at_places
from libecs.workflow.role import TaskClass, Workflow

FIRST_RUN = 500
Answer = CallDone | Expanded | RunNumberTaken | WorkDone


@attrs.define
class RunCounter:
    """The run counter: durable, the same key gets the same number."""

    last: int = FIRST_RUN
    keys: dict[str, int] = attrs.field(factory=dict)

    def take(self, key: str) -> int:
        """Return the number of `key`, a new one if it has none."""
        if key not in self.keys:
            self.last += 1
            self.keys[key] = self.last
        return self.keys[key]


@attrs.frozen(kw_only=True)
class CallSeen:
    """One call that reached an integration."""

    mono_s: float
    call: str
    function: str
    environment: str
    role: str
    moment: str
    run_number: int
    life: int
    """Life of the core that called."""


@attrs.define(kw_only=True)
class ServiceTrouble:
    """How often services fail; probabilities per request."""

    run_error: float = 0.0
    run_lost: float = 0.0
    expand_error: float = 0.0
    slow: float = 0.0

    def heal(self) -> None:
        """Make all services perfect."""
        self.run_error = self.run_lost = self.expand_error = self.slow = 0.0


class Services:
    """All services. `answer(life, input)` puts an answer to the core, unless that life has ended."""

    def __init__(
        self,
        agenda: Agenda,
        history: History,
        random: Random,
        *,
        workflows: Mapping[str, Workflow],
        answer: Callable[[int, Answer], None],
        on_critical_failure: Callable[[str, str, str], None],
        furnish: Callable[[list[str]], None] = lambda endpoints: None,
    ) -> None:
        """`on_critical_failure` is told (environment, role, why) when a critical call will fail, `furnish` where
        attached tasks are expected.
        """
        self._furnish = furnish
        self._places: dict[str, int] = {}
        self.agenda = agenda
        self.history = history
        self.random = random
        self.trouble = ServiceTrouble()
        self.counter = RunCounter()
        self.calls: list[CallSeen] = []
        self.cancelled: set[tuple[int, str]] = set()
        self.works: list[tuple[int, str]] = []
        """Life of the core and operation of what its host was asked to do."""
        self.workflows = dict(workflows)
        self._answer = answer
        self._on_critical_failure = on_critical_failure
        self._workflow_of: dict[str, Workflow] = {}
        self._variables_of: dict[str, Mapping[str, str]] = {}

    def take_run_number(self, life: int, effect: TakeRunNumber) -> None:
        """Answer a TakeRunNumber. A lost answer still takes the number."""
        if self.random.random() < self.trouble.run_error:
            answer = RunNumberTaken(key=effect.key, number=0, error="the run counter does not answer")
        else:
            answer = RunNumberTaken(key=effect.key, number=self.counter.take(effect.key))
        if self.random.random() >= self.trouble.run_lost:
            self._later(life, self._delay(0.001, 0.02), answer)

    def expand(self, life: int, effect: Expand) -> None:
        """Answer an Expand with the workflow of that name."""
        workflow = self.workflows.get(effect.workflow)
        if workflow is not None:
            self._workflow_of[effect.environment] = workflow
            self._variables_of[effect.environment] = effect.variables
        if workflow is None:
            answer = Expanded(job=effect.job, code="E_NOT_FOUND", message=f"no workflow {effect.workflow}")
        elif self.random.random() < self.trouble.expand_error:
            answer = Expanded(job=effect.job, code="E_TEMPLATE", message="workflows/sim.yaml:1: does not parse")
        else:
            variables = {name: value for name, value in effect.variables.items() if name != "environment_id"}
            answer = Expanded(
                job=effect.job, workflow=attrs.evolve(self._placed(effect, workflow), user_vars=variables)
            )
        self._later(life, self._delay(0.005, 0.3), answer)

    def _placed(self, effect: Expand, workflow: Workflow) -> Workflow:
        """Give the attached tasks of an environment places of their own, the same whenever it is expanded."""
        place = self._places.setdefault(effect.environment, 5000 + len(self._places))
        placed = at_places(workflow, place)
        self._furnish([task_class.endpoint for task_class in placed.classes.values() if task_class.endpoint])
        return placed

    def call(self, life: int, effect: Call) -> None:
        """Answer a Call as the name of its function says: Quick, Slow, Fail, Never, Set."""
        self.calls.append(
            CallSeen(
                mono_s=self.agenda.mono_s,
                call=effect.call,
                function=effect.function,
                environment=effect.environment,
                role=effect.role,
                moment=effect.moment,
                run_number=effect.run_number,
                life=life,
            )
        )
        method = effect.function.rsplit(".", 1)[-1]
        if method in ("Fail", "Never") and self.critical(effect.environment, effect.role):
            self._on_critical_failure(effect.environment, effect.role, effect.function)
        if method == "Never":
            return
        delay = self.random.uniform(0.3, 1.5) if method == "Slow" else self._delay(0.001, 0.2)
        if method == "Fail":
            self._later(life, delay, CallDone(call=effect.call, ok=False, error="the detector is not ready"))
        else:
            sets = {"from_call": method} if method == "Set" else {}
            self._later(life, delay, CallDone(call=effect.call, ok=True, value="42", sets=sets))

    def workflow_of(self, environment: str) -> Workflow | None:
        """Return the workflow of an environment, None if it was never loaded."""
        return self._workflow_of.get(environment)

    def start_after(self, environment: str, path: str) -> tuple[str, ...]:
        """Return the paths of the roles that must run before a role is started."""
        workflow = self._workflow_of.get(environment)
        roles = workflow.roles if workflow is not None else ()
        return next((role.start_after for role in roles if role.path == path), ())

    def auto_stop_s(self, environment: str) -> float | None:
        """Return how long a run of an environment may last, None for as long as it likes."""
        variables = self._variables_of.get(environment, {})
        if variables.get("auto_stop_enabled") != "true":
            return None
        return float(variables["auto_stop_timeout"].removesuffix("s"))

    def task_class(self, environment: str, path: str) -> TaskClass | None:
        """Return the class of the task of a role."""
        workflow = self._workflow_of.get(environment)
        for role in workflow.roles if workflow is not None else ():
            if role.path == path and role.task is not None and workflow is not None:
                return workflow.classes[role.task.class_name]
        return None

    def followers(self, environment: str, path: str) -> tuple[str, ...]:
        """Return the paths of the roles that a role runs longer than: they were started after it."""
        workflow = self._workflow_of.get(environment)
        roles = workflow.roles if workflow is not None else ()
        return tuple(role.path for role in roles if path in role.start_after)

    def critical(self, environment: str, path: str) -> bool:
        """Whether a role is critical, as the workflow says that was given to the core for an environment."""
        workflow = self._workflow_of.get(environment)
        return workflow is not None and any(role.path == path and role.critical for role in workflow.roles)

    def cancel(self, life: int, call: str) -> None:
        """Take note of a CancelCall."""
        self.cancelled.add((life, call))

    def work(self, life: int, effect: DoWork) -> None:
        """Answer a DoWork; what is refreshed is done, all else fails."""
        self.works.append((life, effect.work.operation))
        code = "" if effect.work.name == "repository.refresh" else "E_FAILED"
        text = "" if not code else "nobody does that here"
        self._later(life, self._delay(0.01, 0.5), WorkDone(operation=effect.work.operation, code=code, message=text))

    def _delay(self, low: float, high: float) -> float:
        return (
            self.random.uniform(0.5, 3.0)
            if self.random.random() < self.trouble.slow
            else self.random.uniform(low, high)
        )

    def _later(self, life: int, delay_s: float, answer: Answer) -> None:
        self.agenda.after(delay_s, lambda: self._answer(life, answer))
