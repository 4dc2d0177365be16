"""Rules on what people read afterwards: records of runs, their metrics, the values that tasks were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from libecs.engine.metrics import TaskMetrics
from libecs.engine.records import RUN_METRICS
from libecs.fsm import EnvState, Mode, TaskState
from libecs.sim.clients import NONSENSE, Operation
from libecs.sim.history import History
from libecs.sim.tasks import ControlledTask
from libecs.sim.voices import Book, Sum
from libecs.sim.workflows import GAIN
from libecs.wire.client import Finished, Metrics, Reconfigure
from libecs.wire.codec import unpack_value
from libecs.wire.info import MetricInfo, RunCondition, RunInfo
from libecs.wire.task import Metric

if TYPE_CHECKING:
    from libecs.sim.world import World


class Accounts:
    """What was told, asked for and written down in one history."""

    def __init__(self, world: World, history: History) -> None:
        self.world = world
        self.history = history
        self.book = Book()
        self.metrics: dict[tuple[int, str], TaskMetrics] = {}
        """(run, role) to what is on record."""
        self.saved: dict[int, RunInfo] = {}
        """What was last written as a file of a run."""
        self.reconfigured = 0

    def forget(self) -> None:
        """The core's records are lost."""
        self.metrics.clear()
        self.saved.clear()

    # metrics

    def told(self, task: ControlledTask, metric: Metric) -> None:
        """A task has told a metric of its run."""
        spec = task.spec
        self.book.add(spec.environment, spec.role, task.run_number, metric)

    def cut(self, task: ControlledTask) -> None:
        """Something happened to a task after which some of what it told may be missing."""
        self.book.cut.add((task.spec.environment, task.spec.role, task.run_number))

    def committed(self, records: Mapping[tuple[str, str], bytes | None]) -> None:
        """Records are on disk now, perhaps metrics of tasks in runs."""
        for (table, key), value in records.items():
            if table == RUN_METRICS and value is not None:
                number, _, role = key.partition("/")
                self.metrics[int(number), role] = unpack_value(TaskMetrics, value)

    def shown(self, message: Metrics) -> None:
        """A client is shown metrics."""
        for metric in message.metrics:
            told = self.book.sums.get((message.environment, metric.role, message.run, metric.name))
            if message.run and not self._blurred and (told is None or _is_more(metric, told)):
                self._broken("metrics", f"run {message.run} {metric.role}: {metric} is shown, told was {told}")

    def check_metrics(self, number: int, environment: str) -> None:
        """What is on record of a run is what its tasks told; nothing is missing where nothing was disturbed."""
        for (run, role), record in self.metrics.items():
            if run != number or self._blurred:
                continue
            for metric in record.metrics:
                told = self.book.sums.get((environment, role, number, metric.name))
                if told is None or _is_more(metric, told):
                    self._broken("metrics", f"run {number} {role}: {metric} is on record, told was {told}")
        scenario = self.world.scenario
        if scenario.disturbed or scenario.telemetry_loss:
            return
        for (env, role, run, name), told in self.book.sums.items():
            if run != number or env != environment or (env, role, run) in self.book.cut:
                continue
            found = self.metrics.get((run, role))
            kept = next((one for one in found.metrics if one.name == name), None) if found is not None else None
            if kept is None or (kept.n, kept.sum, kept.min, kept.max) != (told.n, told.sum, told.min, told.max):
                self._broken("metrics", f"run {run} {role} {name}: told was {told}, on record is {kept}")

    @property
    def _blurred(self) -> bool:
        """Whether what a task says may overtake what it said before: then nobody knows in which run it was told."""
        return self.world.scenario.task_link > 0

    # records of runs

    def saved_run(self, run: RunInfo) -> None:
        """A run is written where people look for it."""
        if not run.end_ms or run.condition is RunCondition.UNDEFINED or not run.end_reason:
            self._broken("record", f"run {run.number} is written as a file and is not over: {run}")
        self.saved[run.number] = run

    def check_saved(self, record: RunInfo) -> None:
        """What was written as a file says what the record says."""
        file = self.saved.get(record.number)
        if file is None:
            if not self.world.scenario.process_faults:
                self._broken("record", f"run {record.number} was never written as a file")
            return
        for name in ("environment", "start_ms", "end_ms", "condition", "end_reason", "cause", "degraded", "folder"):
            if getattr(file, name) != getattr(record, name):
                self._broken("record", f"the file of run {record.number} has another {name}: {getattr(file, name)!r}")
        for span in record.degraded:
            if span.end_ms and span.end_ms < span.start_ms and not self.world.clock_jumped:
                self._broken("record", f"run {record.number}: {span} ends before it begins")

    # values

    def given(self, task: ControlledTask, event: str, arguments: dict[str, str]) -> None:
        """A command brings values to a task."""
        if NONSENSE in arguments:
            self._broken("reconfigure", f"{task.spec.role} is told of {NONSENSE}, which means nothing")
        if event == "RECONFIGURE" and not arguments:
            self._broken("reconfigure", f"{task.spec.role} is told to reconfigure nothing")

    def reconfigure_answered(self, operation: Operation, request: Reconfigure, finished: Finished) -> None:
        """An operation that changes values has ended: they are what was asked for, or nothing has changed."""
        if finished.code:
            return
        self.reconfigured += 1
        if NONSENSE in request.values or request.tasks == "nowhere":
            self._broken("reconfigure", f"{request} means nothing and is said to be done")
            return
        env = self.world.checker.known.environment(request.environment)
        if finished.state is not EnvState.CONFIGURED:
            self._broken("reconfigure", f"{request} ends in {finished.state.name} without an error")
        later = [
            other
            for other in self.world.shared.operations.values()
            if other.environment == request.environment and other.begun_s > operation.begun_s
        ]
        if later or env.state is not EnvState.CONFIGURED or env.transition:
            return
        wanted = {"rate": request.values.get("rate"), GAIN: request.values.get(GAIN)}
        for task in self.world.controlled(request.environment):
            if task.spec.attached and self.world.checker.known.forgetful:
                continue  # an executor that has lost its records knows nothing of it
            if request.tasks not in ("**", task.spec.role) or task.spec.mode is not Mode.DIRECT or task.stolen:
                continue
            if task.state != TaskState.CONFIGURED or task.busy or task.frozen:
                continue
            for name, value in wanted.items():
                if value is not None and task.properties.get(name) != value:
                    has = task.properties.get(name)
                    self._broken("reconfigure", f"{task.spec.role} has {name}={has!r} after {request}")

    def _broken(self, rule: str, text: str) -> None:
        self.history.broken(rule, text)


def _is_more(metric: MetricInfo, told: Sum) -> bool:
    return metric.n > told.n or metric.sum > told.sum or metric.min < told.min or metric.max > told.max
