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
from libecs.wire.task import TASK, Hello, Machine, Ping, Pong, Result, StateChanged, Transition, Welcome


def main() -> None:
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 1000)
    router.bind(os.environ["OCC_CONTROL_ENDPOINT"])
    state, sequence, run, answers = TaskState.STANDBY, 1, 0, dict[str, Result]()
    print(f"state {state.name}", flush=True)
    while state is not TaskState.DONE:
        peer, _, payload = router.recv_multipart()

        def say(message: object, peer: bytes = peer) -> None:
            router.send_multipart([peer, VERSION_FRAME, TASK.encode(message)])

        message = TASK.decode(payload)
        if isinstance(message, Hello):
            marker = os.environ["ECS_TASK_ID"]
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
