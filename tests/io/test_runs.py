"""Run numbers."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from libecs.errors import EcsError
from libecs.io.runs import RunCounter, _filesystem, default_path


def test_numbers_begin_at_one_and_a_key_keeps_its_number(tmp_path: Path) -> None:
    counter = RunCounter(tmp_path / "deep" / "runs.sqlite", instance="i")

    assert [counter.take(key) for key in ("a", "b", "a", "c", "b")] == [1, 2, 1, 3, 2]


def test_instances_share_numbers_but_not_keys(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"

    assert RunCounter(path, instance="one").take("key") == 1
    assert RunCounter(path, instance="two").take("key") == 2


def test_a_number_is_never_given_again_even_if_its_row_is_deleted(tmp_path: Path) -> None:
    counter = RunCounter(tmp_path / "runs.sqlite")
    for key in "abc":
        counter.take(key)
    with closing(sqlite3.connect(counter.path)) as db, db:
        db.execute("DELETE FROM runs")

    assert counter.take("a") == 4


def test_the_table_tells_who_took_a_number_and_when(tmp_path: Path) -> None:
    RunCounter(tmp_path / "runs.sqlite", instance="i", unix_ms=lambda: 1234).take("key")

    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as db:
        assert db.execute("SELECT number, key, unix_ms, instance FROM runs").fetchall() == [(1, "key", 1234, "i")]


def test_processes_that_take_numbers_at_once_never_get_the_same(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from libecs.io.runs import RunCounter\n"
        "counter = RunCounter(pathlib.Path(sys.argv[1]), instance=sys.argv[2])\n"
        "print(*[counter.take(str(i)) for i in range(20)])\n"
    )
    path = str(tmp_path / "runs.sqlite")
    processes = [
        subprocess.Popen([sys.executable, "-c", program, path, str(i)], stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    numbers = [int(word) for process in processes for word in process.communicate()[0].split()]

    assert sorted(numbers) == list(range(1, 81))


def test_a_file_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "runs.sqlite").mkdir()

    with pytest.raises(EcsError, match=r"no run number from .*runs\.sqlite"):
        RunCounter(tmp_path / "runs.sqlite").take("key")


def test_a_broken_file_is_an_error_and_the_next_take_looks_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    path.write_text("this is no database, but long enough to be read as the header of one" * 20)
    counter = RunCounter(path)

    with pytest.raises(EcsError, match="not a database"):
        counter.take("key")
    path.unlink()

    assert counter.take("key") == 1
    counter.close()


def test_the_file_stays_open_until_it_is_closed(tmp_path: Path) -> None:
    counter = RunCounter(tmp_path / "runs.sqlite")

    def is_open() -> bool:
        names = []
        for link in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                names.append(os.readlink(link))
        return str(counter.path) in names

    counter.take("a")
    assert is_open()
    counter.close()
    assert not is_open()
    counter.close()
    assert counter.take("b") == 2
    counter.close()


def test_a_file_that_was_taken_away_is_made_anew_and_numbers_that_are_in_use_are_not_given_again(
    tmp_path: Path,
) -> None:
    counter = RunCounter(tmp_path / "runs.sqlite", floor=lambda: 41)
    assert [counter.take("a"), counter.take("b")] == [42, 43]
    for path in tmp_path.glob("runs.sqlite*"):
        path.unlink()

    assert counter.take("c") == 42
    counter.close()


def test_a_fork_opens_the_file_for_itself(tmp_path: Path) -> None:
    program = (
        "import os, sys, pathlib\n"
        "from libecs.io.runs import RunCounter\n"
        "counter = RunCounter(pathlib.Path(sys.argv[1]))\n"
        "counter.take('before')\n"
        "if os.fork() == 0:\n"
        "    print(counter.take('child'), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(counter.take('parent'))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "runs.sqlite")], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["2", "3"], done.stderr


def test_a_failed_take_gives_its_transaction_up(tmp_path: Path) -> None:
    def broken() -> int:
        raise sqlite3.OperationalError("the clock has stopped")

    counter = RunCounter(tmp_path / "runs.sqlite", unix_ms=broken)
    with pytest.raises(EcsError, match="the clock has stopped"):
        counter.take("a")

    assert RunCounter(tmp_path / "runs.sqlite").take("b") == 1


def test_file_systems_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _filesystem(Path("/proc/self/status")) == "proc"
    monkeypatch.setattr(Path, "read_text", lambda *arguments, **options: (_ for _ in ()).throw(OSError()))
    assert _filesystem(Path("/")) == ""


@pytest.mark.parametrize(
    ("value", "expected"),
    [("/var/state", "/var/state/ecs/runs.sqlite"), ("relative", "/home/x/.local/state/ecs/runs.sqlite")],
)
def test_the_file_lies_in_the_state_folder_of_the_user(
    monkeypatch: pytest.MonkeyPatch, value: str, expected: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", value)
    monkeypatch.setenv("HOME", "/home/x")

    assert default_path() == Path(expected)
