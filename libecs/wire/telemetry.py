"""What tasks tell about themselves besides their state: numbers and lines.

Telemetry is never journalled and never delays a command: whoever passes it on keeps a bounded part, drops the oldest
first, and counts what it dropped. Samples are gathered where they arise (a task tells at most ten spans a second of
each metric, an executor one), so that a fast task costs the core no more than a slow one and no sample is lost.
"""

from __future__ import annotations

from enum import IntEnum

import attrs

MAX_NAME_BYTES = 63
"""Longest name or unit of a metric, in bytes of UTF-8."""
MAX_LINE_BYTES = 1024
"""Longer lines are cut."""
MAX_SAMPLES = 2**32
"""Samples of one message of a task: who tells more miscounts."""
MAX_LOST = 2**40
"""What was lost is not counted further. Sums of such counts over all tasks and seconds of a run still fit the wire."""
MAX_UNIX_MS = 253_402_300_799_999
"""End of the year 9999: later is no time."""


class Severity(IntEnum):
    """How bad it is."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    FATAL = 5


@attrs.frozen(kw_only=True)
class LogLine:
    """One line of a task."""

    severity: Severity
    text: str
    unix_ms: int = 0
    stream: str = "log"
    """`log` (told by `occ_log()`), `stdout` or `stderr`."""


@attrs.frozen(kw_only=True)
class MetricSpan:
    """All samples of one metric in a stretch of time."""

    name: str
    unit: str
    n: int
    sum: float
    min: float
    max: float
    last: float
    unix_ms: int
    """Time of the last sample."""
