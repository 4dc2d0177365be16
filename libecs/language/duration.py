"""Durations as Go writes them: "1m30s", "10s", "1.5h", "250ms"."""

from __future__ import annotations

import re

from libecs.errors import InvalidInput

_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_LONGEST = 64
_UNITS_HINT = "write it with units, such as 10s, 1m30s or 250ms"


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means. "0" needs no unit.

    Raises:
        InvalidInput: it is no duration, or a negative one.
    """
    stripped = text.strip()
    if len(stripped) > _LONGEST:
        raise InvalidInput(f"not a duration: {stripped[:20]!r}…", hint=_UNITS_HINT)
    if stripped in ("0", "+0", "-0"):
        return 0.0
    body = stripped.removeprefix("+")
    if _WHOLE.fullmatch(body):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(body))
    if stripped.startswith("-") and _WHOLE.fullmatch(stripped[1:]):
        raise InvalidInput(f"a duration can't be negative: {text!r}")
    hint = _UNITS_HINT
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", body):
        hint = f"add a unit: {body}s for seconds"
    raise InvalidInput(f"not a duration: {text!r}", hint=hint)


def format_duration(seconds: float) -> str:
    """Write a duration, rounded to milliseconds, as `parse_duration` reads it: "0s", "250ms", "1m30s", "90.5s"."""
    milliseconds = round(seconds * 1000)
    if milliseconds % 1000:
        text = f"{milliseconds / 1000:.3f}".rstrip("0")
        return f"{milliseconds}ms" if milliseconds < 1000 else f"{text}s"
    whole = milliseconds // 1000
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"
