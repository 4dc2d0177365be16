"""How a shim starts its task, as whom, and what it says if it can't."""

from __future__ import annotations

import json
import os
import pwd
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shim.conftest import TIMEOUT_S, Launch, pack
from tests.shim.scripts import sh, start_ticks

BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may switch users")


# --- begin


def test_the_pid_file_names_two_processes_beyond_doubt(launch: Launch) -> None:
    shim = launch("sleep", "1000")

    written = json.loads((shim.folder / "pid").read_text())

    assert (
        written
        == shim.started
        == {
            "shim_pid": shim.process.pid,
            "shim_start": start_ticks(shim.process.pid),
            "task_pid": shim.task_pid,
            "task_start": start_ticks(shim.task_pid),
            "boot_id": BOOT_ID,
        }
    )
    assert not (shim.folder / "pid.tmp").exists()


def test_the_task_leads_a_session_and_a_group_of_its_own(launch: Launch) -> None:
    shim = launch("sleep", "1000")

    assert os.getsid(shim.task_pid) == os.getpgid(shim.task_pid) == shim.task_pid
    assert os.getsid(shim.process.pid) == shim.process.pid


def test_arguments_and_environment_arrive_as_they_are(launch: Launch) -> None:
    shim = launch(
        "sh", "-c", 'printf "%s|" "$@"; env', "sh", "a b", "", 'quote"$x', "a=b", "µ",
        environment={"PATH": "/usr/bin:/bin", "ECS_TASK_ID": "i/n/t", "EMPTY": "", "EQUALS": "a=b"},
    )  # fmt: skip

    assert shim.end()["code"] == 0
    told = (shim.folder / "out").read_text()
    assert told.startswith('a b||quote"$x|a=b|µ|')
    names = {line.split("=")[0] for line in told.rpartition("|")[2].splitlines()}
    assert names - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "ECS_TASK_ID", "EMPTY", "EQUALS"}
    assert "EQUALS=a=b" in told


def test_the_program_is_looked_for_in_the_path_of_the_task(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "mine").chmod(0o755)

    shim = launch("mine", environment={"PATH": str(tmp_path)})

    assert shim.end()["code"] == 9


def test_a_file_of_unknown_format_is_not_tried_as_a_script(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "alien").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "alien").chmod(0o755)

    by_name = launch("alien", environment={"PATH": f"/no/such:{tmp_path}:/usr/bin"})
    by_path = launch(tmp_path / "alien")

    assert by_name.end()["cause"] == "cannot execute alien: Exec format error"
    assert by_path.end()["cause"] == f"cannot execute {tmp_path}/alien: Exec format error"


def test_a_file_that_may_not_be_executed_is_passed_over(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "true").write_text("no program")

    assert launch("true", environment={"PATH": f"{tmp_path}:/usr/bin"}).end()["code"] == 0
    assert (
        launch("true", environment={"PATH": str(tmp_path)}).end()["cause"] == "cannot execute true: Permission denied"
    )


def test_the_working_directory_is_set(launch: Launch, tmp_path: Path) -> None:
    shim = launch("/bin/pwd", cwd=tmp_path)

    shim.end()

    assert (shim.folder / "out").read_text().strip() == str(tmp_path)


def test_the_task_inherits_no_descriptor_and_no_blocked_signal(launch: Launch) -> None:
    shim = launch(*sh("ls -l /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status"))

    shim.end()
    told = (shim.folder / "out").read_text()

    assert [line.split()[-3] for line in told.splitlines() if " -> " in line] == ["0", "1", "2", "3"]  # 3 is ls's own
    assert "0 -> /dev/null" in told
    assert "SigBlk:\t0000000000000000" in told
    assert "SigIgn:\t0000000000000000" in told


def test_the_task_ignores_no_signal_that_its_owner_ignores(launch: Launch) -> None:
    """A shell ignores SIGINT for whatever it starts in the background: a task could not be stopped by it."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGCHLD)}
    try:
        shim = launch(*sh("grep SigIgn /proc/self/status; exit 7"))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    assert shim.end()["code"] == 7
    assert (shim.folder / "out").read_text() == "SigIgn:\t0000000000000000\n"


def test_limits_are_set(launch: Launch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    shim = launch(
        *sh("ulimit -S -n; ulimit -H -n; ulimit -c"), more=["rlimit=nofile:100:200", "rlimit=core:0:unlimited"]
    )

    shim.end()
    assert (shim.folder / "out").read_text().split() == ["100", "200", "0"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_when_memory_is_short_tasks_go_first(launch: Launch) -> None:
    shim = launch("cat", "/proc/self/oom_score_adj")

    shim.end()

    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert int((shim.folder / "out").read_text()) == max(100, ours)
    # the shim and its launcher stay what they were
    sleeper = launch("sleep", "1000")
    assert int(Path(f"/proc/{sleeper.process.pid}/oom_score_adj").read_text()) == ours


@pytest.fixture
def control_group() -> Iterator[Path]:
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    group = next((Path(m[4]) / f"ecs-test-{os.getpid()}" for m in mounts if "cgroup2" in m), None)
    try:
        assert group is not None
        group.mkdir()
    except (AssertionError, OSError):
        pytest.skip("control groups can't be made here")
    yield group
    group.rmdir()


def test_a_task_joins_its_control_group_with_all_that_it_starts(launch: Launch, control_group: Path) -> None:
    shim = launch(*sh("sleep 1000 & echo $!; wait"), cgroup=control_group)

    child = shim.wait_for_text("out", "\n").strip()
    assert set((control_group / "cgroup.procs").read_text().split()) == {str(shim.task_pid), child}
    shim.process.send_signal(signal.SIGTERM)
    shim.end()


def test_a_control_group_that_is_not_there_is_no_launch(launch: Launch, tmp_path: Path) -> None:
    told = launch("true", cgroup=tmp_path).end()

    assert (told["by"], told["code"]) == ("launch", 126)
    assert told["cause"] == f"cannot join control group {tmp_path}: No such file or directory"


def test_the_memory_that_a_task_had_is_told(launch: Launch) -> None:
    small, large = launch("true"), launch(sys.executable, "-c", "x = b'x' * 50_000_000")

    for shim in (small, large):
        shim.end()

    assert 0 < small.max_rss_kb < 48_000 < large.max_rss_kb < 200_000


def test_outputs_are_appended_to_and_may_be_one_file(launch: Launch) -> None:
    shim = launch(*sh("echo out; echo err >&2"), stdout="log", stderr="log")

    shim.end()

    assert (shim.folder / "log").read_text() == "out\nerr\n"
    assert (shim.folder / "log").stat().st_mode & 0o777 == 0o640


def test_outputs_can_be_discarded(launch: Launch) -> None:
    shim = launch(*sh("echo out"), spec=pack(["arg=/bin/echo", "arg=out"]))

    assert shim.end()["code"] == 0
    assert sorted(path.name for path in shim.folder.iterdir()) == ["alive", "exit.json", "pid", "spec.bin"]


# --- users


@as_root
def test_root_switches_user_group_and_supplementary_groups(launch: Launch) -> None:
    nobody = pwd.getpwnam("nobody")

    shim = launch(*sh("id -u; id -g; id -G; id -ru"), user="nobody")

    shim.end()
    groups = " ".join(str(group) for group in os.getgrouplist("nobody", nobody.pw_gid))
    told = (shim.folder / "out").read_text().splitlines()
    assert told == [str(nobody.pw_uid), str(nobody.pw_gid), groups, str(nobody.pw_uid)]
    assert (shim.folder / "out").stat().st_uid == nobody.pw_uid


@as_root
def test_groups_can_be_named(launch: Launch) -> None:
    shim = launch(*sh("id -g; id -G"), more=["user=nobody", "group=daemon", "group=0"])

    shim.end()

    assert (shim.folder / "out").read_text().splitlines() == ["1", "1 0"]


@as_root
def test_a_user_can_be_a_number(launch: Launch) -> None:
    shim = launch("id", "-u", user=pwd.getpwnam("nobody").pw_uid)

    shim.end()

    assert (shim.folder / "out").read_text().strip() == str(pwd.getpwnam("nobody").pw_uid)


def test_ones_own_user_needs_no_switch(launch: Launch) -> None:
    shim = launch("true", user=pwd.getpwuid(os.geteuid()).pw_name)

    assert shim.end()["code"] == 0


@as_root
def test_others_than_root_cannot_switch(program: Path, tmp_path: Path) -> None:
    folder = Path("/tmp") / f"shim-nobody-{os.getpid()}"
    folder.mkdir()
    try:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        (folder / "spec.bin").write_bytes(pack(["arg=/bin/true", "user=root"]))
        copy = folder / "ecs-shim"
        copy.write_bytes(program.read_bytes())
        copy.chmod(0o755)

        subprocess.run([copy, folder], user="nobody", check=True, timeout=TIMEOUT_S)

        assert json.loads((folder / "exit.json").read_text())["cause"] == ("cannot switch to user root: only root may")
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


# --- what cannot begin


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "cause"),
    [
        (["no-such-program"], {}, 127, "cannot execute no-such-program: No such file or directory"),
        (["/no/such/program"], {}, 127, "cannot execute /no/such/program: No such file or directory"),
        (["/etc/passwd"], {}, 126, "cannot execute /etc/passwd: Permission denied"),
        (["/"], {}, 126, "cannot execute /: Permission denied"),
        (["true"], {"cwd": "/no/such"}, 126, "cannot enter folder /no/such: No such file or directory"),
        (["true"], {"user": "no-such-user"}, 126, "unknown user no-such-user"),
        (["true"], {"group": "no-such-group"}, 126, "unknown group no-such-group"),
        (["true"], {"stdout": "/no/such/file"}, 126, "cannot open /no/such/file: No such file or directory"),
        ([], {}, 126, "spec.bin names no program"),
        (["true"], {"colour": "red"}, 126, "spec.bin: unknown or too frequent key colour"),
        (["true"], {"term_s": "soon"}, 126, "spec.bin: term_s=soon is no number of seconds"),
        (["true"], {"orphan_s": "-2"}, 126, "spec.bin: orphan_s=-2 is no number of seconds"),
        (["true"], {"int_s": "nan"}, 126, "spec.bin: int_s=nan is no number of seconds"),
        (["true"], {"stdout_cap": "-1"}, 126, "spec.bin: stdout_cap=-1 is no number of bytes"),
        (["true"], {"stderr_cap": "1k"}, 126, "spec.bin: stderr_cap=1k is no number of bytes"),
        (["true"], {"rlimit": "nofile:1"}, 126, "spec.bin: rlimit=nofile:1 is no NAME:SOFT:HARD"),
        (["true"], {"rlimit": "smell:1:1"}, 126, "spec.bin: rlimit=smell:1:1 is no NAME:SOFT:HARD"),
        (["true"], {"rlimit": "nofile:200:100"}, 126, "cannot set its limits: Invalid argument"),
    ],
)
def test_a_launch_that_fails_says_why(
    launch: Launch, arguments: list[str], settings: dict[str, str], code: int, cause: str
) -> None:
    shim = launch(*arguments, **settings)

    assert shim.end() == {"code": code, "signal": None, "cause": cause, "by": "launch"}
    assert shim.started == {}
    assert not (shim.folder / "pid").exists()


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        (b"", "spec.bin has 0 bytes"),
        (b"ecs-shim=1\0arg=true", "spec.bin does not end with NUL"),
        (b"ecs-shim=2\0arg=true\0", "spec.bin is not of version 1"),
        (b"arg=true\0", "spec.bin is not of version 1"),
        (b"ecs-shim=1\0arg\0", "spec.bin: arg is no key=value"),
        (b"ecs-shim=1\0\0arg=true\0", "spec.bin:  is no key=value"),
        (b"ecs-shim=1\0arg=true\0" + b"rlimit=core:0:0\0" * 17, "spec.bin: rlimit=core:0:0 is no NAME:SOFT:HARD"),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, bytes) else "",
)
def test_a_broken_spec_says_why(launch: Launch, spec: bytes, cause: str) -> None:
    assert launch(spec=spec).end() == {"code": 126, "signal": None, "cause": cause, "by": "launch"}


def test_a_missing_spec_says_why(program: Path, tmp_path: Path) -> None:
    subprocess.run([program, tmp_path], check=True, timeout=TIMEOUT_S)

    cause = json.loads((tmp_path / "exit.json").read_text())["cause"]
    assert cause == "cannot read spec.bin: No such file or directory"


def test_a_missing_fifo_says_why(launch: Launch) -> None:
    shim = launch("true", fifo=False, orphan_s=5)

    assert shim.end()["cause"] == "cannot open the FIFO alive: No such file or directory"


def test_without_a_folder_there_is_only_an_exit_status(program: Path) -> None:
    no_argument = subprocess.run([program], check=False, capture_output=True, text=True)
    no_folder = subprocess.run([program, "/no/such"], check=False, capture_output=True, text=True)

    assert (no_argument.returncode, no_argument.stderr) == (2, "usage: ecs-shim FOLDER\n")
    assert (no_folder.returncode, no_folder.stderr) == (1, "ecs-shim: /no/such: No such file or directory\n")
