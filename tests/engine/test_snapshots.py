"""Snapshots that one message can't hold: cut into parts, of which nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pytest

from libecs.engine.snapshots import parts
from libecs.fsm import EnvState, Mode, Status, TaskState
from libecs.wire import client
from libecs.wire.client import CLIENT, Environments
from libecs.wire.codec import MAX_FRAME_BYTES
from libecs.wire.info import EnvironmentInfo, RoleInfo, TaskInfo
from libecs.wire.node import Exit, ExitCause, Phase
from tests.engine.bench import Bench
from tests.engine.flows import task, workflow

ROOM = 2000


def environment(name: str, tasks: int, log: str = "") -> EnvironmentInfo:
    """Return an environment that says all that there is to say."""
    return EnvironmentInfo(
        environment=name,
        name=name,
        workflow="w",
        revision="r",
        state=EnvState.RUNNING,
        failures={"w.t1": "why"},
        variables={"rate": "1"},
        roles=tuple(
            RoleInfo(path=f"w.t{n}", kind="task", state=TaskState.RUNNING, status=Status.ACTIVE, critical=True)
            for n in range(tasks)
        ),
        tasks=tuple(
            TaskInfo(
                task=f"{name}t{n}",
                role=f"w.t{n}",
                class_name="c",
                mode=Mode.DIRECT.name,
                node="n1",
                critical=True,
                phase=Phase.ACTIVE,
                state=TaskState.RUNNING,
                pid=2**31 - 1,
                exit=Exit(cause=ExitCause.SIGNALED, signal=11),
                last_log=log,
            )
            for n in range(tasks)
        ),
    )


def whole(cut: Iterable[tuple[EnvironmentInfo, ...]]) -> list[EnvironmentInfo]:
    found: list[EnvironmentInfo] = []
    for part in cut:
        for number, info in enumerate(part):
            if number == 0 and found and found[-1].environment == info.environment:
                last = found.pop()
                info = attrs.evolve(last, tasks=last.tasks + info.tasks, roles=last.roles + info.roles)
            found.append(info)
    return found


@pytest.mark.parametrize("counts", [(), (1,), (1, 1, 1), (40,), (1, 40, 1), (40, 40), (6, 6, 6), (0, 300, 0, 300)])
@pytest.mark.parametrize("log", ["", "x" * 3000, "\N{SNOWMAN}" * 100])
def test_parts_hold_all_of_it_in_order_and_each_fits(counts: tuple[int, ...], log: str) -> None:
    infos = [environment(f"e{n}", count, log) for n, count in enumerate(counts)]

    cut = list(parts(infos, ROOM))

    assert whole(cut) == infos
    assert cut
    for part in cut:
        size = len(CLIENT.encode(Environments(request="s", sequence=1, environments=part)))
        assert size <= ROOM + 100 or sum(len(info.tasks) + len(info.roles) for info in part) == 1


def test_what_fits_is_not_cut() -> None:
    infos = tuple(environment(f"e{n}", 100) for n in range(20))

    assert list(parts(infos)) == [infos]
    assert list(parts([])) == [()]


def test_a_client_gets_a_snapshot_that_no_message_could_hold() -> None:
    bench = Bench(workflow(*(task(f"t{n}") for n in range(10))))
    bench.create()
    for n in range(10):
        bench.change(f"w.t{n}", last_log="x" * (MAX_FRAME_BYTES // 8))

    answers = bench.ask(client.Show(request="s"))

    shown = [answer for answer in answers if isinstance(answer, Environments)]
    assert [answer.more for answer in shown] == [True] * (len(shown) - 1) + [False]
    assert max(len(CLIENT.encode(answer)) for answer in shown) < MAX_FRAME_BYTES
    (info,) = whole(answer.environments for answer in shown)
    assert [one.role for one in info.tasks] == [f"w.t{n}" for n in range(10)]
    assert len(info.roles) == 11
    assert len({answer.sequence for answer in shown}) == 1
