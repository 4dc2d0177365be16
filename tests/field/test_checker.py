"""The checker of chaos sees each kind of damage, and nothing in a history that is in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from fieldkit import recorder
from fieldkit.checker import Checker, environment_of
from fieldkit.diary import Diary, Picture
from fieldkit.schedule import KINDS, make_round

from libecs.access import OWNER
from libecs.engine.effects import Audit, Persist
from libecs.engine.records import CONDEMNED, ENVIRONMENT, RUN
from libecs.io.audit import AuditLog
from libecs.io.store_sqlite import SqliteStore
from libecs.wire.codec import pack_value
from libecs.wire.info import Event, RunInfo

TASK = "a0bt1"
Step = tuple[str, str, str, int]
"""Kind of an event, state, transition, run number."""
LIFE: tuple[Step, ...] = (
    ("environment.state", "STANDBY", "", 0),
    ("transition.begin", "", "DEPLOY", 0),
    ("environment.state", "DEPLOYED", "", 0),
    ("transition.end", "", "DEPLOY", 0),
    ("environment.state", "CONFIGURED", "", 0),
    ("run.start", "", "", 7),
    ("environment.state", "RUNNING", "", 0),
    ("run.end", "", "", 7),
    ("environment.state", "CONFIGURED", "", 0),
)
WORDS = ("begin i/n1/a0bt1 boot 1", "configure value=1", "start 7", "stop 7")


def events(life: Iterable[Step] = LIFE, environment: str = "a0b") -> list[Event]:
    return [
        Event(
            sequence=0, unix_ms=1, kind=kind, environment=environment, state=state, transition=event, run_number=number
        )
        for kind, state, event, number in life
    ]


class Still:
    """A cluster in which nothing moves: what is on disk."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "core"
        self.records = folder / "records"
        self.records.mkdir()
        self.alive: dict[int, str] = {5: f"i/n1/{TASK}"}
        self.shim_pids: dict[str, int] = {}

    def tasks(self) -> dict[int, str]:
        return self.alive

    def shims(self) -> dict[str, int]:
        return self.shim_pids

    def read(self) -> dict[str, recorder.Record]:
        return recorder.read(self.records)

    def write(
        self,
        *,
        journal: Sequence[Event] | None = None,
        records: Mapping[tuple[str, str], bytes] | None = None,
        words: Sequence[str] = WORDS,
        task: str = TASK,
        pids: Sequence[int] | None = None,
    ) -> None:
        store = SqliteStore(self.state, durable=False, reserve_bytes=0)
        run = RunInfo(number=7, environment="a0b", start_ms=1, end_ms=2)
        records = {(ENVIRONMENT, "a0b"): b"1", (RUN, "7"): pack_value(run)} if records is None else records
        store.commit(
            [Persist(table, key, value) for (table, key), value in records.items()],
            events() if journal is None else journal,
        )
        store.close()
        pids = pids or [5] * len(words)
        lines = [f"{n} {pid} {word}\n" for n, (pid, word) in enumerate(zip(pids, words, strict=True))]
        (self.records / f"i~n1~{task}").write_text("".join(lines))
        log = AuditLog(self.state / "audit")
        log.write(
            [
                Audit(verb="Create", principal=OWNER, requester="me"),
                Audit(verb="Control", principal=OWNER, requester="me"),
            ],
            1,
        )
        log.close()


@pytest.fixture
def still(tmp_path: Path) -> Still:
    return Still(tmp_path)


def diary(*entries: tuple[str, str, str], pictures: Iterable[Picture] = (), killed: Iterable[str] = ()) -> Diary:
    made = Diary()
    for verb, environment, outcome in entries:
        entry = made.begin("me", verb, environment)
        if outcome:
            made.end(entry, outcome)
    made.pictures.extend(pictures)
    made.killed.update(killed)
    return made


def picture(pid: int = 5, task: str = TASK) -> Picture:
    return Picture(environment="a0b", state="RUNNING", run=7, tasks={"w.a": (task, pid, "RUNNING")})


def checker_of(still: Still) -> Checker:
    cluster: Any = still  # it has what a checker looks at
    return Checker(cluster)


def found(still: Still, story: Diary | None = None, *, may_hurt: bool = False) -> list[str]:
    return checker_of(still).check(story or diary(), may_hurt=may_hurt)


def test_history_in_order_has_no_fault(still: Still) -> None:
    still.write()
    checker = checker_of(still)

    story = diary(("create", "a0b", "ok"), ("start", "a0b", "E_STATE"), pictures=[picture(), picture()])
    assert checker.check(story, may_hurt=False) == []
    assert checker.check(diary(), may_hurt=False) == []
    assert (checker.counts["events"], checker.counts["runs"]) == (9, 1)
    assert checker.left_behind(frozenset({TASK})) == []


JOURNALS: dict[str, list[Step]] = {
    "returns as DEPLOYED": [*LIFE, ("environment.state", "DONE", "", 0), ("environment.state", "DEPLOYED", "", 0)],
    "went from STANDBY to RUNNING": [LIFE[0], ("environment.state", "RUNNING", "", 0)],
    "DEPLOY begins during CONFIGURE": [LIFE[0], ("transition.begin", "", "CONFIGURE", 0), LIFE[1]],
    "has two starts": [*LIFE, ("run.start", "", "", 7)],
    "has two ends": [*LIFE, ("run.end", "", "", 7)],
    "starts after run 7": [*LIFE, ("run.start", "", "", 6), ("run.end", "", "", 6)],
    "run 3 starts after run 7": [
        *LIFE,
        ("transition.begin", "", "START_ACTIVITY", 0),
        ("run.start", "", "", 3),
        ("run.end", "", "", 3),
    ],
    "starts run 8 while run 7 goes on": [*LIFE[:7], ("run.start", "", "", 8)],
    "run 9 ends and has not started": [*LIFE, ("run.end", "", "", 9)],
    "which is DONE, has no end": [*LIFE[:7], ("environment.state", "DONE", "", 0)],
    "run 8 has no record": [*LIFE, ("run.start", "", "", 8)],
    "went to ERROR, and no task was killed": [*LIFE, ("environment.state", "ERROR", "", 0)],
    ": orphan ": [*LIFE, ("orphan", "", "", 0)],
}


@pytest.mark.parametrize("fault", JOURNALS)
def test_fault_of_the_journal_is_named(still: Still, fault: str) -> None:
    still.write(journal=events(JOURNALS[fault]))

    assert fault in "\n".join(found(still))


def test_two_environments_that_start_at_once_may_begin_in_any_order(still: Still) -> None:
    begin: Step = ("transition.begin", "", "START_ACTIVITY", 0)
    first = events([*LIFE[:5], begin])
    second = events([*LIFE[:5], begin, ("run.start", "", "", 8), ("run.end", "", "", 8)], "b0b")
    runs = {
        (RUN, str(number)): pack_value(RunInfo(number=number, environment="a0b", start_ms=1, end_ms=2))
        for number in (7, 8)
    }
    still.write(
        journal=[*first, *second, *events(LIFE[5:])],
        records={(ENVIRONMENT, "a0b"): b"", (ENVIRONMENT, "b0b"): b"", **runs},
    )

    assert found(still) == []


def test_error_is_no_fault_when_a_task_was_killed(still: Still) -> None:
    still.write(journal=events([*LIFE, ("environment.state", "ERROR", "", 0)]))

    assert found(still, may_hurt=True) == []


def test_gap_of_the_journal_is_named(still: Still) -> None:
    import sqlite3

    still.write()
    with sqlite3.connect(still.state / "state.sqlite") as db:
        db.execute("DELETE FROM events WHERE seq = 3")
    db.close()

    assert "event 4 follows 2" in "\n".join(found(still))


RUNNING = RunInfo(number=7, environment="a0b", start_ms=1)
RECORDS = {
    "is lost: CONFIGURED in the journal": {(RUN, "7"): pack_value(attrs.evolve(RUNNING, end_ms=2))},
    "has a record, and is not in the journal": {(ENVIRONMENT, "a0b"): b"", (ENVIRONMENT, "z"): b""},
    "the record of run 7 has no end": {(ENVIRONMENT, "a0b"): b"", (RUN, "7"): pack_value(RUNNING)},
    "the record of run 7 has no start": {
        (ENVIRONMENT, "a0b"): b"",
        (RUN, "7"): pack_value(attrs.evolve(RUNNING, start_ms=0, end_ms=1)),
    },
}


@pytest.mark.parametrize("fault", RECORDS)
def test_fault_of_the_records_is_named(still: Still, fault: str) -> None:
    still.write(records=RECORDS[fault])

    assert fault in "\n".join(found(still))


WRONG = {
    "was started 2 times": (*WORDS, WORDS[0]),
    "was started twice for run 7": (*WORDS, "start 7"),
    "which the journal does not know": (*WORDS[:2], "start 8"),
    "start was not due": (WORDS[0], "start 7"),
    "stop was not due": (*WORDS[:3], "stop 6"),
    "configure was not due": (*WORDS[:2], "configure"),
    "reset was not due": (*WORDS[:3], "reset"),
    "reconfigure was not due": (WORDS[0], "reconfigure value=2"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_fault_of_a_task_is_named(still: Still, fault: str) -> None:
    still.write(words=WRONG[fault])

    assert fault in "\n".join(found(still))


def test_task_may_be_started_again_for_a_run_that_it_was_taken_out_of(still: Still) -> None:
    still.write(words=(*WORDS, "reset", "configure", "start 7"))

    assert found(still) == []


def test_several_processes_of_one_task_are_named(still: Still) -> None:
    still.write(pids=[5, 5, 6, 6])

    assert "is several processes: [5, 6]" in "\n".join(found(still))


def test_task_that_was_killed_by_nobody_is_named_and_one_that_we_killed_is_not(still: Still) -> None:
    still.write()
    still.alive = {}

    assert "was killed, and not by us" in "\n".join(found(still))
    assert found(still, diary(killed=[TASK])) == []
    assert found(still, diary(("stop", "a0b", "E_TRANSITION"))) == []


STORIES = {
    "was never answered": diary(("start", "a0b", "")),
    "was acknowledged and is not in the journal": diary(("create", "zzz", "ok")),
    "was said to be destroyed and is CONFIGURED": diary(("destroy", "a0b", "ok")),
    "start of a0b": diary(("start", "a0b", "E_NOT_FOUND")),
    "had pid 5 and has 6": diary(pictures=[picture(), picture(pid=6)]),
    "became a0bt2, and nobody killed it": diary(pictures=[picture(), picture(task="a0bt2", pid=6)]),
    "is shown with pid 6": diary(pictures=[picture(pid=6)]),
}


@pytest.mark.parametrize("fault", STORIES)
def test_fault_of_what_clients_were_told_is_named(still: Still, fault: str) -> None:
    still.write()

    assert fault in "\n".join(found(still, STORIES[fault]))


def test_environment_that_nobody_destroyed_is_named(still: Still) -> None:
    still.write(journal=events([*LIFE, ("environment.state", "DONE", "", 0)]), records={})

    assert "is DONE, and nobody destroyed it" in "\n".join(found(still, diary(("create", "a0b", "ok"))))


def test_line_of_the_audit_log_that_was_changed_is_named(still: Still) -> None:
    still.write()
    (path,) = (path for path in (still.state / "audit").iterdir() if path.name != "head")
    path.write_text(path.read_text().replace("Control", "Destroy"))

    assert "audit log: " in "\n".join(found(still))


def test_what_is_left_behind_is_named(still: Still) -> None:
    still.write(records={(ENVIRONMENT, "a0b"): b"", (CONDEMNED, "t"): b"n1"})
    still.shim_pids = {"x": 9}

    assert checker_of(still).left_behind(frozenset()) == [
        f"task i/n1/{TASK} (pid 5) is left behind",
        "the shim of task x (pid 9) is left behind",
        "task t is still to be ended",
    ]


def test_idle_task_that_has_ended_is_named_until_the_core_has_heard_of_it(still: Still) -> None:
    still.write(records={(ENVIRONMENT, "a0b"): b""})
    still.alive = {}

    assert checker_of(still).left_behind(frozenset({TASK})) == [f"task {TASK} has ended, and the core keeps it as idle"]
    assert checker_of(still).left_behind(frozenset()) == []


@pytest.mark.parametrize(
    ("task", "environment"), [("6iVt02t5", "6iVt02"), ("a0bt5r3", "a0b"), ("a0bt5m12", "a0b"), ("odd", "")]
)
def test_task_id_names_its_environment(task: str, environment: str) -> None:
    assert environment_of(task) == environment


# the schedule


def test_seed_says_all_of_a_round() -> None:
    assert make_round(3, 8) == make_round(3, 8)
    assert make_round(3, 8) != make_round(3, 9) != make_round(4, 9)


def test_all_kinds_of_blows_and_steps_come_in_a_thousand_rounds() -> None:
    rounds = [make_round(1, number) for number in range(1000)]

    assert {blow.kind for one in rounds for blow in one.blows} == set(KINDS)
    verbs = {step.verb for one in rounds for script in one.scripts for step in script.steps}
    assert verbs >= {"create", "start", "stop", "reconfigure", "reset", "exclude", "include", "meddle", "destroy"}
    assert {script.keep for one in rounds for script in one.scripts} == {True, False}
    assert not any(script.keep for number in range(100) for script in make_round(1, number, modify=False).scripts)
