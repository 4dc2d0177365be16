"""The checker: believes nobody, and compares what clients were told, the core wrote down and tasks did.

It reads the journal and the records (state.sqlite), the audit log, and what the recording tasks wrote.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from fieldkit.cluster import Cluster, is_alive
from fieldkit.diary import Diary
from fieldkit.recorder import Record
from libecs.engine.records import CONDEMNED, ENVIRONMENT, RUN
from libecs.fsm import ENVIRONMENT as MACHINE
from libecs.fsm import EnvState
from libecs.io.audit import verify
from libecs.wire.codec import unpack_value
from libecs.wire.info import Event, RunInfo

_TASK = re.compile(r"(.+)t\d+(?:[a-z]\d+)*")


def environment_of(task: str) -> str:
    """Return the environment that a task was launched for: it is a part of the task's id."""
    match = _TASK.fullmatch(task)
    return match[1] if match else ""


@attrs.define
class Life:
    """What the journal says of one environment."""

    name: str
    state: EnvState = EnvState.STANDBY
    runs: list[int] = attrs.field(factory=list)
    run: int = 0
    errors: list[str] = attrs.field(factory=list)
    transition: str = ""
    floor: int = 0
    """Highest run number that had begun when the present transition began."""


class Checker:
    """Follows one cluster from round to round."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sequence = 0
        self._highest_run = 0
        self.lives: dict[str, Life] = {}
        self.runs: dict[int, list[str]] = {}
        self.run_owner: dict[int, str] = {}
        self._settled: set[str] = set()
        """Tasks whose records were judged and that have ended."""
        self.counts = {"events": 0, "runs": 0, "tasks": 0, "errors": 0, "orphans": 0}

    def check(self, diary: Diary, *, may_hurt: bool) -> list[str]:
        """Check a round that is over; return what is wrong."""
        found = [*self._journal(), *self._told(diary), *self._pictures(diary)]
        found += self._records(diary)
        found += self._errors(diary, may_hurt)
        found += self._audit(diary)
        return found

    # the journal

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._cluster.state / 'state.sqlite'}?mode=ro", uri=True, timeout=10)

    def _journal(self) -> Iterator[str]:
        db = self._open()
        try:
            db.execute("BEGIN")
            rows = db.execute("SELECT seq, body FROM events WHERE seq > ? ORDER BY seq", (self._sequence,)).fetchall()
            records: dict[str, dict[str, bytes]] = {}
            for table, key, value in db.execute("SELECT tbl, key, value FROM records"):
                records.setdefault(table, {})[key] = value
        finally:
            db.close()
        for sequence, body in rows:
            if self._sequence and sequence != self._sequence + 1:
                yield f"journal: event {sequence} follows {self._sequence}"
            self._sequence = sequence
            self.counts["events"] += 1
            yield from self._event(unpack_value(Event, body))
        for name, life in self.lives.items():
            gone = life.state is EnvState.DONE
            if gone and name in records.get(ENVIRONMENT, {}):
                yield f"environment {name} is DONE in the journal, and has a record"
            if not gone and name not in records.get(ENVIRONMENT, {}):
                yield f"environment {name} is lost: {life.state.name} in the journal, and has no record"
            if gone and life.run:
                yield f"run {life.run} of environment {name}, which is DONE, has no end"
        for name in set(records.get(ENVIRONMENT, {})) - set(self.lives):
            yield f"environment {name} has a record, and is not in the journal"
        for number, parts in self.runs.items():
            value = records.get(RUN, {}).get(str(number))
            if value is None:
                yield f"run {number} has no record"
                continue
            run = unpack_value(RunInfo, value)
            if not run.start_ms:
                yield f"the record of run {number} has no start"
            if "end" in parts and not run.end_ms:
                yield f"the record of run {number} has no end, and the journal has"

    def _event(self, event: Event) -> Iterator[str]:
        if event.kind in ("orphan", "quarantine"):
            self.counts["orphans"] += event.kind == "orphan"
            yield f"event {event.sequence}: {event.kind} {event.name} {event.text}"
        if not event.environment:
            return
        life = self.lives.setdefault(event.environment, Life(event.environment))
        if event.kind == "environment.state":
            state = EnvState[event.state]
            legal = {life.state, EnvState.DONE, *MACHINE[life.state].values()}
            if life.state is EnvState.DONE and state is not EnvState.DONE:
                yield f"environment {life.name} returns as {state.name}"
            elif state not in legal:
                yield f"environment {life.name} went from {life.state.name} to {state.name}"
            if state is EnvState.ERROR and life.state is not EnvState.ERROR:
                self.counts["errors"] += 1
                life.errors.append(f"event {event.sequence}, in {life.transition or 'no transition'}: {event.text}")
            life.state = state
        elif event.kind == "transition.begin":
            if life.transition and event.transition not in (life.transition, "GO_ERROR", "DESTROY"):
                yield f"environment {life.name}: {event.transition} begins during {life.transition}"
            life.transition = event.transition
            life.floor = self._highest_run
        elif event.kind == "transition.end":
            life.transition = ""
        elif event.kind in ("run.start", "run.end"):
            yield from self._run(life, event)

    def _run(self, life: Life, event: Event) -> Iterator[str]:
        number = event.run_number
        seen = self.runs.setdefault(number, [])
        what = event.kind.removeprefix("run.")
        if what in seen:
            yield f"run {number} has two {what}s"
        if what == "start":
            self.counts["runs"] += 1
            # Two environments that start at the same time may take their numbers in one order and begin in another.
            if number <= max([life.floor, *life.runs]):
                yield f"run {number} starts after run {max([life.floor, *life.runs])}"
            if life.run:
                yield f"environment {life.name} starts run {number} while run {life.run} goes on"
            self._highest_run = max(self._highest_run, number)
            life.run = number
            life.runs.append(number)
            self.run_owner[number] = life.name
        else:
            if "start" not in seen:
                yield f"run {number} ends and has not started"
            if life.run != number:
                yield f"run {number} ends in environment {life.name}, whose run is {life.run}"
            life.run = 0
        seen.append(what)

    # what clients were told

    def _told(self, diary: Diary) -> Iterator[str]:
        destroyed = {entry.environment for entry in diary.entries if entry.verb == "destroy" and entry.outcome == "ok"}
        asked = {entry.environment for entry in diary.entries if entry.verb == "destroy"}
        for entry in diary.entries:
            if not entry.outcome:
                yield f"{entry.client}: {entry.verb} was never answered"
            if entry.verb == "create" and entry.outcome == "ok":
                life = self.lives.get(entry.environment)
                if life is None:
                    yield f"environment {entry.environment} was acknowledged and is not in the journal"
                elif life.state is EnvState.DONE and entry.environment not in asked:
                    yield f"environment {entry.environment} is DONE, and nobody destroyed it"
            if entry.outcome == "E_NOT_FOUND" and entry.verb != "destroy" and entry.environment not in asked:
                yield f"{entry.client}: {entry.verb} of {entry.environment}: {entry.text}"
        for name in destroyed:
            life = self.lives.get(name)
            if life is not None and life.state is not EnvState.DONE:
                yield f"environment {name} was said to be destroyed and is {life.state.name}"

    def _pictures(self, diary: Diary) -> Iterator[str]:
        """Tasks and pids of an environment stay, but for those that we killed."""
        before: dict[tuple[str, str], tuple[str, int]] = {}
        changed = {entry.environment for entry in diary.entries if entry.verb in ("include", "exclude")}
        for picture in diary.pictures:
            for role, (task, pid, _) in picture.tasks.items():
                if not pid:
                    continue
                old = before.get((picture.environment, role))
                before[picture.environment, role] = (task, pid)
                if old is None or old == (task, pid):
                    continue
                if old[0] == task:
                    yield f"{picture.environment} {role}: task {task} had pid {old[1]} and has {pid}"
                elif old[0] not in diary.killed and picture.environment not in changed:
                    recovered = any(
                        entry.verb == "recover" and entry.environment == picture.environment for entry in diary.entries
                    )
                    if not recovered or (old[1] and is_alive(old[1])):
                        yield f"{picture.environment} {role}: task {old[0]} became {task}, and nobody killed it"

    # what tasks did

    def _records(self, diary: Diary) -> Iterator[str]:
        living = self._cluster.tasks()
        alive = {marker.rpartition("/")[2] for marker in living.values()}
        shown = {task: pid for picture in diary.pictures for task, pid, _ in picture.tasks.values() if pid}
        records = self._cluster.read()
        for name, record in records.items():
            if name in self._settled:
                continue
            yield from self._record(record, shown)
            if name not in alive:
                self._settled.add(name)
                self.counts["tasks"] += 1
                if "end" not in record.words() and name not in diary.killed | self._forced(diary):
                    yield f"task {name} was killed, and not by us: {record.words()}"

    def _forced(self, diary: Diary) -> set[str]:
        """Return tasks that may have been killed: of environments that failed, or that were destroyed by force."""
        names = {entry.environment for entry in diary.entries if entry.outcome not in ("", "ok")}
        names |= {life.name for life in self.lives.values() if life.errors}
        return {task for task in self._cluster.read() if environment_of(task) in names}

    def _record(self, record: Record, shown: Mapping[str, int]) -> Iterator[str]:
        name = record.task
        if len(record.pids) != 1:
            yield f"task {name} was started {len(record.pids)} times: pids {record.pids}"
        if name in shown and shown[name] not in record.pids:
            yield f"task {name} is shown with pid {shown[name]}, and has {record.pids}"
        if len({note.pid for note in record.notes}) > 1:
            yield f"task {name} is several processes: {sorted({note.pid for note in record.notes})}"
        state, run = "STANDBY", 0
        started: set[int] = set()
        for note in record.notes:
            legal = True
            if note.word == "configure":
                legal, state = state in ("STANDBY",), "CONFIGURED"
            elif note.word == "start":
                legal, state, run = state == "CONFIGURED", "RUNNING", note.run
                if run in started:
                    yield f"task {name} was started twice for run {run}"
                started.add(run)
                if run not in self.runs:
                    yield f"task {name} was started for run {run}, which the journal does not know"
            elif note.word == "stop":
                legal, state = state == "RUNNING" and note.run == run, "CONFIGURED"
            elif note.word == "reset":
                legal, state = state == "CONFIGURED", "STANDBY"
                started.clear()  # taken out of a run and put back, it is started again for the same
            elif note.word == "recover":
                state = "STANDBY"
                started.clear()
            elif note.word == "reconfigure":
                legal = state == "CONFIGURED"
            if not legal:
                yield f"task {name}: {note.word} was not due: {record.words()}"
                return

    def left_behind(self, expected: frozenset[str]) -> list[str]:
        """Return tasks and shims that live and should not, and tasks that the core has not heard to be gone.

        `expected`: ids of the tasks that the core keeps idle, as it was asked a moment ago.
        """
        living = self._cluster.tasks()
        found = [
            f"task {marker} (pid {pid}) is left behind"
            for pid, marker in living.items()
            if marker.rpartition("/")[2] not in expected
        ]
        # What was killed at the end of a round must not be given to the next one.
        gone = expected - {marker.rpartition("/")[2] for marker in living.values()}
        found += [f"task {task} has ended, and the core keeps it as idle" for task in sorted(gone)]
        found += [
            f"the shim of task {task} (pid {pid}) is left behind"
            for task, pid in self._cluster.shims().items()
            if task not in expected
        ]
        with contextlib.closing(self._open()) as db:
            rows = db.execute("SELECT key FROM records WHERE tbl = ?", (CONDEMNED,)).fetchall()
        return found + [f"task {task} is still to be ended" for (task,) in rows]

    # errors need a reason

    def _errors(self, diary: Diary, may_hurt: bool) -> Iterator[str]:
        for life in self.lives.values():
            for error in life.errors:
                if not may_hurt:
                    yield f"environment {life.name} went to ERROR, and no task was killed ({error})"
            life.errors.clear()

    # the audit log

    def _audit(self, diary: Diary) -> Iterator[str]:
        folder: Path = self._cluster.state / "audit"
        if not folder.is_dir():
            yield "there is no audit log"
            return
        verdict = verify(folder)
        if verdict.problem:
            yield f"audit log: {verdict.problem}"
