"""The record of one simulated history: what happened, when and to whom, in words that sort and compare."""

from __future__ import annotations

import attrs

from libecs.sim.agenda import Agenda


@attrs.frozen
class Line:
    """One thing that happened."""

    mono_s: float
    who: str
    what: str
    detail: object = ""

    def __str__(self) -> str:
        return f"{self.mono_s:10.4f}  {self.who:<12} {self.what:<14} {self.detail}"


class Violation(AssertionError):
    """A rule was broken. The text names the rule, the seed and how to replay."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


class History:
    """All lines of one history, and the violations that were found while it went on."""

    def __init__(self, agenda: Agenda, *, keepalives: bool = False) -> None:
        self.lines: list[Line] = []
        self.violations: list[Violation] = []
        self.keepalives = keepalives
        """Keep also the messages that say nothing new."""
        self._agenda = agenda

    def add(self, who: str, what: str, detail: object = "") -> None:
        """Write one line."""
        self.lines.append(Line(self._agenda.mono_s, who, what, detail))

    def broken(self, rule: str, text: str) -> None:
        """Note that a rule is broken. The history goes on: what follows may explain it."""
        if len(self.violations) < 20:
            self.violations.append(Violation(rule, f"at {self._agenda.mono_s:.4f} s: {text}"))
        self.add("checker", "VIOLATION", f"{rule}: {text}")

    def text(self, last: int | None = None) -> str:
        """Return the lines, or the last ones, as text."""
        lines = self.lines if last is None else self.lines[-last:]
        return "\n".join(str(line) for line in lines)
