"""A process that expands templates, so that no template holds up the engines, whatever it asks for.

It is started when the first job comes, or before by `start`, lives on for the next ones, and is ended and replaced when
a job takes too long. Jobs go to it as pickles, from us to our own child; what it answers is decoded by the codec,
because what it has read comes from elsewhere. It ends by itself when its input is closed.
"""

from __future__ import annotations

import logging
import os
import pickle
import resource
import select
import struct
import subprocess
import sys
import threading
import time
from typing import IO, Final

from libecs.errors import DecodeError
from libecs.io.expander import ExpansionJob, ExpansionResult, Templates, run_job
from libecs.wire.codec import pack_value, unpack_value

logger = logging.getLogger(__name__)

LIMIT_S: Final = 120.0
"""Seconds that one job may take. The largest workflow that is allowed needs half of it on a slow machine."""
START_S: Final = 60.0
"""Seconds until a process must have taken its first job. On an idle machine it takes half a second."""
MEMORY_BYTES: Final = 4 << 30
"""Address space of the process."""
_LENGTH: Final = struct.Struct(">Q")
_TAKEN: Final = b"+"
"""First answer to a job: it has been read. A process that ends before that is not the job's fault."""
_NICE: Final = 5
"""The engines come first."""
_CHUNK: Final = 1 << 20
_CODE: Final = "from libecs.io.worker import main; main()"


class ExpansionWorker:
    """Runs jobs one after the other. Its methods block and may be called by any thread, `close` also meanwhile."""

    def __init__(
        self,
        *,
        limit_s: float = LIMIT_S,
        start_s: float = START_S,
        memory_bytes: int = MEMORY_BYTES,
        may_do_without: bool = True,
    ) -> None:
        """No process runs yet. may_do_without: where no process can be started, jobs run in the thread that asks."""
        self._limit_s = limit_s
        self._start_s = start_s
        self._memory_bytes = memory_bytes
        self._may_do_without = may_do_without
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._turn = threading.Lock()
        """Held by the job that runs."""
        self._change = threading.Lock()
        """Held while the process is started or ended."""

    @property
    def pid(self) -> int | None:
        """Process id, None if no process runs."""
        process = self._process
        return process.pid if process is not None else None

    def start(self) -> None:
        """Start the process, if it does not run. Does not wait until it is ready; what is wrong the next job tells."""
        with self._change:
            if self._closed or (self._process is not None and self._process.poll() is None):
                return
            self._end()
            path = os.pathsep.join(entry for entry in sys.path if entry)
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _CODE, str(self._memory_bytes)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": path},
                    start_new_session=True,  # Ctrl-C is for the script, which closes us
                )
            except OSError as error:
                logger.warning("no process for expansion: %s", error)

    def run(self, templates: Templates, job: ExpansionJob) -> ExpansionResult:
        """Run one job. Raises nothing: errors are results."""
        request = pickle.dumps((templates, job))
        with self._turn:
            for _ in range(2):  # the process may have been ended while it had nothing to do
                self.start()
                process = self._process
                if self._closed or process is None:
                    break
                try:
                    if self._told(process, request):
                        return self._answer(process, job)
                except TimeoutError:
                    self.kill()
                    return _failed(job, f"no process for expansion is ready within {self._start_s:g} s", "try again")
                self.kill()
        if self._closed:
            return _failed(job, "the control system is closed")
        if not self._may_do_without:
            return _failed(job, "no process for expansion can be started", "look at the log of the core")
        logger.warning("%s is expanded in a thread: no process can be started", job.workflow)
        return run_job(templates, job)

    def kill(self) -> None:
        """End the process; the next job starts another one."""
        with self._change:
            self._end()

    def close(self) -> None:
        """End the process for good. Harmless when repeated."""
        self._closed = True
        self.kill()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                _close(pipe)

    def _told(self, process: subprocess.Popen[bytes], request: bytes) -> bool:
        """Return whether the process has taken a job: False if it has ended. Raises TimeoutError."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(_LENGTH.pack(len(request)) + request)
            process.stdin.flush()
            return _receive(process.stdout, len(_TAKEN), time.monotonic() + self._start_s) == _TAKEN
        except TimeoutError:
            raise
        except (OSError, ValueError, EOFError):
            return False

    def _answer(self, process: subprocess.Popen[bytes], job: ExpansionJob) -> ExpansionResult:
        assert process.stdout is not None
        deadline = time.monotonic() + self._limit_s
        try:
            header = _receive(process.stdout, _LENGTH.size, deadline)
            body = _receive(process.stdout, _LENGTH.unpack(header)[0], deadline)
            return unpack_value(ExpansionResult, bytes(body))
        except TimeoutError:
            self.kill()
            return _failed(
                job, f"expansion took more than {self._limit_s:g} s and was ended", "make the workflow smaller"
            )
        except (EOFError, OSError, ValueError):
            code = process.poll()
            self.kill()
            if self._closed:
                return _failed(job, "the control system was closed meanwhile")
            return _failed(job, f"the process that expanded it ended{'' if code is None else f' with {code}'}")
        except DecodeError as error:
            self.kill()
            return _failed(job, f"the process that expanded it answered nonsense: {error}")


def _receive(pipe: IO[bytes], size: int, deadline: float) -> bytearray:
    """Return exactly `size` bytes. Raises TimeoutError, EOFError."""
    data = bytearray()
    waiting = select.poll()
    waiting.register(pipe.fileno(), select.POLLIN)
    while len(data) < size:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not waiting.poll(left_s * 1000):
            raise TimeoutError
        part = os.read(pipe.fileno(), min(size - len(data), _CHUNK))
        if not part:
            raise EOFError
        data += part
    return data


def _failed(job: ExpansionJob, reason: str, hint: str = "") -> ExpansionResult:
    return ExpansionResult(code="E_FAILED", message=f"{job.workflow}: {reason}" + (f"\n  next: {hint}" if hint else ""))


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:  # what was not yet written has no reader any more
        return


def main() -> None:
    """Be the process: read jobs from the standard input, write results to the standard output."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whoever prints does not disturb the answers
    os.nice(_NICE)
    memory_bytes = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
    while len(header := requests.read(_LENGTH.size)) == _LENGTH.size:
        templates, job = pickle.loads(requests.read(_LENGTH.unpack(header)[0]))
        answers.write(_TAKEN)
        answers.flush()
        answer = _packed(run_job(templates, job), job)
        answers.write(_LENGTH.pack(len(answer)) + answer)
        answers.flush()


def _packed(result: ExpansionResult, job: ExpansionJob) -> bytes:
    try:
        return pack_value(result)
    except (DecodeError, MemoryError) as error:
        return pack_value(_failed(job, f"the workflow is too large: {error}"))
