"""How a shim ends its task, and what is left: of processes, of an owner, of outputs that grow."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.shim.conftest import TIMEOUT_S, Launch, Shim, is_alive, wait_until_gone
from tests.shim.scripts import sh, start_ticks

pytestmark = pytest.mark.timeout(120)

# --- end


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_an_exit_status_is_kept(launch: Launch, code: int) -> None:
    shim = launch(*sh(f"exit {code}"))

    assert shim.end() == {
        "code": code,
        "signal": None,
        "cause": f"exited with status {code}",
        "by": "itself",
    }


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_is_kept(launch: Launch, number: signal.Signals) -> None:
    shim = launch("sleep", "1000")

    os.kill(shim.task_pid, number)

    assert shim.end() == {
        "code": None,
        "signal": number,
        "cause": f"killed by {number.name}",
        "by": "itself",
    }


def test_sigterm_to_the_shim_ends_the_task_softly(launch: Launch) -> None:
    shim = launch(*sh("trap 'echo soft; exit 3' TERM; echo ready; while :; do sleep 0.01; done"), term_s=30)
    shim.wait_for_text("out", "ready")

    shim.process.send_signal(signal.SIGTERM)

    assert shim.end() == {"code": 3, "signal": None, "cause": "exited with status 3; ended by order", "by": "order"}
    assert (shim.folder / "out").read_text() == "ready\nsoft\n"


def test_who_ignores_sigterm_gets_sigint(launch: Launch) -> None:
    traps = "trap 'echo term; t=1' TERM; trap 'echo int; i=1' INT"  # a shell that was held up gets both at once
    shim = launch(*sh(f'{traps}; echo ready; until [ "$t$i" = 11 ]; do sleep 0.01; done; exit 4'), term_s=0.2, int_s=30)
    shim.wait_for_text("out", "ready")

    shim.process.send_signal(signal.SIGTERM)

    assert shim.end()["code"] == 4
    assert sorted((shim.folder / "out").read_text().split()) == ["int", "ready", "term"]


def test_who_ignores_everything_is_killed(launch: Launch) -> None:
    shim = launch(*sh("trap '' TERM INT; echo ready; while :; do sleep 0.01; done"), term_s=0.1, int_s=0.1)
    shim.wait_for_text("out", "ready")

    shim.process.send_signal(signal.SIGTERM)

    assert shim.end() == {"code": None, "signal": 9, "cause": "killed by SIGKILL; ended by order", "by": "order"}


def test_a_stopped_task_is_ended_too(launch: Launch) -> None:
    shim = launch("sleep", "1000", term_s=30)
    os.kill(shim.task_pid, signal.SIGSTOP)

    shim.process.send_signal(signal.SIGTERM)

    assert shim.end()["signal"] == signal.SIGTERM


# --- what is left


def test_children_left_in_the_group_are_killed_when_the_task_ends(launch: Launch) -> None:
    shim = launch(*sh("sleep 1000 & echo $!; exit 5"))

    assert shim.end()["code"] == 5
    assert not is_alive(int((shim.folder / "out").read_text()))


def test_children_that_left_the_group_are_killed_too(launch: Launch) -> None:
    daemon = "setsid sh -c 'echo $$; sleep 1000 & echo $!; wait' &"
    shim = launch(*sh(f'{daemon} while [ "$(wc -l </proc/$$/fd/1)" -lt 2 ]; do :; done; exit 5'))

    assert shim.end()["code"] == 5
    pids = [int(pid) for pid in (shim.folder / "out").read_text().split()]
    assert len(pids) == 2
    assert not any(is_alive(pid) for pid in pids)


def test_an_orphan_of_the_task_that_ends_is_reaped(launch: Launch) -> None:
    shim = launch(*sh("(sh -c 'echo $$' &); exec sleep 1000"))
    pid = int(shim.wait_for_text("out", "\n"))

    while Path(f"/proc/{pid}").exists():  # as a zombie it would stay: bounded by the test's timeout
        pass

    assert is_alive(shim.task_pid)


def test_in_an_ordered_end_children_have_the_same_time_as_the_task(launch: Launch) -> None:
    child = "trap 'sleep 0.2; echo child; exit' TERM; echo ready; while :; do sleep 0.01; done"
    shim = launch(*sh(f"trap 'echo task; exit 0' TERM; sh -c \"{child}\" & wait; wait"), term_s=30)
    shim.wait_for_text("out", "ready")

    shim.process.send_signal(signal.SIGTERM)

    assert shim.end()["code"] == 0
    assert (shim.folder / "out").read_text() == "ready\ntask\nchild\n"


# --- owners


def test_an_orphan_ends_after_its_time(launch: Launch) -> None:
    shim = launch("sleep", "1000", orphan_s=0.2, term_s=30)

    shim.abandon()

    assert shim.end() == {
        "code": None,
        "signal": signal.SIGTERM,
        "cause": "killed by SIGTERM; ended because its owner was gone for 0.2 s",
        "by": "orphan",
    }


def test_an_owner_that_was_gone_before_the_shim_started_counts_as_gone(launch: Launch, program: Path) -> None:
    shim = launch("sleep", "1000", orphan_s=0.2, fifo=False, spec=None)
    assert shim.end()["by"] == "launch"

    os.mkfifo(shim.folder / "alive")
    (shim.folder / "exit.json").unlink()
    subprocess.run([program, shim.folder], check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT_S)

    assert json.loads((shim.folder / "exit.json").read_text())["by"] == "orphan"


def adopted_in_time(launch: Launch) -> Shim:
    """Return a shim whose owner has changed; it ends when it has had none for a second.

    Where the machine stood still in between it is not what is wanted here, and another one is.
    """
    while True:
        shim = launch("sleep", "1000", orphan_s=1)
        before = time.monotonic()
        shim.abandon()
        with contextlib.suppress(OSError):  # it has ended
            shim.adopt()
        if time.monotonic() < before + 0.5:
            return shim


def test_a_new_owner_stops_the_time(launch: Launch) -> None:
    shim = adopted_in_time(launch)
    other = launch("sleep", "1000", orphan_s=1.3)

    other.abandon()

    assert other.end()["by"] == "orphan"  # by then the first one's time would have been over for long
    assert shim.process.poll() is None
    assert is_alive(shim.task_pid)


def test_when_the_new_owner_goes_the_time_begins_again(launch: Launch) -> None:
    shim = adopted_in_time(launch)
    other = launch("sleep", "1000", orphan_s=1.3)
    other.abandon()
    other.end()
    assert shim.process.poll() is None

    shim.abandon()

    assert shim.end()["by"] == "orphan"


def test_two_owners_are_gone_when_both_are(launch: Launch) -> None:
    shim = launch("sleep", "1000", orphan_s=1)
    second = os.open(shim.folder / "alive", os.O_WRONLY)
    shim.abandon()
    other = launch("sleep", "1000", orphan_s=1.3)
    other.abandon()
    other.end()
    assert shim.process.poll() is None

    os.close(second)

    assert shim.end()["by"] == "orphan"


def test_what_an_owner_writes_into_the_fifo_is_ignored(launch: Launch) -> None:
    shim = launch("sleep", "1000", orphan_s=0.2)
    assert shim.owner is not None

    os.write(shim.owner, b"hello" * 100)
    shim.abandon()

    assert shim.end()["by"] == "orphan"


def test_by_default_a_task_outlives_its_owner(launch: Launch) -> None:
    shim = launch("sleep", "1000")
    other = launch("sleep", "1000", orphan_s=0.2)

    shim.abandon()
    other.abandon()
    other.end()

    assert shim.process.poll() is None
    assert is_alive(shim.task_pid)


def test_the_death_of_the_shim_does_the_task_no_harm(launch: Launch) -> None:
    shim = launch(*sh("while :; do echo line; echo line >&2; sleep 0.001; done"))
    shim.wait_for_text("out", "line")

    shim.process.kill()
    shim.process.wait(TIMEOUT_S)
    size = (shim.folder / "out").stat().st_size

    while (shim.folder / "out").stat().st_size < size + 50:
        assert is_alive(shim.task_pid)
    assert json.loads((shim.folder / "pid").read_text())["task_start"] == start_ticks(shim.task_pid)
    assert not (shim.folder / "exit.json").exists()
    os.killpg(shim.task_pid, signal.SIGKILL)
    wait_until_gone(shim.task_pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT], ids=lambda number: number.name)
def test_other_signals_do_not_touch_the_shim(launch: Launch, number: signal.Signals) -> None:
    shim = launch("sleep", "1000")

    shim.process.send_signal(number)
    os.kill(shim.task_pid, signal.SIGKILL)

    assert shim.end()["signal"] == signal.SIGKILL


# --- outputs that grow


def test_output_over_its_cap_is_cut_to_its_last_lines(launch: Launch) -> None:
    shim = launch(*sh("i=0; while :; do echo line $i; i=$((i+1)); done"), stdout_cap=20000)

    shim.wait_for_text("out", "bytes before this line were dropped]\n")
    shim.process.send_signal(signal.SIGTERM)
    shim.end()

    text = (shim.folder / "out").read_text()
    *_, number, rest = re.split(r"\[ecs-shim: more than 20000 bytes of output; (\d+) bytes before this line", text)
    assert int(number) > 10000
    assert "line " in rest
    lines = [line for line in text.splitlines() if "ecs-shim" not in line]
    assert all(re.fullmatch(r"line \d+", line) for line in lines[:-1])  # cut between lines, never inside one


def test_the_line_about_a_cut_tells_exactly_what_is_missing(launch: Launch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    shim = launch(*sh(f"seq 1 5000; read x < {go}; seq 5001 10000; read x < {go}"), stdout_cap=20000)
    told = "".join(f"{number}\n" for number in range(1, 10001))
    cuts = set()
    for last in ("5000", "10000"):
        shim.wait_for_text("out", f"\n{last}\n")
        while True:
            head, _, rest = shim.wait_for_text("out", "dropped]\n").partition("\n")
            (number,) = re.findall(r"; (\d+) bytes before this line", head) or [""]
            if rest.endswith(f"\n{last}\n") and number and int(number) not in cuts:
                break
        cuts.add(int(number))
        assert told[int(number) :].startswith(rest)
        go.write_text("go\n")
    shim.end()


def test_output_below_its_cap_is_left_alone(launch: Launch) -> None:
    shim = launch(*sh("echo one; echo two >&2"), stdout_cap=100, stderr_cap=100)

    shim.end()

    assert ((shim.folder / "out").read_text(), (shim.folder / "err").read_text()) == ("one\n", "two\n")
