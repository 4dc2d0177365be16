"""A task of a few lines for tests of the links: the OCC state machine on a ROUTER.

Usage: occ_task.py [crash]. It prints its states, and ends on EXIT. With `crash` it dies on START, with a last word
on stderr.
"""

from __future__ import annotations

import os
import sys

import zmq

from libecs.fsm import TASK as TABLE
from libecs.fsm import TaskEvent, TaskState
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.task import (
    TASK,
    Hello,
    Log,
    Machine,
    Metric,
    PeerRole,
    Ping,
    Pong,
    Refusal,
    Refused,
    Result,
    StateChanged,
    Transition,
    Welcome,
)
from libecs.wire.telemetry import Severity


def main() -> None:
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 1000)
    router.bind(os.environ["OCC_CONTROL_ENDPOINT"])
    state, sequence, run, answers = TaskState.STANDBY, 1, 0, dict[str, Result]()
    holder: Hello | None = None
    print(f"state {state.name}", flush=True)
    while state is not TaskState.DONE:
        peer, _, payload = router.recv_multipart()

        def say(message: object, peer: bytes = peer) -> None:
            router.send_multipart([peer, VERSION_FRAME, TASK.encode(message)])

        message = TASK.decode(payload)
        if isinstance(message, Hello):
            others = holder if holder is not None and holder.name != message.name else None
            if message.role is PeerRole.OBSERVER:
                holder = others
            elif others is not None and message.epoch <= others.epoch:
                reason = Refusal.STALE if message.epoch < others.epoch else Refusal.CONFLICT
                say(Refused(reason=reason, holder=others.name, epoch=others.epoch))
                continue
            else:
                holder = message
            marker = os.environ.get("ECS_TASK_ID", "")
            machine, pid = Machine.OCC, os.getpid()
            say(Welcome(version=1, machine=machine, state=state, sequence=sequence, pid=pid, task=marker, run=run))
        elif isinstance(message, Ping):
            say(Pong(number=message.number, state=state, sequence=sequence))
        elif isinstance(message, Transition):
            if message.id not in answers:
                event = TaskEvent(message.event)
                if event is TaskEvent.START and "crash" in sys.argv:
                    print("the detector is on fire", file=sys.stderr, flush=True)
                    sys.exit(3)
                if event is TaskEvent.START:
                    run = int(message.arguments.get("run_number", "0"))
                if event is TaskEvent.STOP:
                    say(Metric(name="events", unit="", n=2, sum=5, min=1, max=4, last=4, unix_ms=1))
                    say(Log(severity=Severity.INFO, text="stopping", unix_ms=1))
                ok = message.source == state and event in TABLE[state]
                if ok:
                    state, sequence = TABLE[state][event], sequence + 1
                    print(f"state {state.name}", flush=True)
                    say(StateChanged(state=state, sequence=sequence))
                answers[message.id] = Result(id=message.id, ok=ok, state=state, event=event, sequence=sequence)
            say(answers[message.id])
    router.close()
    context.term()


main()
