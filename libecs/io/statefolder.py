"""Where an embedded control system keeps its files.

STATE/            0700; temporary, or named by the user and kept
lock, state.sqlite, reserve      the core's store
instance                         name of this installation, part of the markers of its tasks
nodes/NODE/                      the executor's store
nodes/NODE/run/                  FIFO and task folders
SOCKETS/          0700; control sockets of tasks. A short path: those of UNIX sockets are limited. Once tasks of another
                  user bind theirs here it is 1733, and stays so for the next owner of the state
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

import attrs

from libecs.errors import Conflict, EcsError, UsageError
from libecs.io.folderlock import FolderLock
from libecs.io.procfs import boot_id
from libecs.io.taskfolder import TaskFolder

_MAX_SOCKET_FOLDER = 60
"""With a task id behind it, a path stays below the 100 bytes that the task link allows."""
_TEMPORARY = "ecs-tmp-"
_TMP = Path("/tmp")
_SHARED_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 256 * 1024 * 1024
"""Less than this is left to others."""
_LET_IN = 0o1733
"""Anybody may make a socket, and nobody see or remove those of others."""
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@attrs.frozen(kw_only=True)
class StateFolder:
    """The folders of one embedded control system."""

    path: Path
    sockets: Path
    instance: str
    temporary: bool

    @classmethod
    def open(cls, path: Path, *, temporary: bool) -> StateFolder:
        """Make what is missing in the folder, or find what the last owner left. Whoever calls holds its lock.

        Raises:
            Conflict: the folder for sockets belongs to somebody else.
            EcsError: it cannot be made.
        """
        try:
            if temporary:
                sockets = path / "s"
                sockets.mkdir(mode=0o700)
                return cls(path=path, sockets=sockets, instance=_new_instance(), temporary=True)
            name = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
            # Not in the folder of the login session: that one is gone after logout, adopted tasks are not.
            sockets = _own_folder(_TMP / f"ecs-{os.geteuid()}-{name}")
            return cls(path=path, sockets=sockets, instance=kept_instance(path / "instance"), temporary=False)
        except OSError as error:
            raise _no_folder(error) from error

    def node(self, name: str) -> Path:
        """Return the folder of a node.

        Raises:
            UsageError: the name cannot be that of a folder.
        """
        if not _NODE.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a node", hint="use letters, digits, '.', '_' and '-'")
        return self.path / "nodes" / name

    def remove(self, *, everything: bool) -> None:
        """Remove what nobody needs any more. `everything`: no task is left that uses it."""
        if everything:
            shutil.rmtree(self.sockets, ignore_errors=True)
        if everything and self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)


def sweep_abandoned(folder: Path) -> list[Path]:
    """Remove temporary folders below `folder` whose owner was killed and whose tasks have ended; return them."""
    removed = []
    for path in sorted(folder.glob(f"{_TEMPORARY}*")):
        with contextlib.suppress(OSError, Conflict):
            if path.lstat().st_uid != os.geteuid() or not (path / "s").is_dir() or not (path / "lock").is_file():
                continue
            lock = FolderLock(path)
            try:
                if not _has_tasks(path):
                    shutil.rmtree(path, ignore_errors=True)
                    removed.append(path)
            finally:
                lock.release()
    return removed


def _has_tasks(path: Path) -> bool:
    for task in path.glob("nodes/*/run/tasks/*"):
        folder = TaskFolder(task)
        record = folder.read_pid()
        if record is None or folder.read_exit() is not None or record.boot_id != boot_id():
            continue
        if record.shim.is_alive() or record.task.is_alive():
            return True
    return False


def state_path(state: Path | None) -> Path:
    """Return the folder that a user names, made if absent; for None a new temporary one. Raises EcsError."""
    try:
        if state is None:
            sweep_abandoned(fast_folder())
            return Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=fast_folder()))
        path = state.expanduser().absolute()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(error) from error
    return path


def _no_folder(error: OSError) -> EcsError:
    return EcsError(f"no folder for the state: {error.strerror}: {error.filename}")


def fast_folder() -> Path:
    """Return where temporary sessions live: in memory where possible, as a launch makes ten small files per task.

    That is the folder of the user's login session. For root, whose tasks may run as other users, it is /dev/shm.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0:
        return _SHARED_MEMORY if _has_room(_SHARED_MEMORY) else _TMP
    if runtime.startswith("/") and len(runtime) <= _MAX_SOCKET_FOLDER - 32 and _has_room(Path(runtime)):
        return Path(runtime)
    return _TMP


def _has_room(path: Path) -> bool:
    try:
        status = os.statvfs(path)
    except OSError:
        return False
    return os.access(path, os.W_OK | os.X_OK) and status.f_bavail * status.f_frsize >= _ROOM_BYTES


def let_in(sockets: Path) -> None:
    """Allow tasks of other users to bind their control sockets in a folder of ours. Raises OSError."""
    sockets.chmod(_LET_IN)
    sockets.parent.chmod(sockets.parent.stat().st_mode | 0o011)


def _own_folder(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    ours = status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode)
    if not ours or (mode & 0o077 and mode != _LET_IN):
        raise Conflict(f"{path} is not a private folder of ours", hint="see who made it, and remove it")
    return path


def _new_instance(kind: str = "local") -> str:
    return f"{kind}-{secrets.token_hex(4)}"


def kept_instance(path: Path, kind: str = "local") -> str:
    """Return the name of an installation that is kept in a file; make it if it is not there. Raises OSError."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        instance = _new_instance(kind)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(instance + "\n", encoding="ascii")
        temporary.rename(path)
        return instance
