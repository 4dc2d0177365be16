"""What clients asked for and were told, in order: one side of the books that the checker compares."""

from __future__ import annotations

import time
from typing import Any

import attrs

from libecs.wire.info import EnvironmentInfo


@attrs.define(kw_only=True)
class Entry:
    """One request of one client, and its end."""

    client: str
    verb: str
    environment: str
    begun_s: float
    ended_s: float = 0.0
    outcome: str = ""
    """"" = it goes on, "ok", or the code of the error."""
    text: str = ""


@attrs.frozen(kw_only=True)
class Picture:
    """What an environment looked like at some moment."""

    environment: str
    state: str
    run: int
    tasks: dict[str, tuple[str, int, str]]
    """Role path to (task id, pid, state) of tasks that are not excluded."""

    @classmethod
    def of(cls, info: EnvironmentInfo) -> Picture:
        """Return what an answer of the core shows."""
        return cls(
            environment=info.environment,
            state=info.state.name,
            run=info.run_number,
            tasks={
                task.role: (task.task, task.pid, task.state.name)
                for task in info.tasks
                if not task.hook and not task.excluded
            },
        )


class Diary:
    """All of a round."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.pictures: list[Picture] = []
        self.blows: list[dict[str, Any]] = []
        """Blows that fell: kind, victims, event number."""
        self.killed: set[str] = set()
        """Ids of tasks that were killed by us."""
        self._begun_s = time.monotonic()

    @property
    def now_s(self) -> float:
        """Seconds since the begin of the round."""
        return round(time.monotonic() - self._begun_s, 4)

    def begin(self, client: str, verb: str, environment: str = "") -> Entry:
        """Write down that somebody asks for something."""
        entry = Entry(client=client, verb=verb, environment=environment, begun_s=self.now_s)
        self.entries.append(entry)
        return entry

    def end(self, entry: Entry, outcome: str, text: str = "", environment: str = "") -> None:
        """Write down what he was told."""
        entry.ended_s, entry.outcome, entry.text = self.now_s, outcome, text[:300]
        entry.environment = environment or entry.environment

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "entries": [attrs.asdict(entry) for entry in self.entries],
            "pictures": [attrs.asdict(picture) for picture in self.pictures],
            "blows": self.blows,
            "killed": sorted(self.killed),
        }
