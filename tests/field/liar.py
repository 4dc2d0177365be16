"""A task that lies, for tests: it speaks the task link by itself.

python liar.py answer FILE      CONFIGURE is said to be done, and the state stays STANDBY
python liar.py jump FILE        in RUNNING it says that it is in STANDBY, where nobody told it to go
python liar.py strange FILE     in RUNNING it says that it is in a state that does not exist

The lies of RUNNING are told once FILE is there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import zmq

from libecs.fsm import TaskEvent, TaskState
from libecs.wire.codec import VERSION_FRAME
from libecs.wire.task import TASK, Hello, Machine, Ping, Pong, Result, StateChanged, Transition, Welcome

AFTER = {
    TaskEvent.CONFIGURE: TaskState.CONFIGURED,
    TaskEvent.RESET: TaskState.STANDBY,
    TaskEvent.START: TaskState.RUNNING,
    TaskEvent.STOP: TaskState.CONFIGURED,
    TaskEvent.EXIT: TaskState.DONE,
}


def main(lie: str, now: Path) -> None:
    router = zmq.Context().socket(zmq.ROUTER)
    router.bind(os.environ["OCC_CONTROL_ENDPOINT"])
    state, sequence = TaskState.STANDBY, 1
    peer = b""

    def say(message: object) -> None:
        router.send_multipart([peer, VERSION_FRAME, TASK.encode(message)])

    while state is not TaskState.DONE:
        if state is TaskState.RUNNING and lie != "answer" and now.exists():
            sequence += 1
            state = TaskState.STANDBY if lie == "jump" else state
            say(StateChanged(state=99 if lie == "strange" else state, sequence=sequence))
            lie = "answer"  # once
        if not router.poll(50):
            continue
        peer, _, payload = router.recv_multipart()
        message = TASK.decode(payload)
        if isinstance(message, Hello):
            marker = os.environ["ECS_TASK_ID"]
            say(Welcome(version=1, machine=Machine.OCC, state=state, sequence=sequence, pid=os.getpid(), task=marker))
        elif isinstance(message, Ping):
            say(Pong(number=message.number, state=state, sequence=sequence))
        elif isinstance(message, Transition):
            if not (lie == "answer" and message.event == TaskEvent.CONFIGURE):
                state = AFTER.get(TaskEvent(message.event), state)
            sequence += 1
            say(Result(id=message.id, ok=True, state=state, event=message.event, sequence=sequence))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
