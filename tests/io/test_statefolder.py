"""Where an embedded control system keeps its files."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from pathlib import Path

import pytest

from libecs.errors import Conflict, EcsError, UsageError
from libecs.io.folderlock import FolderLock
from libecs.io.ports import free_ranges
from libecs.io.procfs import boot_id, read_stat
from libecs.io.statefolder import StateFolder, fast_folder, let_in, state_path, sweep_abandoned


def test_a_temporary_folder_is_private_new_and_gone_at_the_end() -> None:
    path = state_path(None)
    folder = StateFolder.open(path, temporary=True)

    assert (path.stat().st_mode & 0o777, folder.sockets.stat().st_mode & 0o777) == (0o700, 0o700)
    assert len(os.fspath(folder.sockets)) < 60
    folder.remove(everything=False)
    assert folder.path.exists()
    folder.remove(everything=True)
    assert not folder.path.exists()


def test_a_folder_with_a_name_keeps_its_instance_and_its_place_for_sockets(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 30) / "state"
    first = StateFolder.open(state_path(state), temporary=False)
    second = StateFolder.open(state_path(state), temporary=False)
    other = StateFolder.open(state_path(tmp_path / "other"), temporary=False)

    assert first == second
    assert first.instance != other.instance
    assert first.sockets != other.sockets
    assert len(os.fspath(first.sockets)) < 60
    for folder in (first, other):
        folder.remove(everything=True)
        assert folder.path.exists()
        assert not folder.sockets.exists()


def test_a_folder_for_sockets_into_which_tasks_of_others_were_let_is_still_ours(tmp_path: Path) -> None:
    folder = StateFolder.open(state_path(tmp_path), temporary=False)
    let_in(folder.sockets)

    assert StateFolder.open(state_path(tmp_path), temporary=False) == folder
    assert folder.sockets.stat().st_mode & 0o7777 == 0o1733
    folder.remove(everything=True)


def test_a_folder_for_sockets_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    folder = StateFolder.open(state_path(tmp_path), temporary=False)
    folder.sockets.chmod(0o755)

    with pytest.raises(Conflict, match="no private folder|not a private folder"):
        StateFolder.open(state_path(tmp_path), temporary=False)

    folder.sockets.rmdir()
    folder.sockets.symlink_to(tmp_path)
    with pytest.raises((Conflict, EcsError)):
        StateFolder.open(state_path(tmp_path), temporary=False)
    folder.sockets.unlink()


def test_what_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "s").touch()

    with pytest.raises(EcsError, match="Not a directory|File exists"):
        state_path(tmp_path / "file" / "state")
    with pytest.raises(EcsError, match="File exists"):
        StateFolder.open(tmp_path, temporary=True)


def test_names_of_nodes_are_names_of_folders(tmp_path: Path) -> None:
    folder = StateFolder(path=tmp_path, sockets=tmp_path, instance="i", temporary=False)

    assert folder.node("flp-001.x") == tmp_path / "nodes" / "flp-001.x"
    for name in ("", "..", "a/b", "-x", "x" * 64):
        with pytest.raises(UsageError, match="no name of a node"):
            folder.node(name)


@pytest.mark.parametrize(
    ("runtime", "user", "room", "expected"),
    [
        ("{tmp}", 1000, True, "{tmp}"),
        ("{tmp}", 1000, False, "/tmp"),
        ("relative", 1000, True, "/tmp"),
        ("/x" * 40, 1000, True, "/tmp"),
        ("{tmp}", 0, True, "/dev/shm"),
        ("{tmp}", 0, False, "/tmp"),
    ],
)
def test_temporary_sessions_live_in_memory_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, folder: Path, runtime: str, user: int, room: bool, expected: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime.format(tmp=folder))
    monkeypatch.setattr("libecs.io.statefolder._ROOM_BYTES", 0 if room else 1 << 60)

    assert fast_folder() == Path(expected.format(tmp=folder))


def test_a_folder_that_is_not_there_has_no_room(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{folder}/missing")

    assert fast_folder() == Path("/tmp")


def make_temporary(parent: Path, name: str) -> Path:
    path = parent / f"ecs-tmp-{name}"
    (path / "s").mkdir(parents=True)
    (path / "lock").touch()
    return path


def test_what_a_killed_session_left_is_swept_when_its_tasks_have_ended(tmp_path: Path) -> None:
    abandoned, owned, busy = (make_temporary(tmp_path, name) for name in ("abandoned", "owned", "busy"))
    lock = FolderLock(owned)
    task = subprocess.Popen(["sleep", "1000"])
    stat = read_stat(task.pid)
    assert stat is not None
    for path in (abandoned, busy):
        (path / "nodes/n1/run/tasks/t1").mkdir(parents=True)
        start = stat[1] if path == busy else stat[1] - 1
        (path / "nodes/n1/run/tasks/t1/pid").write_text(
            f'{{"shim_pid": {task.pid}, "shim_start": {start}, "task_pid": {task.pid}, "task_start": {start}, '
            f'"boot_id": "{boot_id()}"}}'
        )
    (tmp_path / "ecs-tmp-other").mkdir()

    assert sweep_abandoned(tmp_path) == [abandoned]

    assert sorted(path.name for path in tmp_path.iterdir()) == ["ecs-tmp-busy", "ecs-tmp-other", "ecs-tmp-owned"]
    task.kill()
    task.wait()
    lock.release()
    assert sweep_abandoned(tmp_path) == [busy, owned]


def test_ports_that_somebody_uses_are_left_out() -> None:
    (offered,) = free_ranges(1, 50)
    for number in (port for low, high in offered for port in range(low, high + 1)):
        with contextlib.suppress(OSError):  # somebody else has it meanwhile
            server = socket.create_server(("127.0.0.1", number))
            break
    with server:
        (ranges,) = free_ranges(1, 50)

    ports = [port for low, high in ranges for port in range(low, high + 1)]
    assert len(ports) == 50
    assert number not in ports


def test_when_ports_are_missing_it_is_said_how_many() -> None:
    with pytest.raises(EcsError, match="40000 free TCP ports"):
        free_ranges(2, 20_000)
    assert free_ranges(0, 10) == []
