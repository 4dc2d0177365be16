"""A task of an environment as the core knows it: what its node said last, and how sure that is."""

from __future__ import annotations

import attrs

from libecs.fsm import Mode, Status, TaskState
from libecs.wire.node import Exit, Phase


@attrs.define(kw_only=True)
class Task:
    """A task of an environment as the core knows it."""

    id: str
    role: int
    path: str
    node: str
    mode: Mode
    critical: bool
    hook: bool
    own: bool = True
    """It was launched for this environment, not for one that had it before."""
    phase: Phase = Phase.ASSIGNED
    state: TaskState = TaskState.UNKNOWN
    pid: int = 0
    exit: Exit | None = None
    error: str = ""
    last_log: str = ""
    end_of_stream: bool = False
    stalled: bool = False
    as_of: int = -1
    """Sequence number of the node's message that this is known from; -1 = never heard of."""
    lost: bool = False
    """Its node does not answer: what is known is how it was."""

    @property
    def dead(self) -> bool:
        """Whether the task can't go on: its process ended, or it is in ERROR."""
        return self.phase is Phase.EXITED or self.state is TaskState.ERROR

    @property
    def status(self) -> Status:
        """Deployment status of its role."""
        return Status.ACTIVE if self.phase in (Phase.ACTIVE, Phase.SUSPECT) else Status.INACTIVE

    def known(self) -> tuple[object, ...]:
        """Return what makes news when it changes."""
        return (self.phase, self.state, self.exit, self.error, self.end_of_stream, self.stalled, self.lost)

    def reason(self) -> str:
        """Return what is wrong with it, in words."""
        if self.exit is not None:
            return self.exit.describe()
        if self.error or self.state is TaskState.ERROR:
            return self.error or "went to ERROR"
        return "has ended, and nobody saw how" if self.phase is Phase.EXITED else "is not reachable"

    def why(self) -> str:
        """Return what is wrong with it, where, and its last log line."""
        log = f"; last log: {self.last_log}" if self.last_log else ""
        return f"on node {self.node} {self.reason()}{log}"
