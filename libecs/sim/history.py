"""The record of one simulated history: what happened, when and to whom, in words that sort and compare."""

from __future__ import annotations

import attrs

from libecs.sim.agenda import Agenda
from libecs.wire.info import Event


@attrs.frozen
class Line:
    """One thing that happened."""

    mono_s: float
    who: str
    what: str
    detail: object = ""

    def __str__(self) -> str:
        detail = event_text(self.detail) if isinstance(self.detail, Event) else self.detail
        return f"{self.mono_s:10.4f}  {self.who:<12} {self.what:<14} {detail}"


class Violation(AssertionError):
    """A rule was broken. The text names the rule, the seed and how to replay."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


class History:
    """All lines of one history, and the violations that were found while it went on."""

    def __init__(self, agenda: Agenda, *, keepalives: bool = False) -> None:
        self._rows: list[tuple[float, str, str, object]] = []
        self.violations: list[Violation] = []
        self.keepalives = keepalives
        """Keep also the messages that say nothing new."""
        self._agenda = agenda

    def add(self, who: str, what: str, detail: object = "") -> None:
        """Write one line."""
        self._rows.append((self._agenda.mono_s, who, what, detail))

    @property
    def lines(self) -> list[Line]:
        """All lines. They are put into words only here: most histories are never read."""
        return [Line(*row) for row in self._rows]

    def broken(self, rule: str, text: str) -> None:
        """Note that a rule is broken. The history goes on: what follows may explain it."""
        if len(self.violations) < 20:
            self.violations.append(Violation(rule, f"at {self._agenda.mono_s:.4f} s: {text}"))
        self.add("checker", "VIOLATION", f"{rule}: {text}")

    def tally(self) -> dict[tuple[str, str], list[str]]:
        """Return the details of deaths and reboots, by who and what."""
        found: dict[tuple[str, str], list[str]] = {}
        for _, who, what, detail in self._rows:
            if what in ("dies", "reboot"):
                found.setdefault((who, what), []).append(str(detail))
        return found

    def text(self, last: int | None = None) -> str:
        """Return the lines, or the last ones, as text."""
        lines = self.lines if last is None else self.lines[-last:]
        return "\n".join(str(line) for line in lines)


def event_text(event: Event) -> str:
    """Write an event with only the fields that say something."""
    pairs = []
    for field in attrs.fields(Event):
        value = getattr(event, field.name)
        if value not in ("", 0, ()) and field.name not in ("unix_ms",) and not (field.name == "ok" and value):
            pairs.append(f"{field.name}={value}")
    return " ".join(pairs)
