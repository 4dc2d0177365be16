"""What stands in a task's folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from libecs.fsm import Mode
from libecs.io.procfs import ProcessId
from libecs.io.taskfolder import (
    MAX_LOG_LINE,
    MAX_OUTPUT_BYTES,
    MAX_TAIL_BYTES,
    PidRecord,
    ShimOptions,
    TaskFolder,
    clean_line,
    exit_of_note,
    parse_pid_record,
    shim_spec,
)
from libecs.wire.node import Command, Exit, ExitCause, TaskSpec


def spec(*argv: str, user: str = "", endpoint: str = "") -> TaskSpec:
    return TaskSpec(
        task="t1",
        environment="e",
        role="r",
        class_name="c",
        mode=Mode.BASIC,
        critical=True,
        command=Command(argv=argv, user=user),
        endpoint=endpoint,
    )


def test_the_shim_is_told_everything_as_entries_that_end_with_nul() -> None:
    text = shim_spec(
        spec("/bin/echo", "a b", "=", "", user="flp"),
        [("A", "1"), ("B", "x=y")],
        ShimOptions(orphan_s=10, open_files=(1024, 4096), output_cap_bytes=1000),
    )

    assert text.endswith(b"\0")
    assert text[:-1].decode().split("\0") == [
        "ecs-shim=1",
        "arg=/bin/echo",
        "arg=a b",
        "arg==",
        "arg=",
        "env=A=1",
        "env=B=x=y",
        "user=flp",
        "stdout=stdout",
        "stderr=stderr",
        "stdout_cap=1000",
        "stderr_cap=1000",
        "rlimit=nofile:1024:4096",
        "term_s=2",
        "int_s=3",
        "orphan_s=10",
    ]


def test_a_nul_in_an_argument_cannot_smuggle_in_an_entry() -> None:
    with pytest.raises(ValueError, match="NUL"):
        shim_spec(spec("a\0user=root"), [], ShimOptions())


def test_a_folder_is_private_and_holds_the_task_for_whoever_adopts_it(tmp_path: Path) -> None:
    folder = TaskFolder(tmp_path / "t1")

    folder.create(spec("/bin/true"), [], ShimOptions(), alive="../alive")

    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert folder.read_spec() == spec("/bin/true")
    assert (folder.path / "alive").readlink() == Path("../alive")
    assert (folder.read_pid(), folder.read_exit(), folder.last_log(), folder.output()) == (None, None, "", "")
    with pytest.raises(FileExistsError):
        folder.create(spec("/bin/true"), [], ShimOptions(), alive="../alive")


def test_removing_a_folder_removes_the_control_socket_too(tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    socket.touch()
    folder = TaskFolder(tmp_path / "t1")
    folder.create(spec("/bin/true", endpoint=f"ipc://{socket}"), [], ShimOptions(), alive="../alive")

    folder.remove()
    folder.remove()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["2011k", "a.b-c_d", "x" * 80])
def test_names_of_folders(name: str) -> None:
    assert TaskFolder.is_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "-x", "x" * 81, "a\nb", "ü", "t~1"])
def test_what_is_no_name_of_a_folder(name: str) -> None:
    assert not TaskFolder.is_name(name)


def test_the_pid_record_is_read_whole_or_not_at_all() -> None:
    text = b'{"shim_pid": 1, "shim_start": 2, "task_pid": 3, "task_start": 4, "boot_id": "b"}\n'

    assert parse_pid_record(text) == PidRecord(shim=ProcessId(1, 2), task=ProcessId(3, 4), boot_id="b")
    assert parse_pid_record(text[:30]) is None
    assert parse_pid_record(b"{}") is None
    assert parse_pid_record(b"[]") is None
    assert parse_pid_record(b"") is None


@pytest.mark.parametrize(
    ("note", "exit"),
    [
        ({"code": 3, "signal": None, "by": "itself"}, Exit(cause=ExitCause.EXITED, code=3)),
        ({"code": None, "signal": 9, "by": "itself"}, Exit(cause=ExitCause.SIGNALED, signal=9)),
        ({"code": None, "signal": 15, "by": "order"}, Exit(cause=ExitCause.SIGNALED, signal=15)),
        (
            {"code": 127, "signal": None, "by": "launch", "cause": "no such file"},
            Exit(cause=ExitCause.LAUNCH_FAILED, code=127, text="no such file"),
        ),
        ({"code": None, "signal": 15, "by": "orphan"}, Exit(cause=ExitCause.ORPHANED, signal=15)),
        (
            {"code": None, "signal": None, "by": "itself", "cause": "it survived"},
            Exit(cause=ExitCause.UNKNOWN, text="it survived"),
        ),
    ],
)
def test_what_the_shim_notes_is_how_the_task_ended(tmp_path: Path, note: dict[str, object], exit: Exit) -> None:
    (tmp_path / "exit.json").write_text(json.dumps(note))

    assert exit_of_note(note) == exit
    assert TaskFolder(tmp_path).read_exit() == exit


def test_a_note_that_is_no_json_says_that_nobody_knows(tmp_path: Path) -> None:
    (tmp_path / "exit.json").write_bytes(b"{")

    exit = TaskFolder(tmp_path).read_exit()

    assert exit is not None
    assert exit.cause is ExitCause.UNKNOWN


def test_the_last_log_is_the_last_line_with_text_of_stderr_then_of_stdout(tmp_path: Path) -> None:
    folder = TaskFolder(tmp_path)
    (tmp_path / "stdout").write_text("out 1\nout 2\n\n")
    assert folder.last_log() == "out 2"

    (tmp_path / "stderr").write_text("\n \x1b[0m\n")
    assert folder.last_log() == "out 2"

    (tmp_path / "stderr").write_text("x" * 100_000 + "\nerror: \x1b[31mred\x1b[0m\x07\twide \n \n")
    assert folder.last_log() == "error: red wide"


def test_output_is_cut_and_decoded_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "stdout").write_bytes(b"\xff" + b"x" * 2 * MAX_OUTPUT_BYTES)

    assert TaskFolder(tmp_path).output() == "�" + "x" * (MAX_OUTPUT_BYTES - 1)


@pytest.mark.parametrize(
    ("size", "text", "truncated"),
    [
        (1000, "one\ntwo\nthree\n", False),
        (14, "one\ntwo\nthree\n", False),
        (13, "two\nthree\n", True),
        (10, "two\nthree\n", True),
        (9, "three\n", True),
        (3, "ee\n", True),
        (0, "\n", True),
    ],
)
def test_the_end_of_a_stream_begins_with_a_line(tmp_path: Path, size: int, text: str, truncated: bool) -> None:
    (tmp_path / "stdout").write_bytes(b"one\ntwo\nthree\n")

    assert TaskFolder(tmp_path).tail("stdout", size) == (text, truncated)


def test_the_end_of_a_stream_is_fit_for_a_terminal_and_bounded(tmp_path: Path) -> None:
    (tmp_path / "stderr").write_bytes(b"\x1b]0;title\x07a\xff\n\x1b[2Jb\n")
    (tmp_path / "stdout").write_bytes(b"x\n" * MAX_TAIL_BYTES)

    assert TaskFolder(tmp_path).tail("stderr", 1000) == ("a\N{REPLACEMENT CHARACTER}\nb\n", False)
    assert len(TaskFolder(tmp_path).tail("stdout", 10 * MAX_TAIL_BYTES)[0]) == MAX_TAIL_BYTES


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("plain", "plain"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;aGVsbG8=\x1b\\text", "text"),
        ("\x1b[2J\x1b[1;31mtext\x1b[0m", "text"),
        ("a\x00b\x7fc\x9bd", "abcd"),
        ("x" * 600, "x" * (MAX_LOG_LINE - 1) + "…"),
    ],
)
def test_lines_of_tasks_cannot_drive_a_terminal(line: str, clean: str) -> None:
    assert clean_line(line) == clean
