"""Records of Python's `logging` as lines of a task: `logging.getLogger().addHandler(LogHandler(self))`."""

from __future__ import annotations

import logging
from typing import Protocol

_SEVERITIES = (
    (logging.CRITICAL, "FATAL"),
    (logging.ERROR, "ERROR"),
    (logging.WARNING, "WARNING"),
    (logging.INFO, "INFO"),
)


class Logs(Protocol):
    """A task or a device."""

    def log(self, text: str, severity: str = "INFO") -> None:
        """Tell a line."""


class LogHandler(logging.Handler):
    """Tells each record as lines of its task; a traceback is several. Records outside `run()` go nowhere."""

    def __init__(self, task: Logs, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._task = task

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record."""
        severity = next((name for level, name in _SEVERITIES if record.levelno >= level), "DEBUG")
        try:
            text = self.format(record)
        except Exception:  # as all handlers do: a wrong format must not break the task
            self.handleError(record)
            return
        self._task.log(text, severity)
