"""What people read about one environment and of one event."""

from __future__ import annotations

import attrs
import pytest

from ecsd.coconut.documents import environment_document
from ecsd.coconut.environment import page
from ecsd.coconut.events import short_line
from ecsd.coconut.output import Column, Output, harmless
from libecs.fsm import EnvState, Status, TaskState
from libecs.wire.info import EnvironmentInfo, Event, RoleInfo, TaskInfo
from libecs.wire.node import Phase


def with_tasks(*tasks: TaskInfo) -> list[str]:
    roles = tuple(
        RoleInfo(path=path, kind="task", state=TaskState.RUNNING, status=Status.ACTIVE, critical=True)
        for path in ("w", *(task.role for task in tasks))
    )
    info = EnvironmentInfo(
        environment="e1", name="shift", workflow="w", revision="r", state=EnvState.RUNNING, run_number=7, tasks=tasks,
        roles=roles,
    )  # fmt: skip
    return list(page(environment_document(info, whole=True)))


def task(role: str) -> TaskInfo:
    return TaskInfo(
        task=f"t{role}", role=f"w.{role}", class_name="c", mode="direct", node="n1", critical=True,
        phase=Phase.ACTIVE, state=TaskState.RUNNING, pid=1,
    )  # fmt: skip


def test_tasks_that_do_not_answer_are_named_on_the_page_of_their_environment() -> None:
    stalled = [attrs.evolve(task(role), stalled=True, error="does not answer for 3.0 s") for role in "abcd"]

    assert not any("STALLED" in line for line in with_tasks(task("a")))
    assert with_tasks(stalled[0], task("b"))[-1] == "STALLED      w.a on n1: does not answer for 3.0 s"
    assert (
        with_tasks(*stalled)[-1] == "STALLED      w.a on n1, w.b on n1, w.c on n1 and 1 more: does not answer for 3.0 s"
    )


def test_a_node_that_is_lost_is_called_so_and_one_that_is_late_suspect() -> None:
    late = attrs.evolve(task("a"), age_ms=1700)
    lost = [attrs.evolve(task(role), node="n2", age_ms=5000, state=TaskState.UNKNOWN) for role in "bc"]

    assert with_tasks(task("d"), late, *lost)[-2:] == [
        "LOST         2 tasks on n2: not heard of for 5.0 s",
        "SUSPECT      1 task on n1: not heard of for 1.7 s",
    ]
    assert not any("SUSPECT" in line for line in with_tasks(*lost))


def test_the_end_of_an_operation_on_no_environment_has_no_state() -> None:
    event = Event(sequence=1, unix_ms=0, kind="operation.end", state="STANDBY", text="a1-4")

    assert short_line(event).endswith("operation.end  a1-4")
    assert short_line(attrs.evolve(event, environment="e1")).endswith("e1  operation.end  STANDBY  a1-4")


@pytest.mark.parametrize(
    ("text", "lines", "one_line"),
    [
        ("all fine: größer, 10\xa0%, 日本", "all fine: größer, 10\xa0%, 日本", "all fine: größer, 10\xa0%, 日本"),
        ("a\tb\nc", "a\tb\nc", "a\ufffdb\ufffdc"),
        ("\x1b[31mred\x1b[0m", "red", "red"),
        ("\x1b]0;title\x07x\x1b]8;;u\x1b\\y", "xy", "xy"),
        ("\x1b7\x1b", "", ""),
        ("a\rb\x08c\x9bd\u202ee\0", "a\ufffdb\ufffdc\ufffdd\ufffde\ufffd", "a\ufffdb\ufffdc\ufffdd\ufffde\ufffd"),
    ],
)
def test_what_others_wrote_commands_no_terminal(text: str, lines: str, one_line: str) -> None:
    assert harmless(text) == lines
    assert harmless(text, one_line=True) == one_line


def test_whatever_is_printed_for_people_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.document("x", {}, ["a\x1b[31mb"])
    output.line("x", {}, "c\x1b]0;t\x07d")
    output.say("e\x1bcf")
    output.listing({"rows": [{"name": "g\n\x1b[1mh"}]}, "rows", [Column("n", lambda row: row["name"])])
    Output(as_json=False, form="name").listing({"rows": [{"name": "i\nj"}]}, "rows", [])

    told = capsys.readouterr()
    assert told.out == "ab\ncd\nn\ng\ufffdh\ni\ufffdj\n"
    assert told.err == "ef\n"
