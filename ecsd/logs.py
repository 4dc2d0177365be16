"""The logs of daemons: lines for people, JSON, or journald's own protocol; floods are cut and counted."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("auto", "text", "json", "journal")
JOURNAL: Final = "/run/systemd/journal/socket"

BURST: Final = 20
"""Lines of one origin that pass in `INTERVAL_S`; the next line of it tells how many were left out."""
INTERVAL_S: Final = 10.0
_ORIGINS: Final = 1000
_LONGEST: Final = 8000
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_COLOURS: Final = {logging.CRITICAL: "\x1b[31m", logging.ERROR: "\x1b[31m", logging.WARNING: "\x1b[33m"}
_FIELDS: Final = ("environment", "run", "node", "peer", "principal", "operation")
"""What a line may carry besides its text, as `extra`."""


def set_up(level: str, format: str, *, environment: Mapping[str, str], program: str) -> None:
    """Send what this process logs to stderr or to journald. `auto`: to journald if stderr is connected to it.

    Falls back to text where journald does not take it.
    """
    if format == "auto":
        format = "journal" if _is_journal(environment.get("JOURNAL_STREAM", "")) else "text"
    handler: logging.Handler
    if format == "journal" and os.path.exists(JOURNAL):
        handler = JournalHandler(program=program)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines(program) if format == "json" else TextLines(colour=sys.stderr.isatty()))
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())


def _is_journal(stream: str) -> bool:
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def priority(level: int) -> int:
    """Return the priority of syslog for a level of `logging`."""
    return next((one for bound, one in _PRIORITIES if level >= bound), 7)


class RateLimit(logging.Filter):
    """Lets `burst` lines of each origin (file and line) pass per `interval_s`."""

    def __init__(self, *, burst: int = BURST, interval_s: float = INTERVAL_S) -> None:
        super().__init__()
        self._burst = burst
        self._interval_s = interval_s
        self._origins: OrderedDict[tuple[str, int], list[float]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line passes; the first one after a pause tells what was left out."""
        key = (record.pathname, record.lineno)
        now = time.monotonic()
        begun, passed, left = self._origins.get(key, [now, 0.0, 0.0])
        if now - begun >= self._interval_s:
            if left:
                record.msg = f"{record.getMessage()} ({int(left)} like it were left out)"
                record.args = ()
            begun, passed, left = now, 0.0, 0.0
        passes = passed < self._burst or record.levelno >= logging.CRITICAL
        self._origins[key] = [begun, passed + passes, left + (not passes)]
        self._origins.move_to_end(key)
        if len(self._origins) > _ORIGINS:
            self._origins.popitem(last=False)
        return passes


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}


def _message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text += "\n" + logging.Formatter().formatException(record.exc_info)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


class TextLines(logging.Formatter):
    """`2026-11-23T05:00:00.123Z warning libecs.io.hub: text`."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        text = "".join(one if one.isprintable() or one == "\n" else "\ufffd" for one in _message(record))
        text = text.replace("\n", "\n    ")
        line = f"{_utc(record)} {record.levelname.lower():<8} {record.name}: {text}"
        colour = _COLOURS.get(record.levelno, "") if self._colour else ""
        return f"{colour}{line}\x1b[0m" if colour else line


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and what the line carries."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return a line."""
        document = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "program": self._program,
            "pid": record.process,
            "logger": record.name,
            "message": _message(record),
            **{name: str(value) for name, value in _fields(record).items()},
        }
        return json.dumps(document, ensure_ascii=False)


def _utc(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


class JournalHandler(logging.Handler):
    """Sends datagrams to journald. What it does not take at once is lost and counted in `dropped`."""

    def __init__(self, address: str = JOURNAL, *, program: str) -> None:
        super().__init__()
        self._address = address
        self._program = program
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        fields = {
            "MESSAGE": _message(record),
            "PRIORITY": priority(record.levelno),
            "SYSLOG_IDENTIFIER": self._program,
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": record.lineno,
            "CODE_FUNC": record.funcName,
            **{f"ECS_{name.upper()}": value for name, value in _fields(record).items()},
        }
        try:
            self._socket.sendto(b"".join(_field(name, str(value)) for name, value in fields.items()), self._address)
        except OSError:
            self.dropped += 1

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()
        super().close()


def _field(name: str, value: str) -> bytes:
    """Return a field as journald reads it: what has several lines is told with its length."""
    data = value.encode("utf-8", "replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
