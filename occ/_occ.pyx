# cython: language_level=3
"""The base class of tasks written in Python, over libocc."""

import os
import signal
import sys
import threading
import traceback
from types import MappingProxyType

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno
from libc.stdint cimport uint32_t

from occ._occ cimport *
from occ._table import Severity, TaskState


class EndOfStream:
    """The type of END_OF_STREAM."""

    def __repr__(self):
        return "END_OF_STREAM"


END_OF_STREAM = EndOfStream()

cdef enum:
    IDLE_MS = 10
    MAX_FDS = 63


cdef class Task:
    """A task: override what it does, and call `run()`.

    All methods below run in the thread that called `run()`. An exception takes the task to ERROR; its type and text go
    to the controller, its traceback to stderr.
    """

    cdef occ_t* _occ
    cdef object _properties
    cdef object _escaped

    def __cinit__(self, *args, **kwargs):
        self._occ = NULL
        self._properties = MappingProxyType({})

    # --- what a subclass overrides

    def configure(self, properties):
        """Get ready, by what CONFIGURE says."""

    def reset(self):
        """Undo `configure`."""

    def recover(self):
        """From ERROR: make STANDBY possible again."""

    def start(self, run):
        """Begin a run."""

    def stop(self):
        """End the run."""

    def pause(self):
        """Interrupt the run."""

    def resume(self):
        """Go on with the run."""

    def exit(self):
        """Get ready to end."""

    def reconfigure(self, changed):
        """Take new values of some properties, in CONFIGURED."""

    def iterate_running(self):
        """Do a piece of work; called again and again in RUNNING."""

    def iterate_check(self):
        """See whether all is well; called every 100 ms."""

    # --- what it can use

    @property
    def properties(self):
        """What CONFIGURE said, and START and STOP on top of it."""
        return self._properties

    @property
    def state(self):
        """The state; UNKNOWN before and after `run()`."""
        return TaskState.UNKNOWN if self._occ is NULL else TaskState(occ_current_state(self._occ))

    @property
    def run_number(self):
        """The run that the task was last started for; 0 if none."""
        return 0 if self._occ is NULL else occ_run_number(self._occ)

    @property
    def endpoint(self):
        """Where the controller connects to."""
        return "" if self._occ is NULL else occ_endpoint(self._occ).decode()

    @property
    def pending(self):
        """Whether a command waits: `iterate_running` should return soon."""
        return self._occ is not NULL and occ_pending(self._occ) != 0

    def metric(self, name, value, unit=""):
        """Tell one sample; return whether it was taken."""
        encoded_name = name.encode()
        encoded_unit = unit.encode()
        cdef double number = value
        cdef int error
        if self._occ is NULL:
            return False
        if b"\0" in encoded_name + encoded_unit:
            raise ValueError("names and units of metrics hold no NUL")
        error = occ_metric(self._occ, encoded_name, encoded_unit, number)
        if error == OCC_E_ARGUMENT:
            raise ValueError(f"metric {name!r:.80} in {unit!r:.80}: both have at most 63 bytes, a name at least one")
        return error == 0

    def log(self, text, severity="INFO"):
        """Tell a line."""
        try:
            level = Severity[severity]
        except KeyError:
            raise ValueError(f"severity {severity!r}: one of {', '.join(Severity.__members__)} is expected") from None
        encoded = text.encode(errors="replace").replace(b"\0", b"?")
        if self._occ is not NULL:
            occ_log(self._occ, <occ_severity><int>level, "%s", <const char*>encoded)

    def fileno(self):
        """Return a descriptor that is readable while a command waits, for pollers; never read it."""
        self._require()
        return occ_wake_fd(self._occ)

    def wait(self, timeout_s=None, fds=()):
        """Wait for a command, for one of `fds` to be readable, or for `timeout_s`; return whether a command waits."""
        cdef pollfd items[MAX_FDS]
        cdef size_t count = 0
        cdef int timeout_ms = -1 if timeout_s is None else max(0, int(timeout_s * 1000 + 0.999))
        cdef int pending
        self._require()
        for fd in fds:
            if count == MAX_FDS:
                raise ValueError(f"at most {MAX_FDS} descriptors can be waited for")
            items[count].fd = fd if isinstance(fd, int) else fd.fileno()
            items[count].events = POLLIN
            count += 1
        with nogil:
            pending = occ_wait(self._occ, items, count, timeout_ms)
        return pending != 0

    def terminate(self):
        """Let `run()` walk STOP, RESET, EXIT and return; may be called from any thread."""
        if self._occ is not NULL:
            occ_terminate(self._occ)

    def run(self, endpoint=None):
        """Bind the endpoint and do what the controller orders until the task is DONE.

        Raises:
            ValueError: no usable endpoint is given.
            OSError: it cannot be bound.
        """
        cdef occ_callbacks callbacks
        cdef const char* where = NULL
        cdef occ_t* occ
        cdef int status
        cls = type(self)
        if self._occ is not NULL:
            raise RuntimeError("the task runs already")
        callbacks.configure = on_configure
        callbacks.reset = on_reset
        callbacks.recover = on_recover
        callbacks.start = on_start
        callbacks.stop = on_stop
        callbacks.pause = on_pause
        callbacks.resume = on_resume
        callbacks.exit = on_exit
        # Without a way to take new values the order is refused, not ignored.
        callbacks.reconfigure = NULL
        if cls.reconfigure is not Task.reconfigure:
            callbacks.reconfigure = on_reconfigure
        # Without work there is no turning: libocc then waits.
        callbacks.iterate_running = NULL
        callbacks.iterate_check = NULL
        if cls.iterate_running is not Task.iterate_running:
            callbacks.iterate_running = on_iterate_running
        if cls.iterate_check is not Task.iterate_check:
            callbacks.iterate_check = on_iterate_check
        callbacks.interrupted = on_interrupted
        encoded = None if endpoint is None else endpoint.encode()
        if encoded is not None:
            where = encoded
        status = occ_create_at(&self._occ, &callbacks, <void*>self, where)
        if status == OCC_E_ENDPOINT:
            raise ValueError(f"{occ_error_text(status).decode()} ({endpoint!r})" if endpoint else
                             occ_error_text(status).decode())
        if status != 0:
            number = errno
            shown = endpoint or os.environ.get("OCC_CONTROL_ENDPOINT") or os.environ.get("OCC_CONTROL_PORT")
            raise OSError(number, f"{occ_error_text(status).decode()}: {os.strerror(number)}", shown)
        self._escaped = None
        restore = self._leave_interrupts()
        try:
            with nogil:
                status = occ_run(self._occ)
        finally:
            occ, self._occ = self._occ, NULL  # from now on other threads tell nothing
            with nogil:
                occ_destroy(occ)
            if restore is not None:
                signal.signal(signal.SIGINT, restore)
        if self._escaped is not None:
            raise self._escaped
        if status != 0:
            raise OSError(errno, os.strerror(errno))

    # --- inside

    def _require(self):
        if self._occ is NULL:
            raise RuntimeError("the task does not run")

    def _leave_interrupts(self):
        """Leave Ctrl-C to libocc, unless the program has its own way; return what to restore.

        Python's own handler only sets a flag: between two looks at it, a wait could begin that nobody interrupts.
        """
        if threading.current_thread() is not threading.main_thread():
            return None
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            return None
        return signal.signal(signal.SIGINT, signal.SIG_DFL)

    cdef read_properties(self):
        cdef size_t cursor = 0
        cdef const char* key
        cdef const char* value
        properties = {}
        while occ_property_next(self._occ, &cursor, &key, &value) == 0:
            properties[key.decode()] = value.decode()
        self._properties = MappingProxyType(properties)

    cdef int failed(self, error) noexcept:
        """Turn an exception of a callback into an error of the task; returns what the callback returns."""
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self._escaped = error  # the program is to end: walk down, then let it through
            occ_terminate(self._occ)
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        try:
            traceback.print_exception(error)
            sys.stderr.flush()
        except Exception:
            pass  # a lost stderr does not change what is told
        encoded = text.encode(errors="replace").replace(b"\0", b"?")
        return occ_fail(self._occ, "%s", <const char*>encoded)


cdef int on_configure(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.read_properties()
        task.configure(task._properties)
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_start(occ_t* occ, void* user, uint32_t run) noexcept with gil:
    task = <Task>user
    try:
        task.read_properties()
        task.start(run)
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_stop(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.read_properties()
        task.stop()
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_reset(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.reset()
        task._properties = MappingProxyType({})
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_recover(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.recover()
        task._properties = MappingProxyType({})
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_pause(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.pause()
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_resume(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.resume()
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_exit(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.exit()
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_reconfigure(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.read_properties()
        changed = {key: value for key, value in task._properties.items() if occ_changed(occ, key.encode()) != 0}
        task.reconfigure(MappingProxyType(changed))
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_iterate_running(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        told = task.iterate_running()
        if told is END_OF_STREAM:
            return OCC_END_OF_STREAM
        if told is False:
            task.wait(IDLE_MS / 1000)
        elif told is not None and told is not True:
            raise TypeError(f"iterate_running returned {told!r}: None, True, False or END_OF_STREAM is expected")
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_iterate_check(occ_t* occ, void* user) noexcept with gil:
    task = <Task>user
    try:
        task.iterate_check()
        return 0
    except BaseException as error:
        return task.failed(error)


cdef int on_interrupted(occ_t* occ, void* user) noexcept with gil:
    """A wait was interrupted: let Python run its signal handlers. What they raise ends the task."""
    task = <Task>user
    try:
        PyErr_CheckSignals()
        return 0
    except BaseException as error:
        task._escaped = error
        return 1
