"""The picture of `top` and its keys, without a terminal."""

from __future__ import annotations

import attrs
import pytest

from ecsd.coconut.topview import Top, Wish, picture
from libecs.fsm import EnvState, Status, TaskState
from libecs.wire.info import EnvironmentInfo, Event, RoleInfo, TaskInfo
from libecs.wire.node import Phase


def environment(id: str, state: EnvState = EnvState.RUNNING, tasks: int = 0) -> EnvironmentInfo:
    infos = tuple(
        TaskInfo(
            task=f"{id}t{n}", role=f"w.a{n}", class_name="c", mode="direct", node="n1", critical=True,
            phase=Phase.ACTIVE, state=TaskState.RUNNING, pid=n,
        )
        for n in range(tasks)
    )  # fmt: skip
    roles = tuple(
        RoleInfo(path=path, kind="task", state=TaskState.RUNNING, status=Status.ACTIVE, critical=True)
        for path in ("w", *(task.role for task in infos))
    )
    return EnvironmentInfo(
        environment=id, name=f"name-{id}", workflow="w", revision="r", state=state, run_number=7, tasks=infos,
        roles=roles if tasks else (),
    )  # fmt: skip


def plain(top: Top, width: int = 80, height: int = 24) -> list[str]:
    lines = [line.plain for line in picture(top, width, height)]
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    return lines


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (200, 60), (20, 6)])
@pytest.mark.parametrize("environments", [0, 1, 40])
def test_every_size_is_filled_and_not_exceeded(size: tuple[int, int], environments: int) -> None:
    infos = [environment(f"e{n}") for n in range(environments)]
    event = Event(sequence=1, unix_ms=0, kind="k")
    top = Top(title="core", environments=infos, shown=environment("e0", tasks=100))
    top.events.extend((event, f"event {n} " + "x" * 300) for n in range(100))

    plain(top, *size)
    top.help = True
    plain(top, *size)


def test_chosen_environment_moves_with_keys_and_stays_in_sight() -> None:
    top = Top(environments=[environment(f"e{n:02}") for n in range(30)])
    plain(top)
    assert top.chosen == "e00"

    for _ in range(20):
        top.key("down")
    assert top.chosen == "e20"
    assert any(line.startswith("> e20") for line in plain(top))
    top.key("k")
    assert top.chosen == "e19"
    for _ in range(40):
        top.key("up")
    assert top.chosen == "e00"


def test_starting_is_asked_and_only_yes_does_it() -> None:
    top = Top(environments=[environment("e1")])
    plain(top)

    assert top.key("s") is None
    assert plain(top)[-1] == "START e1? y/n"
    assert top.key("n") is None
    assert plain(top)[-1] == "nothing was done"
    top.key("t")
    assert top.key("y") == Wish(event="STOP_ACTIVITY", environment="e1")


def test_old_facts_are_suspect_and_nothing_can_be_asked() -> None:
    top = Top(environments=[environment("e1")], age_s=3.4, trouble="nobody answers at tcp://x")
    lines = plain(top, width=120)

    assert "SUSPECT: 3 s old  nobody answers at tcp://x" in lines[0]
    top.key("s")
    assert top.asked is None
    assert "not heard" in plain(top)[-1]
    top.measure(2.5, "silent")
    assert "not heard" in plain(top)[-1]
    top.measure(0.1, "")
    assert "SUSPECT" not in plain(top)[0]
    assert "not heard" not in plain(top)[-1]


def test_tasks_of_a_node_that_is_not_heard_are_suspect() -> None:
    info = environment("e1", tasks=2)
    old = attrs.evolve(info, tasks=(attrs.evolve(info.tasks[0], age_ms=5000), info.tasks[1]))
    top = Top(environments=[old], shown=old)

    assert any("SUSPECT: 1 task: 1 RUNNING on n1" in line for line in plain(top))


def test_tasks_of_a_node_that_is_lost_are_lost() -> None:
    info = environment("e1", tasks=2)
    gone = attrs.evolve(info.tasks[0], age_ms=5000, state=TaskState.UNKNOWN)
    top = Top(environments=[info], shown=attrs.evolve(info, tasks=(gone, info.tasks[1])))

    lines = plain(top)

    assert any("LOST: 1 task: 1 UNKNOWN on n1" in line for line in lines)
    assert not any("SUSPECT" in line for line in lines)


def test_errors_only_shows_what_is_wrong() -> None:
    info = environment("e1", EnvState.ERROR, tasks=2)
    bad = attrs.evolve(info.tasks[0], state=TaskState.ERROR, error="no disk", last_log="open failed")
    info = attrs.evolve(info, tasks=(bad, info.tasks[1]))
    top = Top(environments=[info], shown=info)
    top.events.append((Event(sequence=1, unix_ms=0, kind="task.lost", ok=False), "lost a0"))
    top.events.append((Event(sequence=2, unix_ms=0, kind="call.end"), "harmless"))
    plain(top)

    top.key("e")
    text = "\n".join(plain(top))
    assert "w.a0 on n1: no disk  open failed" in text
    assert "lost a0" in text
    assert "harmless" not in text
    assert "w.a1" not in text


def test_filter_is_typed_and_ended() -> None:
    top = Top(environments=[environment("aa"), environment("bb")])
    plain(top)
    for key in ("/", "b", "x", "\x7f"):
        top.key(key)
    assert plain(top)[-1] == "/b_"
    top.key("\r")
    assert top.chosen == "bb"
    assert "only  b" in plain(top)[0]
    top.key("/")
    top.key("escape")
    assert top.pattern == ""


@pytest.mark.parametrize("key", ["q", "\x03", "\x04"])
def test_leaving(key: str) -> None:
    top = Top()
    top.key(key)
    assert top.leaving


def test_help_is_left_by_any_key() -> None:
    top = Top()
    top.key("?")
    assert any("START it" in line for line in plain(top))
    top.key("q")
    assert not top.leaving
    assert not top.help


def test_without_environments_there_is_nothing_to_start() -> None:
    top = Top()
    top.key("s")
    assert plain(top)[-1] == "there is no environment"
