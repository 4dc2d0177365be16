"""What became of one history, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from libecs.sim.history import History, Violation
from libecs.sim.scenario import Scenario


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one history."""

    scenario: Scenario
    violations: tuple[Violation, ...]
    history: History
    steps: int
    settled_s: float
    """Seconds from the end of all faults until the system was at rest."""
    operations: int
    runs: int
    effects: int
    counts: Mapping[str, int]
    """What happened how often, see `coverage`."""

    @property
    def ok(self) -> bool:
        """Whether all rules were kept."""
        return not self.violations

    def report(self, lines: int = 60) -> str:
        """Return what went wrong, the end of the history up to it, and how to replay it."""
        seed = self.scenario.seed
        text = [f"seed {seed} ({self.scenario.kind}):"]
        text += [f"  {violation}" for violation in self.violations]
        text += [f"replay: python -m libecs.sim --seed {seed} --verbose", "the end of the history:"]
        shown = self.history.lines
        if self.violations:
            first = next((n for n, line in enumerate(shown) if line.what == "VIOLATION"), len(shown))
            shown = shown[: first + 5]
        return "\n".join(text + [str(line)[:300] for line in (shown[-lines:] if lines else ())])
