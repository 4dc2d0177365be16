"""Outputs of tasks are followed line by line, through cuts and floods, and silent ones cost nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from libecs.engine.effects import Input, Output
from libecs.io import tail as tail_module
from libecs.io import tails as tails_module
from libecs.io.inotify import Inotify
from libecs.io.tail import Tail
from libecs.io.tails import Tails
from libecs.wire.telemetry import Severity

WAIT_S = 30


def texts(tail: Tail, *, room: int = 1000, last: bool = False) -> list[str]:
    return [line.text for line in tail.read(room, 1, last=last)[0]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "stdout"


@pytest.fixture
def tail(file: Path) -> Tail:
    return Tail(path=file, stream="stdout")


def append(file: Path, data: bytes) -> None:
    with open(file, "ab") as out:
        out.write(data)


def cut(file: Path, keep: int, dropped: int, head: bytes = b"") -> tuple[int, bytes]:
    """Cut a file as the shim does; return what is dropped now, and the line at its head."""
    data = file.read_bytes()
    kept = data[-keep:]
    kept = kept[kept.index(b"\n") + 1 :]
    dropped += len(data) - len(head) - len(kept)
    head = b"[ecs-shim: more than 100 bytes of output; %d bytes before this line were dropped]\n" % dropped
    file.write_bytes(head + kept)
    return dropped, head


def test_a_file_that_is_not_there_yet_is_silent(tail: Tail) -> None:
    assert tail.read(10, 1) == ([], 0)
    tail.to_end()


def test_whole_lines_are_told_once(tail: Tail, file: Path) -> None:
    append(file, b"one\ntw")
    assert texts(tail) == ["one"]
    assert texts(tail) == []
    append(file, b"o\n\nthree")
    assert texts(tail) == ["two"]
    assert texts(tail, last=True) == ["three"]
    assert texts(tail, last=True) == []


def test_bytes_that_are_no_text_are_replaced_and_controls_are_gone(tail: Tail, file: Path) -> None:
    append(file, b"\xff\xfe volts\x1b[0m\x07\nERROR \x00 trip\n")

    lines, _ = tail.read(10, 77)

    assert [(line.text, line.severity, line.unix_ms, line.stream) for line in lines] == [
        ("\ufffd\ufffd volts", Severity.INFO, 77, "stdout"),
        ("ERROR  trip", Severity.ERROR, 77, "stdout"),
    ]


def test_a_line_without_end_is_told_once_and_the_rest_of_it_is_passed_over(tail: Tail, file: Path) -> None:
    append(file, b"x" * 5000)
    (line,) = texts(tail)
    assert len(line.encode()) <= 1024
    append(file, b"x" * 5000)
    assert texts(tail) == []
    append(file, b"x\nnext\n")
    assert texts(tail) == ["next"]


def test_of_too_many_lines_the_newest_are_told_and_the_others_counted(tail: Tail, file: Path) -> None:
    append(file, b"".join(b"%d\n" % n for n in range(100)))

    lines, dropped = tail.read(10, 1)

    assert [line.text for line in lines] == [str(n) for n in range(90, 100)]
    assert dropped == 90


def test_of_a_flood_the_end_is_read_and_what_is_passed_over_is_estimated(tail: Tail, file: Path) -> None:
    line = b"y" * 79 + b"\n"
    append(file, b"first\n" + line * (4 * tail_module.READ_BYTES // 80))
    lines, dropped = tail.read(10, 1)

    assert len(lines) == 10
    assert 0.5 < dropped / (4 * tail_module.READ_BYTES // 80) < 2.0


def test_a_cut_loses_no_line_that_is_still_there_and_repeats_none(tail: Tail, file: Path) -> None:
    append(file, b"".join(b"line %d\n" % n for n in range(20)))
    assert texts(tail)[-1] == "line 19"
    append(file, b"line 20\nline 21\n")
    dropped, head = cut(file, 40, 0)
    append(file, b"line 22\n")

    assert texts(tail) == ["line 20", "line 21", "line 22"]

    append(file, b"".join(b"line %d\n" % n for n in range(23, 26)))
    dropped, head = cut(file, 30, dropped, head)
    assert texts(tail) == ["line 23", "line 24", "line 25"]
    cut(file, 30, dropped, head)
    assert texts(tail) == []
    append(file, b"line 26\n")
    assert texts(tail) == ["line 26"]


def test_lines_that_were_cut_off_before_they_were_read_are_counted(tail: Tail, file: Path) -> None:
    append(file, b"".join(b"line %d\n" % n for n in range(20)))
    texts(tail)
    append(file, b"".join(b"line %d\n" % n for n in range(20, 120)))
    cut(file, 40, 0)

    lines, dropped = tail.read(1000, 1)

    assert [line.text for line in lines][-1] == "line 119"
    assert dropped > 10


def test_a_file_that_became_shorter_without_a_word_is_read_on_from_its_end(tail: Tail, file: Path) -> None:
    append(file, b"one\ntwo\n")
    texts(tail)
    file.write_bytes(b"")
    append(file, b"x\n")
    texts(tail)
    append(file, b"three\n")

    assert texts(tail) == ["three"]


def test_one_can_begin_at_the_end(tail: Tail, file: Path) -> None:
    append(file, b"old\nhalf of")
    tail.to_end()
    append(file, b" a line\nnew\n")

    assert texts(tail) == ["new"]


def test_a_pipe_or_a_link_in_the_place_of_the_file_is_not_read(tail: Tail, file: Path, tmp_path: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(OSError, match="seek"):
        tail.read(10, 1)
    file.unlink()
    (tmp_path / "secret").write_text("secret\n")
    file.symlink_to(tmp_path / "secret")

    assert tail.read(10, 1) == ([], 0)


# many of them


class Lines:
    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self._changed = asyncio.Event()

    def put(self, input: Input) -> None:
        assert isinstance(input, Output)
        self.outputs.append(input)
        self._changed.set()

    def of(self, task: str) -> list[str]:
        return [line.text for output in self.outputs if output.task == task for line in output.lines]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), WAIT_S)


@pytest.fixture
def told() -> Lines:
    return Lines()


@pytest_asyncio.fixture
async def tails(told: Lines) -> AsyncIterator[Tails]:
    tails = Tails(told.put)
    yield tails
    tails.close()


def task_folder(tmp_path: Path, name: str = "t") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


async def test_a_write_is_heard_of(tails: Tails, told: Lines, tmp_path: Path) -> None:
    folder = task_folder(tmp_path)
    tails.follow("t", folder, ("stdout", "stderr"))
    append(folder / "stdout", b"one\n")
    await told.until(lambda: told.of("t") == ["one"])
    append(folder / "stderr", b"two\n")
    await told.until(lambda: told.of("t") == ["one", "two"])
    append(folder / "stdout", b"three\n")
    await told.until(lambda: told.of("t") == ["one", "two", "three"])


async def test_the_rest_is_told_at_the_end_at_once(tails: Tails, told: Lines, tmp_path: Path) -> None:
    folder = task_folder(tmp_path)
    tails.follow("t", folder, ("stdout",))
    append(folder / "stdout", b"last words")

    tails.finish("t")
    tails.finish("t")

    assert told.of("t") == ["last words"]


async def test_what_is_not_followed_is_not_told(tails: Tails, told: Lines, tmp_path: Path) -> None:
    quiet, loud = task_folder(tmp_path, "quiet"), task_folder(tmp_path, "loud")
    tails.follow("quiet", quiet, ())
    tails.follow("dropped", quiet, ("stdout",))
    tails.follow("loud", loud, ("stderr",))
    tails.drop("dropped")
    append(quiet / "stdout", b"x\n")
    append(loud / "stdout", b"x\n")
    append(loud / "stderr", b"y\n")

    await told.until(lambda: bool(told.outputs))

    assert [(output.task, output.lines[0].text) for output in told.outputs] == [("loud", "y")]


async def test_a_flood_is_thinned_and_counted(tails: Tails, told: Lines, tmp_path: Path) -> None:
    folder = task_folder(tmp_path)
    append(folder / "stdout", b"".join(b"%d\n" % n for n in range(5000)))
    tails.follow("t", folder, ("stdout",))
    append(folder / "stdout", b"end\n")

    await told.until(lambda: bool(told.outputs))

    lines = told.of("t")
    assert len(lines) <= tails_module.LINES_PER_S
    assert lines[-1] == "end"
    assert len(lines) + sum(output.dropped for output in told.outputs) == 5001


async def test_silent_tasks_are_not_looked_at(
    tails: Tails, told: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    for number in range(50):
        folder = task_folder(tmp_path, str(number))
        tails.follow(str(number), folder, ("stdout", "stderr"))
    original = Tail.read

    def read(self: Tail, room: int, unix_ms: int, *, last: bool = False) -> object:
        looks.append(self.path.parent.name)
        return original(self, room, unix_ms, last=last)

    monkeypatch.setattr(Tail, "read", read)
    for number in range(3):
        append(tmp_path / "7" / "stdout", b"%d\n" % number)
        await told.until(lambda number=number: str(number) in told.of("7"))  # type: ignore[misc]

    assert set(looks) == {"7"}


async def test_without_the_kernels_help_files_are_looked_at(
    told: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Inotify, folder: Path) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Inotify, "watch", refuse)
    tails = Tails(told.put)
    folder = task_folder(tmp_path)
    tails.follow("t", folder, ("stdout",))
    append(folder / "stdout", b"one\n")
    await told.until(lambda: told.of("t") == ["one"])
    append(folder / "stdout", b"two\n")
    await told.until(lambda: told.of("t") == ["one", "two"])
    tails.close()


async def test_a_folder_that_goes_away_is_no_trouble(tails: Tails, told: Lines, tmp_path: Path) -> None:
    gone, stays = task_folder(tmp_path, "gone"), task_folder(tmp_path, "stays")
    for folder in (gone, stays):
        tails.follow(folder.name, folder, ("stdout",))
        append(folder / "stdout", b"here\n")
    (gone / "stdout").unlink()
    gone.rmdir()

    await told.until(lambda: told.of("stays") == ["here"])

    tails.finish("gone")


def test_a_folder_that_does_not_exist_cannot_be_watched(tmp_path: Path) -> None:
    inotify = Inotify()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        inotify.watch(tmp_path / "nowhere")
    inotify.close()
