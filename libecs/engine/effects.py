"""The contract between an engine, which decides, and the world, which performs.

An engine is a plain object with `handle(input, now) -> list[Effect]` and `next_deadline`. It reads no clock, opens
nothing, waits for nothing and has no entropy: the same inputs give the same effects, in a daemon, in a script and in
the simulator.

The one who drives an engine (`libecs.io.loop`, `libecs.sim`) keeps these rules:

1.  One tick: take all inputs that wait, `handle` each, then write the lines of all `Audit` effects, then ONE commit of
    all `Persist` and `Journal` effects of the tick, then perform all others, in order. An effect that produces an input
    enqueues it; `handle` is never entered twice.
2.  A commit that fails drops all other effects of the tick, and the process ends with exit code 75; the next life
    recovers from the records.
3.  `next_deadline` (monotonic seconds) is the only timer: when it has passed, the engine gets `Tick`.
4.  `Continue` brings `Resume` after the inputs that wait already: that is how an engine cuts a long fan-out, and
    how it gathers the changes of one tick in one message.
5.  Links may lose, repeat, delay and reorder messages; they never change one.

And the engine keeps these:

6.  What must be true after `kill -9` is a record (`Persist`) before it is an effect. Recovery loads records; it never
    re-runs `handle`.
7.  One `handle` takes at most 20 ms.
8.  If `now` jumped more than a second past an overdue deadline, it was our own pause: the ages of all peers restart.
9.  A call begun and not finished at a crash has an unknown outcome: it is repeated only if it says that it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import attrs

from libecs.access import OWNER, Principal

if TYPE_CHECKING:  # an executor that starts has no use for the messages of clients
    from libecs.engine.placement import NodeOffer
    from libecs.wire.client import Consult, ShowEvents, Work
    from libecs.wire.info import Event, RunInfo
    from libecs.wire.node import Exit, Phase, TaskSpec
    from libecs.wire.telemetry import LogLine
    from libecs.workflow.role import Workflow


@attrs.frozen
class Now:
    """One reading of both clocks, taken once per tick."""

    mono_s: float
    """Monotonic seconds: for intervals and deadlines."""
    unix_ms: int
    """Wall clock, milliseconds: for records and people."""


# inputs of every engine


@attrs.frozen
class Received:
    """A message of a peer. `peer` is the link's name for it: node name, task id, client id."""

    peer: str
    message: object
    principal: Principal = OWNER
    """Whose key the link has seen. It is checked again for each message: a key that was revoked brings none."""


@attrs.frozen
class Connected:
    """A link is up. For an executor's link to its core, and to a task."""

    peer: str


@attrs.frozen
class Disconnected:
    """A link is down. Nothing sent before is known to have arrived."""

    peer: str
    reason: str = ""


@attrs.frozen
class Tick:
    """`next_deadline` has passed."""


@attrs.frozen
class Resume:
    """The answer to Continue."""


# inputs of the core


@attrs.frozen(kw_only=True)
class Expanded:
    """The answer to Expand: a workflow, or the error that stopped it."""

    job: str
    workflow: Workflow | None = None
    code: str = ""
    message: str = ""


@attrs.frozen(kw_only=True)
class CallDone:
    """The answer to Call. `sets` are variables that the integration sets on the root role."""

    call: str
    ok: bool
    value: str = ""
    error: str = ""
    sets: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class RunNumberTaken:
    """The answer to TakeRunNumber; `number` 0 with an error."""

    key: str
    number: int
    error: str = ""


@attrs.frozen(kw_only=True)
class WorkDone:
    """The answer to DoWork: `code` "" and a JSON object in `message`, or the code and sentence of an error."""

    operation: str
    code: str = ""
    message: str = ""
    hint: str = ""


@attrs.frozen(kw_only=True)
class Room:
    """Whether the disk has room for new work. Without, only what ends something is accepted."""

    ok: bool
    text: str = ""
    """Why not, for who asks."""


@attrs.frozen(kw_only=True)
class Facts:
    """What the host says of itself, for CoreInfo; it replaces what was said before."""

    facts: Mapping[str, str]
    problems: tuple[str, ...] = ()
    """Sentences."""


# inputs of the executor


@attrs.frozen(kw_only=True)
class OutputTail:
    """The answer to ReadTail."""

    id: str
    task: str
    text: str = ""
    truncated: bool = False
    error: str = ""


@attrs.frozen(kw_only=True)
class ProcessStarted:
    """The answer to Spawn: the task has a pid."""

    task: str
    pid: int


@attrs.frozen(kw_only=True)
class ProcessEnded:
    """A process is gone."""

    task: str
    exit: Exit
    last_log: str = ""
    output: str = ""
    """Head of the standard output of a hook or basic task, at most 64 KiB."""


@attrs.frozen(kw_only=True)
class Output:
    """Whole lines that a task's process wrote since the last Output. They are telemetry: some may be missing."""

    task: str
    lines: tuple[LogLine, ...]
    dropped: int = 0
    """Lines that were passed over since the last Output, because there were too many."""


@attrs.frozen(kw_only=True)
class Survivor:
    """A task that was found when the executor started."""

    spec: TaskSpec
    phase: Phase
    pid: int = 0
    exit: Exit | None = None
    last_log: str = ""


@attrs.frozen(kw_only=True)
class Adopt:
    """First input of an executor: what its predecessor left."""

    survivors: tuple[Survivor, ...] = ()


# effects of every engine


@attrs.frozen
class Persist:
    """Write (or with None delete) one record. The last one of a tick for a key counts."""

    table: str
    key: str
    value: bytes | None


@attrs.frozen
class Journal:
    """Append one event; with the records, in the same commit."""

    event: Event


@attrs.frozen(kw_only=True)
class Audit:
    """Write a line to the audit log, before the commit of this tick: nothing is done without its line."""

    verb: str
    """As in `libecs.access.VERBS`."""
    principal: Principal
    requester: str
    object: str = ""
    """Environment, detectors, node or run."""
    operation: str = ""
    decision: str = "accepted"
    """`accepted`, `denied`, `refused` (it can't be done now), or, at its end, `done` or `failed`."""
    text: str = ""
    """Why, or the arguments; never a secret."""


@attrs.frozen
class Send:
    """Send a message to a peer, if its link is up; else it is lost."""

    peer: str
    message: object


@attrs.frozen
class Continue:
    """Bring Resume."""


# effects of the core


@attrs.frozen
class Publish:
    """Tell all subscribers."""

    events: tuple[Event, ...]


@attrs.frozen(kw_only=True)
class Expand:
    """Load and expand a workflow, in another process or thread. Answered by Expanded."""

    job: str
    environment: str
    workflow: str
    variables: Mapping[str, str]
    files: Mapping[str, str] = attrs.field(factory=dict)
    """What the client brought along: then `workflow` is a name in it."""


@attrs.frozen(kw_only=True)
class Call:
    """Call an integration: `function` is `name.Method`. Answered by CallDone within `timeout_s`, or later."""

    call: str
    function: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    """All variables that the call role sees, and environment_id, __call_*."""
    timeout_s: float
    environment: str
    role: str
    moment: str
    await_moment: str
    run_number: int


@attrs.frozen
class CancelCall:
    """Nobody waits for this call any more."""

    call: str


@attrs.frozen(kw_only=True)
class RecallEvents:
    """Send EventPage to a peer, out of the journal, as `question` asks. What this tick journals is in it."""

    peer: str
    question: ShowEvents


@attrs.frozen(kw_only=True)
class Replay:
    """Send a subscriber the events of the journal from number `since` on, in Events, until he has all that are there.

    Meanwhile he gets no others: what is published is in the journal. No event comes twice, none is left out.
    """

    peer: str
    since: int


@attrs.frozen(kw_only=True)
class LookUp:
    """Send Document to a peer, as `question` asks. `offers`: the nodes as placement sees them now."""

    peer: str
    question: Consult
    offers: tuple[NodeOffer, ...] = ()
    masked: bool = False
    """Who asks is not told the values of secrets."""


@attrs.frozen(kw_only=True)
class DoWork:
    """Do what `work` asks for, for `requester`. Answered by WorkDone; after a restart an unfinished one has failed."""

    work: Work
    requester: str


@attrs.frozen
class SaveRun:
    """A run has ended: write its record where people look for it, as `run.json` in `run.folder`. Not answered."""

    run: RunInfo


@attrs.frozen
class TakeRunNumber:
    """Take the next run number, durably; the same key gets the same number again. Answered by RunNumberTaken."""

    key: str


# effects of the executor


@attrs.frozen(kw_only=True)
class Spawn:
    """Start a task's process under a shim. Answered by ProcessStarted or ProcessEnded."""

    spec: TaskSpec
    endpoint: str
    """Control endpoint to hand to it, "" for none."""


@attrs.frozen(kw_only=True)
class Signal:
    """Send a signal to a task's process group."""

    task: str
    number: int


@attrs.frozen(kw_only=True)
class Open:
    """Connect to a task's control endpoint; goes on trying until Close."""

    task: str
    endpoint: str


@attrs.frozen(kw_only=True)
class Close:
    """Disconnect from a task's control endpoint."""

    task: str


@attrs.frozen
class MakeFolder:
    """Make a folder that the tasks of a run write to, with its parents, before the effects that follow. If it can't be
    made, tasks find out: that is their error, and the executor's log says why.
    """

    path: str


@attrs.frozen(kw_only=True)
class ReadTail:
    """Read the end of a task's output. Answered by OutputTail."""

    id: str
    task: str
    stream: str
    bytes: int


@attrs.frozen(kw_only=True)
class Forget:
    """Remove what is kept on disk for a task that has ended."""

    task: str


Input = (
    Received
    | Connected
    | Disconnected
    | Tick
    | Resume
    | Expanded
    | CallDone
    | RunNumberTaken
    | ProcessStarted
    | ProcessEnded
    | Output
    | Adopt
    | WorkDone
    | OutputTail
    | Room
    | Facts
)
Effect = (
    Persist
    | Journal
    | Send
    | Continue
    | Publish
    | Expand
    | Call
    | CancelCall
    | TakeRunNumber
    | SaveRun
    | Spawn
    | Signal
    | Open
    | Close
    | MakeFolder
    | Forget
    | Audit
    | RecallEvents
    | Replay
    | LookUp
    | DoWork
    | ReadTail
)


class Engine(Protocol):
    """What a loop drives."""

    @property
    def next_deadline(self) -> float | None:
        """Monotonic seconds at which Tick is due; None = no timer."""

    def handle(self, input: Input, now: Now) -> list[Effect]:
        """Take one input, return what is to be done about it."""
