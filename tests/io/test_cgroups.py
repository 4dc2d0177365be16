"""Where control groups may be made, and what is in them. The kernel's files are played by plain ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from libecs.io.cgroups import Cgroups
from libecs.wire.node import Limits


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    mount = tmp_path / "cgroup"
    (mount / "user" / "me").mkdir(parents=True)
    (mount / "user" / "me" / "cgroup.subtree_control").write_text("cpu io memory pids\n")
    return mount


@pytest.fixture
def process(tmp_path: Path, mount: Path) -> Path:
    process = tmp_path / "proc"
    process.mkdir()
    (process / "cgroup").write_text("1:cpu:/legacy\n0::/user/me\n")
    (process / "mountinfo").write_text(
        f"29 1 0:25 / /sys rw - sysfs sysfs rw\n30 29 0:26 / {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
    )
    return process


def test_groups_are_made_below_ones_own(process: Path, mount: Path) -> None:
    groups = Cgroups.find("ecs-i-n1", process)
    assert groups is not None

    group = groups.make("t1", Limits(memory_mb=64))

    assert group == mount / "user" / "me" / "ecs-i-n1" / "t1"
    assert (group.parent / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert (group / "memory.oom.group").read_text() == "1"
    assert not (group / "cpu.max").exists()


def test_without_the_controllers_there_are_none(process: Path, mount: Path) -> None:
    (mount / "user" / "me" / "cgroup.subtree_control").write_text("memory\n")

    assert Cgroups.find("x", process) is None


@pytest.mark.parametrize("missing", ["cgroup", "mountinfo", "0::", "cgroup2", "subtree"])
def test_where_the_kernel_has_none_there_are_none(process: Path, mount: Path, missing: str) -> None:
    if missing == "0::":
        (process / "cgroup").write_text("1:cpu:/legacy\n")
    elif missing == "cgroup2":
        (process / "mountinfo").write_text("29 1 0:25 / /sys rw - sysfs sysfs rw\n")
    elif missing == "subtree":
        (mount / "user" / "me" / "cgroup.subtree_control").unlink()
    else:
        (process / missing).unlink()

    assert Cgroups.find("x", process) is None


def test_the_verdict_is_the_kernels(mount: Path) -> None:
    groups = Cgroups(mount, "n1")
    group = groups.make("t1", Limits(memory_mb=64))
    assert groups.verdict("t1") == ""
    (group / "memory.events").write_text("max 5\noom_kill 0\n")
    assert groups.verdict("t1") == ""
    (group / "memory.events").write_text("max 5\noom_kill 2\n")
    assert groups.verdict("t1") == "it was over its memory limit of 64 MB"
    groups.kill("t1")
    assert (group / "cgroup.kill").read_text() == "1"


def test_what_is_gone_is_no_trouble(mount: Path) -> None:
    groups = Cgroups(mount, "n1")

    groups.kill("t1")
    groups.remove("t1")

    assert groups.verdict("t1") == ""
