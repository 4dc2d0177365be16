"""Time the codec on the messages of a transition and on records: microseconds to write and to read, CPU time.

    python tools/bench/codec.py        prints {"codec_update_50_us": 30.1, "codec_bare_update_50_us": 24.0, …}

`bare` is msgspec alone on the same content, plain tuples and maps in, lists and maps out: no classes, no checks.
Other ways that were tried are in docs/decisions/0003-codec.md.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

import attrs
import msgspec

from libecs.engine.placement import Placed
from libecs.engine.records import EnvironmentRecord, PlacementRecord
from libecs.fsm import EnvState, Mode, TaskEvent, TaskState
from libecs.wire import client, codec, node, task
from libecs.wire.info import Event
from libecs.workflow.role import Channel, Constraint, Role, RoleKind, TaskClass, TaskTraits, Workflow

REPEATS = 7
PART_S = 0.03
"""CPU seconds of one of the repeats."""
PROPERTIES = {f"property-{n}": f"value {n}" for n in range(8)} | {
    f"chans.{name}.0.{key}": "tcp://node1:10000"
    for name in ("in", "out")
    for key in ("address", "method", "type", "transport", "sndBufSize", "rcvBufSize", "rateLogging")
}
TASKS = tuple(f"bench/1/1t{n}" for n in range(50))
MESSAGES: Mapping[str, tuple[codec.Table, object]] = {
    "transition": (task.TASK, task.Transition(id="e1.1.1", event=1, source=1, arguments=PROPERTIES)),
    "state_changed": (task.TASK, task.StateChanged(state=3, sequence=2)),
    "result": (task.TASK, task.Result(id="e1.1.1", ok=True, state=3, event=1, sequence=2)),
    "transit_50": (
        node.NODE,
        node.Transit(
            session=1, epoch=1, id="e1.1", event=TaskEvent.CONFIGURE, tasks=TASKS, each=tuple(PROPERTIES for _ in TASKS)
        ),
    ),
    "update_50": (
        node.NODE,
        node.Update(
            session=1,
            sequence=7,
            tasks=tuple(
                node.TaskStatus(task=name, phase=node.Phase.ACTIVE, state=TaskState.RUNNING, pid=4711) for name in TASKS
            ),
        ),
    ),
    "answer_50": (
        node.NODE,
        node.Answer(session=1, sequence=7, id="e1.1", state=TaskState.CONFIGURED, done=TASKS),
    ),
    "events_50": (
        client.CLIENT,
        client.Events(
            events=tuple(
                Event(sequence=n, unix_ms=10**12, kind="transition.step", environment="e1", text="hooks", ok=True)
                for n in range(50)
            )
        ),
    ),
}


def workflow(hosts: int, tasks: int) -> Workflow:
    """Return a workflow of `tasks` tasks on each of `hosts` hosts."""
    roles = [Role(name="root", path="root", parent=-1, kind=RoleKind.AGGREGATOR)]
    for n in range(hosts):
        roles.append(Role(name=f"host{n}", path=f"root.host{n}", parent=0, kind=RoleKind.AGGREGATOR))
        parent = len(roles) - 1
        for i in range(tasks):
            roles.append(
                Role(
                    name=f"task{i}",
                    path=f"root.host{n}.task{i}",
                    parent=parent,
                    kind=RoleKind.TASK,
                    vars={"detector": "TST", "it": str(i)},
                    task=TaskTraits(class_name="stage", mode=Mode.DIRECT),
                    constraints=(Constraint(attribute="machine_id", value=f"node{n}"),),
                    bind=(Channel(name="in", type="pull"),),
                    connect=(Channel(name="out", type="push", target=f"root.host{n}.task{i}:in"),),
                )
            )
    stage = TaskClass(name="stage", mode=Mode.DIRECT, command="stage", properties={f"p{n}": "value" for n in range(8)})
    return Workflow(name="bench", roles=tuple(roles), classes={"stage": stage})


RECORDS: Mapping[str, object] = {
    "environment_record": EnvironmentRecord(
        environment="e1",
        name="bench",
        request="bench",
        variables=dict(list(PROPERTIES.items())[:8]),
        requester="bench",
        created_ms=10**12,
        state=EnvState.RUNNING,
        overlay={"root": dict(list(PROPERTIES.items())[:8])},
    ),
    "placement_1000": PlacementRecord(
        placed=tuple(
            Placed(
                role=n,
                task=f"e1t{n}",
                node="node1",
                host="node1",
                endpoints={"in": "tcp://node1:9000"},
                ports=(9000,),
                reason="machine_id = node1",
            )
            for n in range(1000)
        )
    ),
    "workflow_200_hosts": workflow(200, 5),
}


def plain(value: Any) -> Any:
    """Return the content of a value, without its classes."""
    if attrs.has(type(value)):
        return tuple(plain(getattr(value, field.name)) for field in attrs.fields(type(value)))
    if isinstance(value, tuple):
        return tuple(plain(one) for one in value)
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return int(value) if isinstance(value, IntEnum) else value


def microseconds(action: Callable[[], object]) -> float:
    """Return the median CPU time of one `action`."""
    action()
    begin = time.process_time()
    action()
    count = max(1, int(PART_S / max(time.process_time() - begin, 1e-6)))
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        for _ in range(count):
            action()
        times.append((time.process_time() - begin) / count)
    return round(1e6 * statistics.median(times), 2)


def measure() -> dict[str, float]:
    """Return the figures."""
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()
    figures: dict[str, float] = {"codec_is_compiled": float(codec.compiled is not None)}

    def bare(value: object) -> Callable[[], object]:
        content = plain(value)
        return lambda: decoder.decode(encoder.encode(content))

    for name, (table, message) in MESSAGES.items():
        figures[f"codec_{name}_us"] = microseconds(lambda t=table, m=message: t.decode(t.encode(m)))  # type: ignore[misc]
        figures[f"codec_bare_{name}_us"] = microseconds(bare(message))
    for name, record in RECORDS.items():
        cls = type(record)
        figures[f"codec_{name}_us"] = microseconds(
            lambda c=cls, r=record: codec.unpack_value(c, codec.pack_value(r))  # type: ignore[misc]
        )
        figures[f"codec_bare_{name}_us"] = microseconds(bare(record))
    return figures


if __name__ == "__main__":
    print(json.dumps(measure()))
