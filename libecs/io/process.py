"""Start, watch, signal and find again the processes of one node's tasks. Each has a shim as its parent.

A task's end is seen by the pidfd of its shim: what the shim left in `exit.json` is the cause. Without such a note the
shim was killed; then the task itself is watched, and nobody will know how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path

import attrs

from libecs.engine.effects import (
    Adopt,
    Forget,
    Input,
    MakeFolder,
    OutputTail,
    ProcessEnded,
    ProcessStarted,
    ReadTail,
    Signal,
    Spawn,
)
from libecs.errors import Denied, NotFound
from libecs.fsm import Mode
from libecs.io import procfs, survivors
from libecs.io.cgroups import Cgroups
from libecs.io.child import Child, shown
from libecs.io.procfs import TASK_MARKER, ProcessId
from libecs.io.statefolder import let_in
from libecs.io.tails import Tails
from libecs.io.taskfolder import PidRecord, ShimOptions, TaskFolder, parse_pid_record
from libecs.io.users import UserPolicy
from libecs.wire.node import Exit, ExitCause, TaskSpec

logger = logging.getLogger(__name__)

_MAX_SPAWN_S = 0.005
"""Launches of one turn of the event loop take no longer; the rest waits for the next."""
_GIVE_UP_S = 5.0
"""After SIGKILL, when a supervisor closes."""


def find_shim() -> Path:
    """Return the program `ecs-shim`: of ECS_SHIM, of the installed package, or of PATH.

    Raises:
        NotFound: it is nowhere.
    """
    if given := os.environ.get("ECS_SHIM"):
        return Path(given)
    installed = Path(str(resources.files("libecs") / "bin" / "ecs-shim"))
    if os.access(installed, os.X_OK):
        return installed
    if found := shutil.which("ecs-shim"):
        return Path(found)
    raise NotFound("the program ecs-shim is not installed", hint="install the package, or name the program in ECS_SHIM")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an executor's own environment its tasks inherit: nothing that changes which code they load."""
    ours = {TASK_MARKER, "OCC_CONTROL_ENDPOINT", "OCC_CONTROL_PORT", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"}
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(("LD_", "PYTHON")) and name not in ours and value.isprintable()
    }


@attrs.frozen(kw_only=True)
class Foreign:
    """A process that carries the marker of a task of this node which nothing else is known of."""

    task: str
    pids: tuple[int, ...]


class ShimSupervisor:
    """The processes of one node. All methods are for the event loop's thread and return at once, if not `async`."""

    def __init__(
        self,
        put: Callable[[Input], None],
        *,
        instance: str,
        node: str,
        folder: Path,
        shim: Path,
        environment: Mapping[str, str],
        options: ShimOptions | None = None,
        socket_folder: Path | None = None,
        cgroups: Cgroups | None = None,
        users: UserPolicy | None = None,
    ) -> None:
        """Call inside of a running event loop.

        Args:
            put: takes ProcessStarted, ProcessEnded, Output, Adopt.
            instance: of the control system, for the marker of tasks.
            node: name of this node, for the same.
            folder: of this node; made if absent. Holds the FIFO `alive` and a folder for each task.
            shim: the program of `find_shim`.
            environment: what tasks inherit, see `clean_environment`.
            options: for the shims.
            socket_folder: where tasks bind their control sockets; it is opened for tasks of other users.
            cgroups: where tasks with limits go; None = they get resource limits.
            users: as whom tasks may run; None = as the command says.
        """
        self._put = put
        self._prefix = f"{instance}/{node}/"
        self._folder = folder
        self._tasks_folder = folder / "tasks"
        self._shim = os.fspath(shim)
        self._environment = dict(environment)
        self._options = options or ShimOptions()
        self._socket_folder = socket_folder
        self._cgroups = cgroups
        self._users = users
        self._loop = asyncio.get_running_loop()
        self._children: dict[str, Child] = {}
        self._leaving: set[Child] = set()
        self._queue: deque[Spawn] = deque()
        self._scheduled = False
        self._closed = False
        self.left = False
        """After `close`: tasks go on without us."""
        self._forgotten = 0
        self._barred: set[Path] = set()
        """Where no folder of a run could be made."""
        self._told_of_cpu = False
        self._all_ended = asyncio.Event()
        self._tails = Tails(put)
        self._tasks_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._alive_fd = _hold_fifo(folder / "alive")

    # effects

    def spawn(self, effect: Spawn) -> None:
        """Start a task, soon. Answered by ProcessStarted and ProcessEnded, or by the latter alone."""
        self._queue.append(effect)
        self._schedule()

    def signal(self, effect: Signal) -> None:
        """Send a signal to the process group of a task; to nobody if the task is not there."""
        child = self._children.get(effect.task)
        if child is not None:
            child.signal_group(effect.number)

    def forget(self, effect: Forget) -> None:
        """Remove what is on disk for a task. If it runs against expectation, it is ended, and nothing is said of it."""
        self._queue = deque(spawn for spawn in self._queue if spawn.spec.task != effect.task)
        child = self._children.pop(effect.task, None)
        if child is None:
            return
        if child.ended:
            child.folder.remove()
            return
        child.forgotten = True
        self._tails.drop(effect.task)
        self._leaving.add(child)
        self._forgotten += 1
        # The shim holds its folder open: it goes on under another name, and the task's id is free again.
        moved = self._tasks_folder / f"{effect.task}~{self._forgotten}"
        with contextlib.suppress(OSError):
            child.folder.path.rename(moved)
            child.folder = TaskFolder(moved)
        child.order_end()

    def make_folder(self, effect: MakeFolder) -> None:
        """Make a folder for a run. Tasks of other users may write there too, if there are any."""
        folder = Path(effect.path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            users = {child.spec.command.user for child in self._children.values()} - {"", "root", "0"}
            if users and os.geteuid() == 0:
                folder.chmod(0o1777)
        except OSError as error:
            if folder.parent not in self._barred:  # on most nodes nobody needs it: once is enough
                self._barred.add(folder.parent)
                logger.warning(
                    "the folder %s of a run cannot be made: %s; tasks that write to run_dir need a runs_folder that "
                    "core and nodes share",
                    folder,
                    error.strerror,
                )

    def read_tail(self, effect: ReadTail) -> None:
        """Read the end of what a task wrote. Answered by OutputTail."""
        child = self._children.get(effect.task)
        folder = child.folder if child is not None else TaskFolder(self._tasks_folder / effect.task)
        try:
            if not TaskFolder.is_name(effect.task) or effect.stream not in ("stdout", "stderr"):
                raise FileNotFoundError
            text, truncated = folder.tail(effect.stream, effect.bytes)
        except FileNotFoundError:
            error = f"nothing is kept of {effect.stream} of task {effect.task:.80}"
            self._put(OutputTail(id=effect.id, task=effect.task, error=error))
        except OSError as failure:
            error = f"{effect.stream} of task {effect.task} cannot be read: {failure.strerror}"
            self._put(OutputTail(id=effect.id, task=effect.task, error=error))
        else:
            self._put(OutputTail(id=effect.id, task=effect.task, text=text, truncated=truncated))

    @property
    def running(self) -> Mapping[str, int]:
        """Tasks that have a process now, and its pid, 0 while it is being launched."""
        return {
            task: child.process.pid if child.process else 0 for task, child in self._children.items() if not child.ended
        }

    # launching

    def _schedule(self) -> None:
        if not (self._scheduled or self._closed):
            self._scheduled = True
            self._loop.call_soon(self._launch_some)

    def _launch_some(self) -> None:
        self._scheduled = False
        stop_at = time.perf_counter() + _MAX_SPAWN_S
        while self._queue and not self._closed:
            effect = self._queue.popleft()
            try:
                self._launch(effect)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self._launch_failed(effect.spec, f"its shim could not be started: {reason}")
            if time.perf_counter() > stop_at:
                break
        if self._queue:
            self._schedule()

    def _launch(self, effect: Spawn) -> None:
        spec = effect.spec
        if not TaskFolder.is_name(spec.task):
            self._launch_failed(spec, f"task id {spec.task!r:.100} cannot be the name of a folder")
            return
        old = self._children.get(spec.task)
        if old is not None and not old.ended:
            return  # it runs already: a launch is repeated without harm
        if self._users is not None:
            try:
                spec = self._users.admit(spec)
            except Denied as error:
                self._launch_failed(spec, error.message)
                return
            effect = attrs.evolve(effect, spec=spec)
        folder = TaskFolder(self._tasks_folder / spec.task)
        if folder.path.exists():
            folder.remove()
        if spec.command.user and effect.endpoint:
            self._let_in(spec.command.user)
        group = self._group(spec)
        folder.create(spec, self._task_environment(effect), self._options, alive="../../alive", cgroup=group)
        self._tails.follow(spec.task, folder.path, shown(spec))
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            pid = os.posix_spawn(
                self._shim,
                [self._shim, os.fspath(folder.path)],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, write_fd, 1)],
            )
        except BaseException:
            self._tails.drop(spec.task)
            if self._cgroups is not None:
                self._cgroups.remove(spec.task)
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        child = Child(spec, folder, shim=pid, pipe_fd=read_fd)
        self._children[spec.task] = child
        self._loop.add_reader(read_fd, self._read_pipe, child)
        self._watch_shim(child, os.pidfd_open(pid))  # not reaped yet, so it is the one

    def _group(self, spec: TaskSpec) -> str:
        """Return the control group that a task is to join, "" for none."""
        limits = spec.limits
        if limits.memory_mb <= 0 and limits.cpu <= 0:
            return ""
        if self._cgroups is not None:
            try:
                return os.fspath(self._cgroups.make(spec.task, limits))
            except OSError as error:
                logger.warning("no control group for task %s: %s", spec.task, error)
        if limits.cpu > 0 and not self._told_of_cpu:
            self._told_of_cpu = True
            logger.warning("limits of CPU (of task %s and maybe others) need control groups: not enforced", spec.task)
        return ""

    def _let_in(self, user: str) -> None:
        """Allow a task of another user to bind its control socket, and nobody to see or remove those of others."""
        if self._socket_folder is None or os.geteuid() != 0 or user in ("root", "0"):
            return
        let_in(self._socket_folder)

    def _task_environment(self, effect: Spawn) -> Iterable[tuple[str, str]]:
        environment = {**self._environment, **effect.spec.command.environment}
        if effect.endpoint:
            environment["OCC_CONTROL_ENDPOINT"] = effect.endpoint
        environment[TASK_MARKER] = self._prefix + effect.spec.task
        return environment.items()

    def _launch_failed(self, spec: TaskSpec, text: str) -> None:
        exit = Exit(cause=ExitCause.LAUNCH_FAILED, text=text)
        self._put(ProcessEnded(task=spec.task, exit=exit))

    # watching

    def _watch_shim(self, child: Child, fd: int) -> None:
        child.shim_fd = fd
        self._loop.add_reader(fd, self._shim_ended, child)

    def _read_pipe(self, child: Child) -> None:
        try:
            data = os.read(child.pipe_fd, 4096)
        except BlockingIOError:
            return
        child.first_words += data
        if data and not child.first_words.endswith(b"\n"):
            return
        self._close_pipe(child)
        if record := parse_pid_record(child.first_words):
            self._started(child, record)

    def _close_pipe(self, child: Child) -> None:
        if child.pipe_fd >= 0:
            self._loop.remove_reader(child.pipe_fd)
            os.close(child.pipe_fd)
            child.pipe_fd = -1

    def _started(self, child: Child, record: PidRecord) -> None:
        child.process = record.task
        if not child.forgotten:
            self._put(ProcessStarted(task=child.task, pid=record.task.pid))

    def _shim_ended(self, child: Child) -> None:
        self._loop.remove_reader(child.shim_fd)
        os.close(child.shim_fd)
        child.shim_fd = -1
        _reap(child.shim)
        if child.pipe_fd >= 0:
            self._read_pipe(child)  # started and ended in one turn: first things first
            self._close_pipe(child)
        exit = child.folder.read_exit()
        if exit is not None:
            self._ended(child, exit)
            return
        logger.warning("the shim of task %s was killed", child.task)
        self._watch_task(child)

    def _watch_task(self, child: Child) -> None:
        """Watch the task itself: its shim is gone."""
        if child.process is None:
            self._find_process(child)
        if child.process is None:
            text = "its shim was killed before it had started the task"
            self._ended(child, Exit(cause=ExitCause.LAUNCH_FAILED, text=text))
            return
        fd = child.process.open()
        if fd is None:
            self._task_ended(child)
            return
        child.process_fd = fd
        self._loop.add_reader(fd, self._task_ended, child)
        if child.forgotten or self._closed:
            child.order_end()  # the order to its shim came too late

    def _find_process(self, child: Child) -> None:
        """Look for a task whose shim could not say its pid."""
        record = child.folder.read_pid()
        if record is not None:
            self._started(child, record)
            return
        for pid in procfs.marked_processes(self._prefix + child.task).get("", ()):
            if (found := procfs.read_stat(pid)) is not None:
                child.process = ProcessId(pid, found[1])
                self._put(ProcessStarted(task=child.task, pid=pid))
                return

    def _task_ended(self, child: Child) -> None:
        if child.process_fd >= 0:
            self._loop.remove_reader(child.process_fd)
            os.close(child.process_fd)
            child.process_fd = -1
        self._kill_rest(child.task)
        self._ended(child, Exit(cause=ExitCause.UNKNOWN, text="its shim was killed before"))

    def _kill_rest(self, task: str) -> None:
        """End what a task without a shim leaves behind. With one, the shim does it."""
        if self._cgroups is not None:
            self._cgroups.kill(task)
        procfs.kill_marked(self._prefix + task)

    def _ended(self, child: Child, exit: Exit) -> None:
        child.ended = True
        if self._cgroups is not None:
            exit = attrs.evolve(exit, text=self._cgroups.verdict(child.task) or exit.text)
            self._cgroups.remove(child.task)
        if child.forgotten:
            self._leaving.discard(child)
            child.folder.remove()
        else:
            self._tails.finish(child.task)
            is_program = child.spec.mode in (Mode.BASIC, Mode.HOOK)
            output = child.folder.output() if is_program else ""
            last_log = child.folder.last_log()
            self._put(ProcessEnded(task=child.task, exit=exit, last_log=last_log, output=output))
        if self._closed and not self._living():
            self._all_ended.set()

    # the lives before this one

    async def adopt(self) -> tuple[Foreign, ...]:
        """Find what the last owner of the folder left, put Adopt, and watch it from here on.

        Returns processes that carry the marker of a task of this node and are in no folder: somebody removed it. They
        are left alone.
        """
        looks = [await survivors.look(path, self._prefix) for path in sorted(self._tasks_folder.iterdir())]
        found = [look for look in looks if look is not None]
        self._put(Adopt(survivors=tuple(look.survivor() for look in found)))
        children = [Child.adopted(look) for look in found]
        for child in children:
            self._children[child.task] = child
            if not child.ended:
                self._tails.follow(child.task, child.folder.path, shown(child.spec), from_end=True)
                self._resume_watch(child)
        known = {child.task: child for child in children}
        marked = procfs.marked_processes(self._prefix)
        for child in children:
            if child.ended and child.task in marked:
                logger.warning("task %s has ended, and what it left is ended: %s", child.task, marked[child.task])
                self._kill_rest(child.task)
        foreign = tuple(
            Foreign(task=task, pids=tuple(pids)) for task, pids in sorted(marked.items()) if task not in known
        )
        for one in foreign:
            logger.warning("task %s runs (pid %s) and is not known here", one.task, one.pids)
        return foreign

    def _resume_watch(self, child: Child) -> None:
        if child.shim_fd >= 0:
            self._watch_shim(child, child.shim_fd)
        else:
            self._watch_task(child)

    # the end

    def _living(self) -> list[Child]:
        return [child for child in (*self._children.values(), *self._leaving) if not child.ended]

    async def close(self, *, stop: bool) -> None:
        """Let go of everything. With `stop` all tasks are ended first, and the folder is removed."""
        self._closed = True
        self._queue.clear()
        if stop:
            await self._stop_all()
        self._tails.close()
        self.left = bool(self._living())
        for child in self._living():
            self._close_pipe(child)
            for fd in (child.shim_fd, child.process_fd):
                if fd >= 0:
                    self._loop.remove_reader(fd)
                    os.close(fd)
            child.shim_fd = child.process_fd = -1
        if self._alive_fd >= 0:
            os.close(self._alive_fd)
            self._alive_fd = -1
        if stop:
            for child in self._children.values():
                child.folder.remove()
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _stop_all(self) -> None:
        for child in self._living():
            child.order_end()
        patience_s = self._options.term_s + self._options.int_s + 2.0
        for number in (0, signal.SIGKILL):
            if not self._living():
                return
            if number:
                for child in self._living():
                    logger.warning("task %s did not end in %g s and is killed", child.task, patience_s)
                    child.signal_group(number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_ended.wait(), _GIVE_UP_S if number else patience_s)


def _hold_fifo(path: Path) -> int:
    """Return a write end of a FIFO, made if absent. For reading too: opening must not wait for a reader."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _reap(pid: int) -> None:
    # It is no child of ours if we adopted it, or somebody else's signal handler was quicker.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
