"""One task's process and its shim: the descriptors that tell of them, and the signals that they are sent."""

from __future__ import annotations

import contextlib
import logging
import os
import signal

import attrs

from libecs.io.procfs import ProcessId
from libecs.io.survivors import Found
from libecs.io.taskfolder import TaskFolder
from libecs.wire.node import TaskSpec

logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class Child:
    """A task that was started here, or adopted."""

    spec: TaskSpec
    folder: TaskFolder
    shim: int = 0
    shim_fd: int = -1
    pipe_fd: int = -1
    first_words: bytes = b""
    process: ProcessId | None = None
    process_fd: int = -1
    """Open once the shim is gone and the task is not."""
    forgotten: bool = False
    ended: bool = False

    @classmethod
    def adopted(cls, found: Found) -> Child:
        """Return a task of an earlier owner."""
        return cls(
            found.spec,
            found.folder,
            shim=found.shim,
            shim_fd=found.shim_fd,
            process=found.process,
            ended=found.exit is not None,
        )

    @property
    def task(self) -> str:
        """Its id."""
        return self.spec.task

    def signal_group(self, number: int) -> None:
        """Send a signal to the process group; to nobody if the task is not there."""
        if self.process is None or self.ended or not self.process.is_alive():
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return
        except OSError as error:  # it has become another user's, or the signal is none
            logger.error("task %s cannot be sent signal %d: %s", self.task, number, error.strerror)

    def order_end(self) -> None:
        """Have the shim end its task: SIGTERM, SIGINT, SIGKILL. Without a shim, SIGKILL at once."""
        if self.shim_fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.shim_fd, signal.SIGTERM)
        else:
            self.signal_group(signal.SIGKILL)


def shown(spec: TaskSpec) -> list[str]:
    """Return the output files of a task whose lines somebody wants to see."""
    command = spec.command
    return [name for name, wish in (("stdout", command.stdout), ("stderr", command.stderr)) if wish != "none"]
