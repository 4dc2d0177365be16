from collections.abc import Iterable, Mapping
from typing import Final, Protocol, final

from occ._table import TaskState

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

@final
class EndOfStream: ...

END_OF_STREAM: Final[EndOfStream]
"""What `Task.iterate_running` returns when there is nothing more in this run."""

class Task:
    """A task: override what it does, and call `run()`.

    All methods run in the thread that called `run()`. An exception takes the task to ERROR; its type and text go to
    the controller, its traceback to stderr.
    """

    def configure(self, properties: Mapping[str, str]) -> None:
        """Get ready, by what CONFIGURE says."""

    def reset(self) -> None:
        """Undo `configure`. Afterwards there are no properties."""

    def recover(self) -> None:
        """From ERROR: make STANDBY possible again."""

    def start(self, run: int) -> None:
        """Begin a run."""

    def stop(self) -> None:
        """End the run."""

    def pause(self) -> None:
        """Interrupt the run."""

    def resume(self) -> None:
        """Go on with the run."""

    def exit(self) -> None:
        """Get ready to end; called before DONE."""

    def reconfigure(self, changed: Mapping[str, str]) -> None:
        """Take new values of some properties, in CONFIGURED; `properties` has them and all others.

        A task that does not override this can't take them without RESET: the order is refused.
        """

    def iterate_running(self) -> bool | EndOfStream | None:
        """Do a piece of work; called again and again in RUNNING.

        Returns:
            None or True to be called again at once; False if there was nothing to do (then 10 ms pass, or until a
            command comes); END_OF_STREAM if there is nothing more in this run (told once; not called again in it).
        """

    def iterate_check(self) -> None:
        """Raise if something is wrong; called every 100 ms in all states but ERROR."""

    @property
    def properties(self) -> Mapping[str, str]:
        """The arguments of CONFIGURE; on top of them those of START, and of STOP, until the next START or RECONFIGURE.

        RECONFIGURE changes what CONFIGURE said.
        """

    @property
    def state(self) -> TaskState:
        """The state; UNKNOWN before and after `run()`."""

    @property
    def run_number(self) -> int:
        """The run that the task was last started for; 0 if none."""

    @property
    def endpoint(self) -> str:
        """Where the controller connects to; empty before and after `run()`."""

    @property
    def pending(self) -> bool:
        """Whether a command or a signal waits: `iterate_running` should return soon."""

    def metric(self, name: str, value: float, unit: str = "") -> bool:
        """Tell one sample; may be called from any thread, often. Tell increments, not totals: `metric("events", 25)`.

        Samples are gathered and sent ten times a second, and before the state changes at the end of a run.

        Returns:
            False if the sample was not taken: it is not finite, the task tells 64 metrics already, or does not run.

        Raises:
            ValueError: name or unit is too long (63 bytes), or the name is empty.
            TypeError: the value is no number.
        """

    def log(self, text: str, severity: str = "INFO") -> None:
        """Tell a line (each, of a text of several); may be called from any thread. Outside `run()` it goes nowhere.

        Raises:
            ValueError: severity is none of DEBUG, INFO, WARNING, ERROR, FATAL.
        """

    def fileno(self) -> int:
        """Return a descriptor that is readable while a command waits, for pollers; never read it.

        Raises:
            RuntimeError: outside `run()`.
        """

    def wait(self, timeout_s: float | None = None, fds: Iterable[int | _HasFileno] = ()) -> bool:
        """Wait for a command, for one of `fds` to be readable, or for `timeout_s`; return whether a command waits.

        Raises:
            RuntimeError: outside `run()`.
            ValueError: more than 63 descriptors.
        """

    def terminate(self) -> None:
        """Let `run()` walk STOP, RESET, EXIT and return; may be called from any thread."""

    def run(self, endpoint: str | None = None) -> None:
        """Bind the endpoint and do what the controller orders until the task is DONE.

        Without `endpoint` it is $OCC_CONTROL_ENDPOINT, else port $OCC_CONTROL_PORT of 127.0.0.1. SIGTERM and the
        first Ctrl-C walk STOP, RESET, EXIT; a second Ctrl-C ends the process.

        Raises:
            ValueError: no usable endpoint is given.
            OSError: it cannot be bound.
            RuntimeError: the task runs already.
        """
