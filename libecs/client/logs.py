"""Lines that tasks write: what they told by `occ_log()`, their standard output and error."""

from __future__ import annotations

import difflib
import time

import attrs

from libecs.client.reader import Reader
from libecs.errors import UsageError
from libecs.globs import below_root, matches, role_pattern
from libecs.wire.client import Lines, Metrics
from libecs.wire.info import TaskLine
from libecs.wire.telemetry import Severity


@attrs.frozen(kw_only=True)
class Line:
    """One line of one task."""

    role: str
    """Path of its role."""
    node: str
    severity: Severity
    text: str
    unix_ms: int = 0
    stream: str = "log"
    """`log` (told by `occ_log()`), `stdout` or `stderr`."""
    run: int = 0
    """In which it was written; 0 = outside of a run."""

    def __str__(self) -> str:
        """Return time, task and text, for people."""
        moment = time.strftime("%H:%M:%S", time.localtime(self.unix_ms / 1000))
        severity = f"{self.severity.name}  " if self.severity >= Severity.WARNING else ""
        return f"{moment}.{self.unix_ms % 1000:03d}  {below_root(self.role)}  {severity}{self.text}"

    @classmethod
    def of(cls, line: TaskLine, run: int) -> Line:
        """Return the line that a core tells of."""
        inner = line.line
        return cls(
            role=line.role,
            node=line.node,
            severity=inner.severity,
            text=inner.text,
            unix_ms=inner.unix_ms,
            stream=inner.stream,
            run=run,
        )


def read_severity(severity: str | Severity) -> Severity:
    """Return the severity of a name. Raises UsageError."""
    if isinstance(severity, Severity):
        return severity
    try:
        return Severity[severity.upper()]
    except KeyError:
        names = [one.name for one in Severity]
        near = difflib.get_close_matches(severity.upper(), names, n=1)
        raise UsageError(
            f"{severity!r} is no severity",
            hint=f"did you mean {near[0]}?" if near else f"severities are {', '.join(names)}",
        ) from None


class LogReader(Reader[Line]):
    """Lines from the moment it was made, of the tasks that a pattern chooses."""

    def __init__(self, tasks: str = "**", severity: str | Severity = Severity.INFO, environment: str = "") -> None:
        """Raises UsageError for what is no pattern of roles, or no severity."""
        pattern, least = role_pattern(tasks), read_severity(severity)
        super().__init__(lambda line: line.severity >= least and matches(pattern, line.role))
        self.watched = environment
        self.wants_metrics = False
        self.wants_lines = True

    def take_metrics(self, message: Metrics) -> None:
        """Do nothing."""

    def take_lines(self, message: Lines) -> None:
        """Take lines."""
        self.dropped += message.dropped
        for line in message.lines:
            self.put(Line.of(line, message.run))
