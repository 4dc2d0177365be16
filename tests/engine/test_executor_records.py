"""Records of its last life that an executor can't read: it starts all the same, and finds the tasks."""

from __future__ import annotations

import attrs
import pytest

from libecs.engine.effects import Open, Spawn, Survivor
from libecs.engine.executor import ASIDE_TABLE
from libecs.engine.held import HeldRecord
from libecs.fsm import Mode, TaskState
from libecs.wire import node
from libecs.wire.codec import pack_value
from libecs.wire.node import Exit, ExitCause, Phase
from tests.engine.rig import Rig, spec

BROKEN = b"\xc1 this is no record"


def survivor(mode: Mode, exit: Exit | None = None) -> Survivor:
    phase = Phase.ACTIVE if exit is None else Phase.EXITED
    return Survivor(spec=spec(mode), phase=phase, pid=0 if exit else 77, exit=exit)


def held(rig: Rig) -> node.TaskStatus:
    """Return what the core hears of the task, after a look at what was done to it: nothing."""
    assert not [effect for effect in rig.out if isinstance(effect, (Spawn, Open))]
    return rig.took(node.Announce)[-1].tasks[0].status


def records(value: bytes, table: str = "task", key: str = "t") -> dict[str, dict[str, bytes]]:
    state = {"epoch": b"2", "life": b"3"}
    return {"node": state, table: {**(state if table == "node" else {}), key: value}}


@pytest.mark.parametrize(
    "value",
    [
        BROKEN,
        b"",
        pack_value(HeldRecord(spec=attrs.evolve(spec(Mode.BASIC), task="other"), state=TaskState.RUNNING)),
        pack_value(HeldRecord(spec=spec(Mode.BASIC), state=TaskState.RUNNING, going="c1", going_event=99)),
    ],
)
def test_a_record_that_cannot_be_read_is_put_aside_and_its_task_found_by_its_process(value: bytes) -> None:
    rig = Rig(records(value), survivors=(survivor(Mode.BASIC),))

    assert rig.engine.damaged.keys() == {"task/t"}
    assert rig.records[ASIDE_TABLE] == {"task/t": value}
    status = held(rig)
    assert (status.state, status.phase, status.pid) == (TaskState.RUNNING, Phase.ACTIVE, 77)


def test_a_program_without_a_record_that_has_ended_is_in_error() -> None:
    rig = Rig(records(BROKEN), survivors=(survivor(Mode.BASIC, Exit(cause=ExitCause.EXITED, code=3)),))

    status = held(rig)
    assert (status.state, status.phase) == (TaskState.ERROR, Phase.EXITED)


def test_a_hook_without_a_record_is_not_run_again() -> None:
    rig = Rig(records(BROKEN), survivors=(survivor(Mode.HOOK),))

    status = held(rig)
    assert (status.phase, status.pid) == (Phase.ACTIVE, 77)


def test_numbers_that_are_none_are_put_aside() -> None:
    rig = Rig(records(b"seven", "node", "epoch"))

    assert rig.engine.damaged == {"node/epoch": "it is no number"}
    assert rig.records["node"]["epoch"] == b"5"
    assert rig.records[ASIDE_TABLE] == {"node/epoch": b"seven"}
