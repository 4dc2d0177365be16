"""What happened in an environment, gathered from its events: for progress lines, `--json` and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from libecs.wire.info import Event

QUIET = ("transition.step", "tasks", "operation.end", "call.begin", "run.start", "pool")
"""Kinds of events that make no progress line of their own."""


class Chronicle:
    """The story of one environment."""

    def __init__(self) -> None:
        self.transitions: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.problems: list[str] = []
        """Non-critical failures, in words."""
        self.task_states: dict[str, str] = {}
        self._begun: dict[str, int] = {}
        self._pending: dict[tuple[str, str], dict[str, Any]] = {}

    def take(self, event: Event) -> str:
        """Take one event; return the line that tells it, "" if it is not worth one."""
        if event.kind == "transition.begin":
            self._begun[event.transition] = event.unix_ms
        elif event.kind == "tasks":
            self.task_states.update((path, state.name) for path, state in event.tasks)
        elif event.kind == "call.begin":
            self._call_begins(event)
        line = self._line(event)
        if event.kind == "transition.end":
            self._transition_ends(event)
        elif event.kind == "call.end":
            self._call_ends(event)
        if not event.ok and event.kind in ("task.lost", "transition.step", "call.end") and event.text:
            self.problems.append(f"{event.role or event.name}: {event.text}")
        return line

    def _line(self, event: Event) -> str:
        if event.kind == "environment.state":
            cause = f"  {_first(event.text)}" if event.state in ("ERROR", "DONE") and event.text else ""
            return f"{event.state:<12}{self.summary()}{cause}".rstrip()
        if event.kind == "transition.begin":
            # Why it goes to ERROR is told with the state, which comes next.
            cause = f"  {_first(event.text)}" if event.text and event.transition != "GO_ERROR" else ""
            return f"  {event.transition} …{cause}"
        if event.kind == "transition.end":
            seconds = self._seconds(event)
            return f"  {event.transition} {'done' if event.ok else 'ended'} in {seconds:.3f} s"
        if event.kind == "run.end":
            return f"  run {event.run_number} ended: {event.text}"
        if event.kind == "task.lost":
            return f"  lost {event.role} (not critical) {event.text}"
        if event.kind == "task.stalled":
            return f"  {event.role} {'answers again' if event.ok else 'stalled'}  {event.text}".rstrip()
        if event.kind == "task.inconsistent":
            return f"  {event.role} {'came back' if event.ok else 'left by itself'}  {event.text}".rstrip()
        if event.kind == "modify" and event.role and event.ok:
            return f"  {event.role} {event.text or event.state.lower()}"
        if event.kind == "task.end_of_stream":
            return f"  {event.role} has no more data"
        if event.kind in ("call.end", "hook.end"):
            what = f"{event.name or 'hook'} of {event.role}"
            return "" if event.ok else f"  {what} failed: {event.text or 'see the log of its task'}"
        if event.kind == "transition.step" and not event.ok:
            return f"  {event.role + ': ' if event.role else ''}{event.text}"
        if event.kind in QUIET:
            return ""
        words = (event.kind, event.role, event.name, event.state, event.text)
        return "  " + "  ".join(word for word in words if word)

    def _seconds(self, event: Event) -> float:
        return (event.unix_ms - self._begun.get(event.transition, event.unix_ms)) / 1000

    def _transition_ends(self, event: Event) -> None:
        seconds = self._seconds(event)
        self.transitions.append({"event": event.transition, "seconds": seconds, "ok": event.ok})
        self._begun.pop(event.transition, None)

    def _call_begins(self, event: Event) -> None:
        call = {
            "moment": event.moment,
            "await": event.await_,
            "role": event.role,
            "call": event.name,
            "run_number": event.run_number,
            "ok": None,
            "seconds": None,
            "error": "",
        }
        self.calls.append(call)
        self._pending[event.role, event.name] = call
        self._begun[event.role] = event.unix_ms

    def _call_ends(self, event: Event) -> None:
        call = self._pending.pop((event.role, event.name), None)
        if call is not None:
            begun = self._begun.pop(event.role, event.unix_ms)
            call |= {"ok": event.ok, "seconds": (event.unix_ms - begun) / 1000, "error": event.text}

    def summary(self) -> str:
        """Return how many tasks are in which state."""
        return counted(self.task_states.values())


def _first(text: str) -> str:
    """Return the first line: the whole text is the error's, which is told at the end."""
    return text.partition("\n")[0]


def counted(states: Iterable[str]) -> str:
    """Return `18 tasks: 17 RUNNING, 1 ERROR`, "" without tasks."""
    counts = Counter(states)
    total = sum(counts.values())
    if not total:
        return ""
    parts = ", ".join(f"{n} {state}" for state, n in counts.most_common())
    return f"{total} task{'s' * (total != 1)}: {parts}"
