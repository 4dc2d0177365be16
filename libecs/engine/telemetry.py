"""What tasks tell besides their states, on its way to those who watch and into the records of runs.

It never delays a command: taking a span or a line costs the same however much there is, what goes out and to disk is
cut into portions of one tick each, and nothing is kept for clients that do not watch. What is bounded drops the oldest
and counts it. Nothing of it is journalled.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

import attrs

from libecs.engine.effects import Effect, Now, Persist, Send
from libecs.engine.environment import Environment
from libecs.engine.metrics import RunMetrics, TaskMetrics
from libecs.engine.records import RUN_METRICS
from libecs.errors import DecodeError
from libecs.wire import client, node
from libecs.wire.codec import pack_value, unpack_value
from libecs.wire.info import MetricInfo, TaskLine
from libecs.wire.telemetry import MAX_LOST

FLUSH_S = 1.0
"""Who watches is told this often."""
SAVE_S = 10.0
"""What a run has counted is on disk after this: a core that is killed loses no more."""
LATE_S = 10.0
"""What is told this long after the end of a run counts still."""
PORTION = 1000
"""Metrics of one message."""
TASKS = 100
"""Tasks whose telemetry is taken, or saved, at one time."""
MAX_LINES = 2000
"""Lines of one environment between two flushes."""
KEEP_BYTES = 64 * 1024 * 1024
"""Metrics of old runs that the core keeps; what is older is in their folders only."""
_REPLACED = re.compile(r"([0-9]{1,9})[0-9a-z]*")
"""What follows the t in the id of a task: the index of its role, and which of several tasks it is."""
KEEP_METRICS = 1000
"""Runs of which it keeps metrics, if they are not more bytes than that."""


class TelemetryHub(Protocol):
    """What telemetry needs of the core."""

    now: Now
    environments: dict[str, Environment]

    def emit(self, effect: Effect) -> None:
        """Add an effect."""

    def owner(self, task: str) -> Environment | None:
        """Return the environment that a task belongs to."""

    def defer(self, action: Callable[[], None]) -> None:
        """Do this in a later `handle` of its own."""

    def told_late(self, number: int) -> None:
        """More is known of a run that is over."""


@attrs.frozen
class _Origin:
    """Where a task belongs."""

    id: str
    """Of the environment."""
    role: str
    run: int
    """Number of the run that goes on there; -1 = the environment is gone."""


@attrs.define
class _Lines:
    kept: deque[tuple[int, TaskLine]] = attrs.field(factory=deque)
    """With the number of their run."""
    dropped: int = 0

    def add(self, run: int, line: TaskLine) -> None:
        if len(self.kept) >= MAX_LINES:
            self.kept.popleft()
            self.dropped += 1
        self.kept.append((run, line))


class Telemetry:
    """Metrics of all runs that go on, lines of this second, and who wants to see them."""

    def __init__(self, hub: TelemetryHub, keep: int = KEEP_METRICS) -> None:
        self._hub = hub
        self._keep_runs = max(keep, 1)
        self._runs: dict[tuple[str, int], RunMetrics] = {}
        self._saved: dict[int, dict[str, bytes]] = {}
        """Run number to key and value of its records."""
        self._saved_bytes = 0
        self._told: dict[str, int] = {}
        """Task to what it said last that it had lost."""
        self.adopted: frozenset[str] = frozenset()
        """Tasks of an earlier life of the core: what they had lost by then has been counted."""
        self._lines: dict[str, _Lines] = {}
        self._left: dict[str, dict[str, _Origin]] = {}
        """Environments that are gone, and their tasks, as long as telemetry of their last run is taken."""
        self._released: dict[str, tuple[float, int, _Origin]] = {}
        """Tasks that an environment has let go: until when what they told of its run is taken, its number, and where
        they belonged."""
        self._metric_watchers: dict[str, dict[str, None]] = {}
        """Environment, "" for all, to clients."""
        self._line_watchers: dict[str, dict[str, None]] = {}
        self._flush_at: float | None = None
        self._flushed = float("-inf")

    @property
    def next_deadline(self) -> float | None:
        """Monotonic seconds at which `tick` has something to do."""
        due = [one for run in self._runs.values() if (one := run.due) is not None]
        if self._flush_at is not None:
            due.append(self._flush_at)
        return min(due) if due else None

    # who watches

    def watch(self, peer: str, message: client.Watch) -> None:
        """Take what a client wants to see of an environment: its last word counts."""
        for watchers, wanted in ((self._metric_watchers, message.metrics), (self._line_watchers, message.lines)):
            peers = watchers.setdefault(message.environment, {})
            if wanted:
                peers[peer] = None
            else:
                peers.pop(peer, None)
            if not peers:
                del watchers[message.environment]
        if message.metrics:
            for (environment, _), run in self._runs.items():
                if message.environment in ("", environment) and run.close_at is None:
                    run.show_all()
                    self._ask_flush()

    def disconnected(self, peer: str) -> None:
        """A client is gone."""
        for watchers in (self._metric_watchers, self._line_watchers):
            for environment in [environment for environment, peers in watchers.items() if peer in peers]:
                del watchers[environment][peer]
                if not watchers[environment]:
                    del watchers[environment]

    # what is told

    def received(self, name: str, message: node.Telemetry) -> None:
        """Take what the tasks of node `name` told: some of them now, the others when commands have had their turn."""
        self._take(name, message.tasks[:TASKS])
        for start in range(TASKS, len(message.tasks), TASKS):
            self._hub.defer(partial(self._take, name, message.tasks[start : start + TASKS]))

    def _take(self, name: str, tasks: Iterable[node.TaskTelemetry]) -> None:
        for told in tasks:
            env = self._who(name, told.task, told.run)
            if env is None:
                continue
            lost = self._lost(told) if told.dropped else 0
            if told.metrics or lost:
                self._count(env, told, lost)
            if (told.lines or lost) and (env.id in self._line_watchers or "" in self._line_watchers):
                lines = self._lines.setdefault(env.id, _Lines())
                lines.dropped += lost
                for line in told.lines:
                    lines.add(told.run, TaskLine(role=env.role, node=name, line=line))
                self._ask_flush()

    def release(self, env: Environment, tasks: Iterable[str]) -> None:
        """An environment lets tasks go: what they have told of its run may still be on its way."""
        until = self._hub.now.mono_s + LATE_S
        number = env.record.run_number or env.record.last_run_number
        for name in tasks:
            present = env.record.run_number or -1
            self._released[name] = until, number, _Origin(env.id, env.cast.tasks[name].path, present)

    def _who(self, place: str, task: str, run: int) -> _Origin | None:
        """Return where a task of node `place` belongs, or one life of a hook: the task's id, h, the plan's number."""
        released = self._released.get(task)
        if released is not None and run and released[1] == run:
            return released[2]
        for name in (task, task.rpartition("h")[0]):
            env = self._hub.owner(name)
            if env is not None and env.cast.tasks[name].node != place:
                return None  # a node tells of its own tasks alone
            if env is not None:
                return _Origin(env.id, env.cast.tasks[name].path, env.record.run_number)
            if (left := self._left.get(name.rpartition("t")[0], {}).get(name)) is not None:
                return left
        return self._whose_was(task)

    def _whose_was(self, task: str) -> _Origin | None:
        """Return where a task that was replaced belonged: what it told before comes late. Its id says its role."""
        id, _, rest = task.rpartition("t")
        env = self._hub.environments.get(id)
        role = _REPLACED.fullmatch(rest)
        if env is None or env.workflow is None or role is None or int(role[1]) >= len(env.workflow.roles):
            return None
        return _Origin(env.id, env.role(int(role[1])).path, env.record.run_number)

    def _lost(self, told: node.TaskTelemetry) -> int:
        """Return how much a task has lost since it told last. A count that went back is that of a new process."""
        before = self._told.get(told.task, told.dropped if told.task in self.adopted else 0)
        self._told[told.task] = told.dropped
        lost = told.dropped - before if told.dropped >= before else told.dropped
        return min(max(0, lost), MAX_LOST)

    def _count(self, env: _Origin, told: node.TaskTelemetry, lost: int) -> None:
        run = self._run(env.id, env.run, told.run)
        if run is None:
            return
        watched = bool(self._metric_watchers) and (env.id in self._metric_watchers or "" in self._metric_watchers)
        run.add(env.role, told.metrics, lost, watched)
        if run.number and run.save_at is None:
            run.save_at = self._hub.now.mono_s + (SAVE_S if run.close_at is None else FLUSH_S)
        if watched:
            self._ask_flush()

    def _run(self, environment: str, present: int, number: int) -> RunMetrics | None:
        """Return what counts for a run that goes on or ended just now; None for any other.

        present: number of the run that goes on, 0 without one, -1 where none can begin any more.
        """
        run = self._runs.get((environment, number))
        if run is None and present >= 0 and number in (0, present):
            run = self._runs[environment, number] = RunMetrics(number)
            for record in self._records(number):
                run.load(record)
        return run

    # runs

    def begin(self, env: Environment, number: int) -> None:
        """A run begins: what was told before it is over."""
        self._runs.pop((env.id, 0), None)
        self._run(env.id, number, number)

    def end(self, env: Environment, number: int) -> None:
        """A run is over: show and save what it has counted."""
        run = self._run(env.id, env.record.run_number, number)
        if run is not None:
            run.close_at = self._hub.now.mono_s + LATE_S
            self._show(env.id, run)
            self._save(run)

    def forget(self, env: Environment) -> None:
        """An environment is gone."""
        self._forget_losses(env.id)
        self._lines.pop(env.id, None)
        self._runs.pop((env.id, 0), None)
        if any(environment == env.id for environment, _ in self._runs):  # their telemetry may still be on its way
            self._left[env.id] = {task.id: _Origin(env.id, task.path, -1) for task in env.cast.tasks.values()}

    def _forget_losses(self, environment: str) -> None:
        own = f"{environment}t"  # hooks and tasks that were replaced tell under names of their own
        for task in [task for task in self._told if task.startswith(own)]:
            del self._told[task]

    def is_large(self, number: int) -> bool:
        """Whether the metrics of a run that goes on, or ended just now, are too many to be gathered in passing."""
        return any(run.count > PORTION for (_, known), run in self._runs.items() if known == number)

    def metrics(self, number: int) -> tuple[tuple[MetricInfo, ...], int]:
        """Return the metrics of a run, and what of its tasks was lost on the way."""
        live = next((run for (_, known), run in self._runs.items() if known == number), None)
        records = live.records() if live is not None else self._records(number)
        found: list[MetricInfo] = []
        dropped = 0
        for record in records:
            found.extend(record.metrics)
            dropped += record.dropped
        return tuple(found), dropped

    # time

    def tick(self) -> None:
        """Do what is due: at most one portion of each."""
        now = self._hub.now.mono_s
        for key, run in list(self._runs.items()):
            if run.save_at is not None and now >= run.save_at:
                self._save(run)
            if run.save_at is None and run.close_at is not None and now >= run.close_at:
                del self._runs[key]
                left = key[0] in self._left and not any(environment == key[0] for environment, _ in self._runs)
                if left:
                    del self._left[key[0]]
                    self._forget_losses(key[0])
        if self._released and (over := [name for name, (until, _, _) in self._released.items() if now >= until]):
            for name in over:
                del self._released[name]
        if self._flush_at is not None and now >= self._flush_at:
            self._flush_at, self._flushed = None, now
            for (environment, _), run in self._runs.items():
                self._show(environment, run)
            for environment in list(self._lines):
                self._show_lines(environment)

    def _ask_flush(self) -> None:
        if self._flush_at is None:
            self._flush_at = max(self._hub.now.mono_s, self._flushed + FLUSH_S)

    def _show(self, environment: str, run: RunMetrics) -> None:
        if not run.changed:
            return
        watchers = _both(self._metric_watchers, environment)
        if not watchers:
            run.changed.clear()
            return
        message = client.Metrics(environment=environment, run=run.number, metrics=run.take_changed(PORTION))
        for peer in watchers:
            self._hub.emit(Send(peer, message))
        if run.changed:
            self._flush_at = self._hub.now.mono_s

    def _show_lines(self, environment: str) -> None:
        lines = self._lines.pop(environment)
        by_run: dict[int, list[TaskLine]] = {}
        for run, line in lines.kept:
            by_run.setdefault(run, []).append(line)
        dropped = lines.dropped
        for run, chosen in (by_run or {0: []}).items():
            message = client.Lines(environment=environment, run=run, lines=tuple(chosen), dropped=dropped)
            dropped = 0
            for peer in _both(self._line_watchers, environment):
                self._hub.emit(Send(peer, message))

    # records

    def _save(self, run: RunMetrics) -> None:
        for record in run.take_unsaved(TASKS):
            value = pack_value(record)
            key = f"{run.number}/{record.role}"
            self._keep(run.number, key, value)
            self._hub.emit(Persist(RUN_METRICS, key, value))
        run.save_at = self._hub.now.mono_s if run.unsaved else None
        if run.late and run.save_at is None:
            run.late = False
            self._hub.told_late(run.number)

    def _keep(self, number: int, key: str, value: bytes) -> None:
        table = self._saved.setdefault(number, {})
        self._saved_bytes += len(value) - len(table.get(key, b""))
        table[key] = value
        while (self._saved_bytes > KEEP_BYTES or len(self._saved) > self._keep_runs) and len(self._saved) > 1:
            oldest = min(self._saved)
            if oldest == number:
                break
            self.discard(oldest)

    def discard(self, number: int) -> None:
        """Forget the metrics of an old run."""
        for key, data in self._saved.pop(number, {}).items():
            self._saved_bytes -= len(data)
            self._hub.emit(Persist(RUN_METRICS, key, None))

    def _records(self, number: int) -> Iterable[TaskMetrics]:
        """Return what is on record of a run. A record that can't be read costs the metrics of one task."""
        for key, value in list(self._saved.get(number, {}).items()):
            try:
                yield unpack_value(TaskMetrics, value)
            except DecodeError:
                del self._saved[number][key]

    def load(self, records: Mapping[str, bytes]) -> None:
        """Take over the records of earlier lives."""
        for key, value in records.items():
            number = key.partition("/")[0]
            if not number.isdecimal():
                continue
            table = self._saved.setdefault(int(number), {})
            table[key] = value
            self._saved_bytes += len(value)


def _both(watchers: Mapping[str, dict[str, None]], environment: str) -> Iterable[str]:
    """Return who watches an environment, or all."""
    return {**watchers.get("", {}), **watchers.get(environment, {})}
