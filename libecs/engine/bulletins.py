"""When the telemetry of a node's tasks is sent: once a second, and what a task told before it stopped, before we say
that it has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from libecs.engine.effects import Effect, Output, Send
from libecs.engine.gather import Gather
from libecs.engine.held import HeldTask
from libecs.engine.outbox import TELEMETRY, Outbox
from libecs.wire import node, task
from libecs.wire.telemetry import LogLine, Severity

PERIOD_S = 1.0
FIRST_S = 0.05
"""Seconds from the first word after a silence until it is sent: others come with it."""


class Bulletins:
    """The telemetry of one executor. Nothing is sent without a session; what is bounded is kept until there is one."""

    def __init__(self, emit: Callable[[Effect], None], outbox: Outbox, tasks: Mapping[str, HeldTask]) -> None:
        self._emit = emit
        self._outbox = outbox
        self._tasks = tasks
        self._gather = Gather()
        self._next = 0.0
        """No bulletin goes out before."""
        self._hurried: dict[str, None] = {}
        self._complaints: dict[str, None] = {}
        """Tasks whose last complaint the core does not know yet."""

    @property
    def due(self) -> float | None:
        """Monotonic seconds at which `run` is wanted."""
        return None if self._outbox.session is None or self._gather.empty else self._next

    def metric(self, held: HeldTask, message: task.Metric, now: float) -> None:
        """Take samples that a task told."""
        self._begin(now)
        self._gather.metric(held.spec.task, held.telling_run, message)

    def log(self, held: HeldTask, message: task.Log, now: float) -> None:
        """Take a line that a task told."""
        self._begin(now)
        self._judge(held, self._gather.log(held.spec.task, held.telling_run, message), now)

    def output(self, held: HeldTask, input: Output, now: float) -> None:
        """Take lines that a task's process wrote."""
        self._begin(now)
        for line in input.lines:
            self._gather.line(held.spec.task, held.telling_run, line)
            self._judge(held, line, now)
        self._gather.drop(held.spec.task, input.dropped)

    def _begin(self, now: float) -> None:
        if self._gather.empty:
            self._next = max(self._next, now + FIRST_S)

    def _judge(self, held: HeldTask, line: LogLine, now: float) -> None:
        if line.severity >= Severity.ERROR and line.text:
            held.last_log, held.complained = line.text, now
            self._complaints[held.spec.task] = None

    def hurry(self, name: str) -> None:
        """Send what a task told with the answers that go out next, and before them; forget it if it is gone."""
        self._hurried[name] = None

    def flush(self) -> None:
        """Send what is in a hurry."""
        if not self._hurried:
            return
        told = self._gather.take(self._hurried) if self._outbox.session is not None else ()
        self._send(told)
        for name in self._hurried:
            if name not in self._tasks:
                self._gather.forget(name)
        self._hurried.clear()
        self._tell_complaints()

    def run(self, now: float) -> None:
        """Send a bulletin if one is due; a long one in parts, each in a tick of its own."""
        due = self.due
        if due is None or now < due:
            return
        self._send(self._gather.take())
        self._next = now if not self._gather.empty else now + PERIOD_S
        self._tell_complaints()

    def _tell_complaints(self) -> None:
        complaints, self._complaints = self._complaints, {}
        for name in complaints:
            if (held := self._tasks.get(name)) is not None:
                self._outbox.touch(held)

    def opened(self, now: float) -> None:
        """A session has begun: what waited for it is not late."""
        self._next = max(self._next, now + FIRST_S)

    def _send(self, told: tuple[node.TaskTelemetry, ...]) -> None:
        session = self._outbox.session
        if told and session is not None:
            self._emit(Send(TELEMETRY, node.Telemetry(session=session, tasks=told)))
